"""What the environment and .env say of addresses, models and searches, in the names that other tools have for it.

Options and --llm-config come first, then these variables, then the provider's defaults. What is taken is kept in the
study's configuration with its origin, so that a tick from cron asks the same endpoints, and so that whoever looks can
be told where a setting is from. Keys are no part of this (agent.llm.keys), and none is ever kept.

    ANTHROPIC_BASE_URL, OPENAI_BASE_URL, GEMINI_OPENAI_BASE_URL    that provider's address
    PLANNER_MODEL, EVALUATOR_MODEL                                 the model of planner, of judge
    GEMINI_USE_GOOGLE_SEARCH    true: the researcher searches with Gemini, or with Google where only
                                GOOGLE_CSE_API_KEY and GOOGLE_CSE_ID are set
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.errors import UsageError
from agent.llm.config_checks import url_problem
from agent.llm.presets import PRESETS
from agent.model_roles import RESEARCHER, ROLES

if TYPE_CHECKING:
    from agent.llm.config import LLMConfig

ADDRESSES = {
    "anthropic": "ANTHROPIC_BASE_URL",
    "openai": "OPENAI_BASE_URL",
    "gemini": "GEMINI_OPENAI_BASE_URL",
}
MODELS = {role.name: role.model_variable for role in ROLES.values() if role.model_variable is not None}
SEARCH = "GEMINI_USE_GOOGLE_SEARCH"
GIVEN = "given"
"""Origin of a search provider that a person chose, be it none."""

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")
#: What OpenRouter calls a vendor -> the provider here.
_VENDORS = {
    "anthropic": "anthropic",
    "openai": "openai",
    "google": "gemini",
    "gemini": "gemini",
    "deepseek": "deepseek",
}


def find(name: str, environment: Mapping[str, str], dotenv: Mapping[str, str]) -> tuple[str, str] | None:
    """A variable's value and where it is from, "NAME in .env"; None where it is unset or blank in both places."""
    for values, place in ((environment, "the environment"), (dotenv, ".env")):
        if value := values.get(name, "").strip():
            return value, f"{name} in {place}"
    return None


def switched(name: str, environment: Mapping[str, str], dotenv: Mapping[str, str]) -> tuple[bool, str] | None:
    """A variable that is true or false, and where it is from; None where it is unset. Raises UsageError."""
    found = find(name, environment, dotenv)
    if found is None:
        return None
    value, origin = found
    if value.casefold() not in (*_TRUE, *_FALSE):
        raise UsageError(f"{origin}: is neither true nor false; set one of them, or remove it")
    return value.casefold() in _TRUE, origin


def told(environment: Mapping[str, str], dotenv: Mapping[str, str]) -> list[str]:
    """What of these variables is set, with its value and place. A value that may hold a password is not shown."""
    lines = []
    for name in (*ADDRESSES.values(), *MODELS.values(), SEARCH):
        if (found := find(name, environment, dotenv)) is not None:
            value, origin = found
            problem = url_problem(value) if name in ADDRESSES.values() else ""
            lines.append(f"{origin}: {problem or value}")
    return lines


def taken(
    config: LLMConfig, environment: Mapping[str, str], dotenv: Mapping[str, str]
) -> tuple[LLMConfig, tuple[str, ...]]:
    """The configuration with what the variables say where no option nor file does; and lines about variables that are
    set and change nothing. Raises UsageError for a value that cannot be used."""
    notes: list[str] = []
    if all(name in ("none", "scripted") for name in _providers(config)):
        return config, ()
    config = _with_models(config, environment, dotenv, notes)
    config = _with_search(config, environment, dotenv, notes)
    config = _with_addresses(config, environment, dotenv)
    return config, tuple(notes)


def _providers(config: LLMConfig) -> Iterator[str]:
    yield config.provider
    yield from (own.provider for own in config.roles.values() if own.provider is not None)
    if config.search_provider != "none":
        yield config.search_provider


def _with_addresses(config: LLMConfig, environment: Mapping[str, str], dotenv: Mapping[str, str]) -> LLMConfig:
    addresses, origins = dict(config.addresses), dict(config.origins)
    for provider in dict.fromkeys(_providers(config)):
        place = f"addresses.{provider}"
        if provider not in ADDRESSES or (provider in addresses and place not in origins):
            continue
        found = find(ADDRESSES[provider], environment, dotenv)
        if found is not None:
            addresses[provider], origins[place] = _address(provider, *found), found[1]
    return replace(config, addresses=addresses, origins=origins)


def _address(provider: str, value: str, origin: str) -> str:
    """An address as Roundtable keeps it. Raises UsageError; what may hold a password is not shown."""
    if problem := url_problem(value):
        raise UsageError(f"{origin}: {problem}")
    return normal_address(provider, value)


def normal_address(provider: str, address: str) -> str:
    """An address from a variable with or without a slash at its end, a version or a call behind it, as that
    provider's client wants it: Anthropic's without /v1, OpenAI's with it, Gemini's with /openai at its end."""
    plain = address.rstrip("/")
    for call in ("/chat/completions", "/responses", "/messages"):
        plain = plain.removesuffix(call)
    path = urlsplit(plain).path
    if provider == "anthropic":
        return plain.removesuffix("/v1")
    if provider == "openai":
        return plain if path else f"{plain}/v1"
    if path in ("", "/v1beta", "/v1"):
        return f"{plain.removesuffix(path)}{path or '/v1beta'}/openai/"
    return f"{plain}/"


def gemini_root(address: str) -> str:
    """The address at which Gemini's own interface, which searches, stands beside its OpenAI-compatible one.

    Raises UsageError where that cannot be told: a key for this address is sent to no other.
    """
    plain = address.rstrip("/")
    root = plain.removesuffix("/openai").removesuffix("/v1beta")
    if root == plain:
        raise UsageError(
            f"{ADDRESSES['gemini']} {address}: does not end in /v1beta/openai/, which would tell where Gemini's "
            "search is; give roles: {researcher: {provider: gemini, base_url: ...}} in --llm-config, or "
            "--search-provider none"
        )
    return root


def _with_models(
    config: LLMConfig, environment: Mapping[str, str], dotenv: Mapping[str, str], notes: list[str]
) -> LLMConfig:
    from agent.llm.config import RoleConfig

    roles, origins = dict(config.roles), dict(config.origins)
    for role, name in MODELS.items():
        own, place = roles.get(role, RoleConfig()), f"roles.{role}.model"
        found = find(name, environment, dotenv)
        if found is None:
            continue
        if own.model is not None and place not in origins:
            notes.append(f"{found[1]}: not used, the {role}'s model is given as {own.model}")
            continue
        model = _model(own.provider or config.provider, found[0])
        if model is None:
            provider = own.provider or config.provider
            notes.append(f"{found[1]}: not used, {found[0]} is no model of the {role}'s provider ({provider})")
            continue
        roles[role], origins[place] = replace(own, model=model), found[1]
    return replace(config, roles=roles, origins=origins)


def _model(provider: str, name: str) -> str | None:
    """A model's name as the provider has it: OpenRouter's names begin with a vendor, the vendors' own do not."""
    vendor, slash, rest = name.partition("/")
    if provider in ("none", "scripted"):
        return None
    if not slash or provider not in _VENDORS.values() or vendor not in _VENDORS:
        return name
    return rest if _VENDORS[vendor] == provider else None


def _with_search(
    config: LLMConfig, environment: Mapping[str, str], dotenv: Mapping[str, str], notes: list[str]
) -> LLMConfig:
    from agent.llm.config import GOOGLE_SEARCH_ENGINES, GOOGLE_SEARCH_KEYS

    def there(*names: str) -> bool:
        return any(find(name, environment, dotenv) is not None for name in names)

    found = switched(SEARCH, environment, dotenv)
    programmable = there(*GOOGLE_SEARCH_KEYS) and there(*GOOGLE_SEARCH_ENGINES)
    origin = config.origins.get("search_provider")
    if origin == GIVEN or (config.search_provider != "none" and origin is None):
        if found is not None and found[0] and config.search_provider not in ("gemini", "google"):
            notes.append(f"{found[1]}: not used, the search provider is given as {config.search_provider}")
        return config
    if found is None:
        if programmable and config.search_provider == "none":
            notes.append(
                "a key of Google Programmable Search is there, and nothing searches: --search-provider google"
            )
        return config
    wanted, said = found
    if not wanted:
        return replace(config, search_provider="none", origins=dict(config.origins) | {"search_provider": said})
    gemini = PRESETS["gemini"]
    keys = ("ROUNDTABLE_SEARCH_API_KEY", "ROUNDTABLE_RESEARCHER_API_KEY", *gemini.variables_of(RESEARCHER.name))
    if there(*keys) or (not programmable and config.provider == "gemini"):
        provider = "gemini"
    elif programmable:
        provider = "google"
    else:
        notes.append(f"{said}: not used, there is no key for it ({', '.join(keys)})")
        return config
    return replace(config, search_provider=provider, origins=dict(config.origins) | {"search_provider": said})
