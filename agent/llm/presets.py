"""What Roundtable knows of each provider: where it is, which key it takes and how it is asked for JSON.

Model names are those that the providers' public model pages gave in November 2026. Ollama, vLLM, OpenRouter and a
server of one's own serve whatever was chosen there, so they have no default model.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.errors import UsageError
from agent.model_roles import ROLES
from agent.plugins import all_names, find_entry


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One provider."""

    name: str
    style: str
    """The wire format, one of agent.llm.wire.STYLES: "anthropic", "responses" (OpenAI's own) or "chat"."""
    base_url: str | None
    """None: the person has to give one."""
    key_variables: tuple[str, ...] = ()
    """Environment variables that may hold the key, in this order."""
    role_variables: Mapping[str, str] = field(default_factory=dict)
    """Role -> variable that may hold a key of its own for that role at this provider, before those for all."""
    needs_key: bool = True
    formats: tuple[str, ...]
    """Ways to ask for JSON that it may understand, the strictest first: json_schema, tool, json_object, text."""
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Fields of every request that are this provider's own."""
    model: str | None = None
    """Asked for when nobody names one; None: one has to be named."""
    example_model: str = ""
    """Shown to somebody who has to name one."""

    @property
    def every_variable(self) -> tuple[str, ...]:
        """All variables that may hold one of its keys."""
        return (*self.key_variables, *self.role_variables.values())

    def variables_of(self, role: str) -> tuple[str, ...]:
        """The variables that may hold a role's key, in this order."""
        own = self.role_variables.get(role)
        return self.key_variables if own is None else (own, *self.key_variables)


_FULL = ("json_schema", "tool", "json_object", "text")

PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="anthropic",
            style="anthropic",
            base_url="https://api.anthropic.com",
            key_variables=("ANTHROPIC_API_KEY",),
            formats=("json_schema", "tool", "text"),
            model="claude-sonnet-5-5",
        ),
        Preset(
            name="openai",
            style="responses",
            base_url="https://api.openai.com/v1",
            key_variables=("OPENAI_API_KEY",),
            formats=_FULL,
            model="gpt-6.1-sol",
        ),
        Preset(
            name="deepseek",
            style="chat",
            base_url="https://api.deepseek.com",
            key_variables=("DEEPSEEK_API_KEY",),
            formats=("json_object", "text"),
            model="deepseek-flash",
        ),
        Preset(
            name="openrouter",
            style="chat",
            base_url="https://openrouter.ai/api/v1",
            key_variables=("OPENROUTER_API_KEY",),
            formats=_FULL,
            # Without it a request for a schema may be routed to a host that ignores the schema.
            extra_body={"provider": {"require_parameters": True}},
            example_model="anthropic/claude-sonnet-5.5",
        ),
        Preset(
            name="gemini",
            style="chat",
            base_url="https://generativelanguage.googleapis.com/v1beta/openai/",
            key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            role_variables={
                name: f"GEMINI_API_KEY_{role.key_group}" for name, role in ROLES.items() if role.key_group
            },
            formats=("json_schema", "json_object", "text"),
            model="gemini-3.8-flash",
        ),
        Preset(
            name="ollama",
            style="chat",
            base_url="http://localhost:11434/v1",
            needs_key=False,
            formats=("json_schema", "json_object", "text"),
            example_model="qwen3:8b",
        ),
        Preset(
            name="vllm",
            style="chat",
            base_url="http://localhost:8000/v1",
            key_variables=("VLLM_API_KEY",),
            needs_key=False,
            formats=_FULL,
            example_model="Qwen/Qwen3-8B",
        ),
        # No key variable of its own: a key is sent to an address that somebody typed only when it was meant for it.
        Preset(
            name="custom",
            style="chat",
            base_url=None,
            needs_key=False,
            formats=_FULL,
            example_model="the-served-name",
        ),
    )
}

NO_MODEL = ("none", "scripted")
"""Providers without an endpoint: no language model at all, or answers from a file."""

PROVIDERS = (*NO_MODEL, *PRESETS)


def provider_names() -> tuple[str, ...]:
    """Every provider that may be named, those of plug-ins last."""
    return (*NO_MODEL, *all_names("providers", PRESETS))


def is_provider(name: object) -> bool:
    """Whether there is a provider of this name. Plug-ins are looked for only where it is not a shipped one."""
    return isinstance(name, str) and (name in PROVIDERS or name in provider_names())


def preset(name: str) -> Preset:
    """The preset of a provider. Raises UsageError that lists all of them, InvalidPlugin."""
    found = find_entry("providers", name, PRESETS, Preset)
    if found is not None:
        return found
    near = difflib.get_close_matches(name, provider_names(), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(f"provider {name!r}: {hint}must be one of {', '.join(provider_names())}")


def model_of(provider: Preset, model: str | None) -> str:
    """The model to ask for. Raises UsageError with an example where one has to be named."""
    chosen = model or provider.model
    if chosen is None:
        raise UsageError(
            f"provider {provider.name} serves whatever was chosen there, so a model must be named: "
            f"for example --model {provider.example_model}"
        )
    return chosen


def base_url_of(provider: Preset, base_url: str | None) -> str:
    """The address to ask. Raises UsageError with an example where one has to be given."""
    chosen = base_url or provider.base_url
    if chosen is None:
        raise UsageError(
            f"provider {provider.name} needs --base-url, the address of an OpenAI-compatible server: "
            "for example --base-url http://localhost:8000/v1"
        )
    return chosen
