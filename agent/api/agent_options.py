"""The options about who proposes and which language models answer; the fields of TuneOptions that are theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import UsageError

PROVIDERS = (
    "none",
    "anthropic",
    "openai",
    "deepseek",
    "openrouter",
    "gemini",
    "ollama",
    "vllm",
    "custom",
    "scripted",
)
PROPOSERS = ("bayes", "llm", "panel", "hybrid", "planner")


@dataclass(frozen=True, kw_only=True)
class AgentOptions:
    """Who proposes from round 2 on, and which language models answer. None keeps what the study has."""

    provider: str | None = None
    """Who answers for the models; "none": Bayesian proposals and rules only. "custom" needs base_url, "scripted" a
    script."""
    script: Path | None = None
    """Replies of --provider scripted (doc/agents.md)."""
    model: str | None = None
    role_models: Mapping[str, str] = field(default_factory=dict)
    """Role -> model, where it is not the shared one."""
    base_url: str | None = None
    key_env: str | None = None
    """Environment variable that holds the key, where it is not the provider's usual one."""
    llm_config: Path | None = None
    """YAML with provider, model, endpoint and key variable of each role."""
    llm_prices: Path | None = None
    """A price table that overrides the shipped one."""
    max_llm_cost: float | None = None
    """US dollars that the study's calls may cost in all; a call that could break it is not made."""
    max_llm_tokens: int | None = None
    proposer: str | None = None
    """bayes, llm, panel, hybrid or planner; llm when a provider is given first, else bayes. Without a provider the
    planner goes by rules."""
    planner: bool | None = None
    """hybrid: whether a planner chooses how far each round goes, and proposes the model's share (no)."""
    escalate_after: int | None = None
    """planner: rounds without an accepted gain before the rules take a deeper step (2)."""
    patience: int | None = None
    """Rounds in a row without an accepted gain after which the study ends; without it none do."""
    llm_share: float | None = None
    """hybrid: share of the candidates that a model proposes (0.3)."""
    llm_warmup: int | None = None
    """hybrid: scored candidates before a model is asked (4)."""
    consult_turns: int | None = None
    """panel: how often each consultant speaks (2)."""
    search_provider: str | None = None
    """Who searches the web for remedies (none)."""
    analyst: bool | None = None
    """Whether a model reads the newest round's curves (with a provider: yes)."""
    critique: bool | None = None
    """Whether a model looks at a model's proposals after the rules did (with a provider: yes)."""
    anonymize: bool | None = None
    """Whether names are replaced in what is sent (yes)."""
    agents_see_test: bool | None = None
    """Whether test values are shown to agents (no)."""
    prompts: Path | None = None
    """Folder of prompt files that replace the shipped ones of the same name."""


def check_used(options: AgentOptions, proposer: str, some: bool) -> None:
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
