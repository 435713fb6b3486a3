"""Which options about language models would change nothing in a study."""

from __future__ import annotations

from agent.api.options import TuneOptions
from agent.errors import UsageError


def check_used(options: TuneOptions, proposer: str, some: bool) -> None:
    """Refuse options given in this call that would change nothing. some: whether any role has a provider.

    Raises UsageError naming what each needs.
    """
    without = "" if some else "a language model: give --provider"
    hybrid = "" if proposer == "hybrid" else f"--proposer hybrid (it is {proposer})"
    panel = "" if proposer == "panel" else f"--proposer panel (it is {proposer})"
    needs = {
        "model": without,
        "base_url": without,
        "key_env": without,
        "llm_share": hybrid,
        "llm_warmup": hybrid,
        "consult_turns": panel,
        "escalate_after": "" if proposer in ("planner", "hybrid") else f"--proposer planner (it is {proposer})",
        "planner": hybrid,
    }
    given = {name: value for name in needs if (value := getattr(options, name)) is not None}
    unused = [
        f"{_flag(name)}{'' if value is True else f' {value}'}: needs {needs[name]}"
        for name, value in given.items()
        if needs[name]
    ]
    unused += [f"{_flag(role)}-model: needs {without}" for role in options.role_models if without]
    if unused:
        raise UsageError("\n".join(unused))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
