"""Which options about language models would change nothing in a study."""

from __future__ import annotations

from agent.api.options import TuneOptions
from agent.errors import UsageError
from agent.proposers import proposer_entry


def check_used(options: TuneOptions, proposer: str, some: bool) -> None:
    """Refuse options given in this call that would change nothing. some: whether any role has a provider.

    Raises UsageError naming what each needs.
    """
    without = "" if some else "a language model: give --provider"
    entry = proposer_entry(proposer)

    def unless(fits: bool, other: str) -> str:
        return "" if fits else f"--proposer {other} (it is {proposer})"

    needs = {
        "model": without,
        "base_url": without,
        "key_env": without,
        "llm_share": unless(entry.shares, "hybrid"),
        "llm_warmup": unless(entry.shares, "hybrid"),
        "consult_turns": unless(entry.speaks == "panel", "panel"),
        "escalate_after": unless(entry.plans or entry.may_plan, "planner"),
        "planner": unless(entry.may_plan, "hybrid"),
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
