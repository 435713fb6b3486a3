"""Who plays which role: provider, model, address and key variable for all roles together and for each of them.

The configuration is stored with the study, so it holds the *name* of a key's variable, never a key.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.errors import ProblemsError, UsageError
from agent.llm.config_checks import problems_of
from agent.llm.keys import (
    SHORTEST_KEY,
    FoundKey,
    find_key,
    is_no_secret,
    key_problem,
    known_secrets,
    require_key,
    role_variable,
    variables_for,
)
from agent.llm.presets import NO_MODEL, PRESETS, Preset, base_url_of, model_of, preset
from agent.llm.proxy import is_loopback
from agent.llm.variables import GIVEN, find
from agent.model_roles import RESEARCHER, ROLES

if TYPE_CHECKING:
    from agent.llm.wire import Endpoint

GOOGLE_SEARCH_KEYS = ("GOOGLE_SEARCH_API_KEY", "GOOGLE_CSE_API_KEY")
GOOGLE_SEARCH_ENGINES = ("GOOGLE_SEARCH_ENGINE_ID", "GOOGLE_CSE_ID")
"""Variables of Google Programmable Search, which is no language model: its key and its search engine's ID (cx)."""

MAX_OUTPUT_TOKENS = 16_384
TIMEOUT_S = 300.0


class InvalidLLMConfig(ProblemsError):
    """A language-model configuration that may not be used."""


@dataclass(frozen=True, kw_only=True)
class RoleConfig:
    """Who plays one role. None: as for all roles, or as the provider's preset says."""

    provider: str | None = None
    model: str | None = None
    base_url: str | None = None
    key_env: str | None = None


@dataclass(frozen=True, kw_only=True)
class Player:
    """Who plays a role in effect. None: as the provider's preset says."""

    provider: str
    model: str | None = None
    base_url: str | None = None
    key_env: str | None = None


@dataclass(frozen=True, kw_only=True)
class LLMConfig:
    """Who plays the roles and what they may cost. Raises InvalidLLMConfig with everything that is wrong."""

    provider: str = "none"
    """For every role that names none of its own."""
    model: str | None = None
    """None: the provider's default model."""
    base_url: str | None = None
    """None: the provider's own address."""
    key_env: str | None = None
    """Name of the environment variable that holds the key; None: the provider's usual one."""
    script: str | None = None
    """File of the answers, for provider scripted."""
    roles: Mapping[str, RoleConfig] = field(default_factory=dict)
    search_provider: str = "none"
    """Whose web search the researcher uses: none, anthropic, openai, gemini or google."""
    prices: str | None = None
    """A person's own price table, before the shipped one."""
    max_cost: float | None = None
    """Most USD of a study's calls; None: no cap."""
    max_tokens: int | None = None
    """Most tokens of a study's calls, input and output together; None: no cap."""
    max_output_tokens: int = MAX_OUTPUT_TOKENS
    """Most tokens of one answer, reasoning included."""
    timeout_s: float = TIMEOUT_S
    """Seconds that one try of a call may take."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Provider -> address, where base_url gives none."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Field ("addresses.openai", "roles.planner.model") -> the variable that it was taken from, see
    agent.llm.variables."""

    def __post_init__(self) -> None:
        _check(self.to_json(), "language model")

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; `from_json` gives an equal configuration."""
        raw = {each.name: getattr(self, each.name) for each in fields(self)}
        raw["roles"] = {
            role: {key: value for key, value in asdict(own).items() if value is not None}
            for role, own in sorted(self.roles.items())
        }
        raw |= {"addresses": dict(self.addresses), "origins": dict(self.origins)}
        return raw

    def of(self, role: str) -> Player:
        """Who plays a role. Raises UsageError for an unknown role.

        A role takes nothing that was meant for somebody else: at another provider than the shared one neither model,
        address nor key variable, at another address not the key variable.
        """
        if role not in ROLES:
            near = difflib.get_close_matches(role, ROLES, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UsageError(f"role {role!r}: {hint}must be one of {', '.join(ROLES)}")
        own = self.roles.get(role, RoleConfig())
        if own.provider is not None and own.provider != self.provider:
            return Player(provider=own.provider, model=own.model, base_url=own.base_url, key_env=own.key_env)
        elsewhere = own.base_url is not None and own.base_url != self.base_url
        return Player(
            provider=self.provider,
            model=own.model or self.model,
            base_url=own.base_url or self.base_url,
            key_env=own.key_env or (None if elsewhere else self.key_env),
        )


def from_json(raw: Mapping[str, Any], *, file: str) -> LLMConfig:
    """The configuration that `to_json`, or a file read as YAML, holds. file: for messages.

    Raises InvalidLLMConfig with every problem: file, field, value, what is allowed.
    """
    _check(raw, file)
    given = {key: value for key, value in raw.items() if value is not None}
    roles = {role: RoleConfig(**(own or {})) for role, own in given.pop("roles", {}).items()}
    if "search_provider" in given and "origins" not in given:
        # A file of a person's own, or settings of a version that took nothing from variables.
        given["origins"] = {"search_provider": GIVEN}
    return LLMConfig(**given, roles=roles)


def load_config(path: Path) -> LLMConfig:
    """A person's `--llm-config FILE`. Paths in it are relative to the file's folder.

    Raises InvalidLLMConfig with every problem, or with the first when the file is no YAML mapping.
    """
    from trainers.files import FileProblem
    from trainers.yaml_file import read_yaml

    try:
        raw = read_yaml(path)
    except FileProblem as error:
        raise UsageError(str(error)) from error
    config = from_json(raw, file=str(path))
    beside: dict[str, Any] = {name: str(path.parent / raw[name]) for name in ("script", "prices") if raw.get(name)}
    return override(config, **beside)


def override(
    config: LLMConfig, *, provider: str | None = None, role_models: Mapping[str, str] | None = None, **changes: Any
) -> LLMConfig:
    """The configuration with what a call's options say in place of what the file says.

    Another shared provider drops the file's shared model, base_url and key_env, which were meant for the former one;
    roles keep theirs. changes: other fields by name; None leaves the field. Raises InvalidLLMConfig.
    """
    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    if provider is not None and provider != config.provider:
        given = {"model": None, "base_url": None, "key_env": None, "provider": provider} | given
    roles, origins = dict(config.roles), dict(config.origins)
    for role, model in (role_models or {}).items():
        roles[role] = replace(roles.get(role, RoleConfig()), model=model)
        origins.pop(f"roles.{role}.model", None)
    if "search_provider" in given:
        origins["search_provider"] = GIVEN
    return replace(config, roles=roles, **({"origins": origins} | given))


def endpoint_for(config: LLMConfig, role: str, environment: Mapping[str, str], dotenv: Mapping[str, str]) -> Endpoint:
    """Where and how a role's model is asked.

    Raises UsageError for an unknown role, a provider without endpoint (none, scripted), a model or address that must
    be named, and a missing or malformed key.
    """
    player = config.of(role)
    return _endpoint(config, player, key_for(config, role, environment, dotenv), f"role {role}")


def key_for(
    config: LLMConfig, role: str, environment: Mapping[str, str], dotenv: Mapping[str, str]
) -> FoundKey | None:
    """The role's key and where it was found; None where the provider needs none. Raises UsageError."""
    player = config.of(role)
    provider = _with_endpoint(player.provider, f"role {role}")
    variables = variables_for(role, player.key_env, provider.variables_of(role))
    found = find_key(variables, environment, dotenv)
    if found is None and player.key_env:
        # Somebody who names a variable means that a key is needed, whatever the provider.
        raise UsageError(_unset(config, role, player.key_env))
    if found is None and provider.needs_key:
        return require_key(variables, environment, dotenv, purpose=f"role {role}, provider {provider.name}")
    return found


def search_endpoint(config: LLMConfig, environment: Mapping[str, str], dotenv: Mapping[str, str]) -> Endpoint:
    """Where the researcher's web search is asked: search_provider anthropic, openai or gemini.

    Its model, address and key are the researcher's where that role plays at the same provider, otherwise the
    provider's usual ones; ROUNDTABLE_SEARCH_API_KEY comes before either. (Gemini's search is at another address than
    its OpenAI-compatible endpoint: take only key and model.) Raises UsageError.
    """
    whose = f"search provider {config.search_provider}"
    provider = _with_endpoint(config.search_provider, whose)
    researcher = config.of(RESEARCHER.name)
    same = researcher.provider == provider.name
    if not same:
        _check_unused(config, researcher.provider)
    player = researcher if same else Player(provider=provider.name)
    usual = provider.variables_of(RESEARCHER.name)
    variables = variables_for(RESEARCHER.name, player.key_env, usual) if same else usual
    variables = (role_variable("search"), *variables)
    if player.key_env and find_key(variables, environment, dotenv) is None:
        raise UsageError(_unset(config, RESEARCHER.name, player.key_env))
    key = require_key(variables, environment, dotenv, purpose=whose)
    return _endpoint(config, player, key, whose)


def _check_unused(config: LLMConfig, provider: str) -> None:
    """An address of the researcher's own that a search at another provider would pass over. Raises UsageError."""
    own = config.roles.get(RESEARCHER.name, RoleConfig())
    # Gemini's search has an address of its own, which a researcher's base_url replaces whatever the provider.
    if own.base_url is not None and config.search_provider != "gemini":
        raise UsageError(
            f"roles.researcher.base_url {own.base_url}: is not used, as search_provider is {config.search_provider} "
            f"and the researcher's provider {provider}; add provider: {config.search_provider} to roles.researcher, "
            "or take base_url out"
        )


def _unset(config: LLMConfig, role: str, variable: str) -> str:
    """What is said of a named key variable that nobody has set."""
    own = config.roles.get(role, RoleConfig())
    named = f"roles.{role}.key_env" if own.key_env else "--key-env"
    return f"{named} {variable}: not set in the environment nor in .env"


def google_search(environment: Mapping[str, str], dotenv: Mapping[str, str]) -> tuple[FoundKey, str]:
    """Key and search engine's ID for search_provider google. Raises UsageError."""
    key = require_key(GOOGLE_SEARCH_KEYS, environment, dotenv, purpose="search provider google")
    found = (find(name, environment, dotenv) for name in GOOGLE_SEARCH_ENGINES)
    engine = next((each[0] for each in found if each is not None), None)
    if engine is None:
        named = " or ".join(GOOGLE_SEARCH_ENGINES)
        raise UsageError(f"search provider google: set {named} to the search engine's ID (cx)")
    if problem := key_problem(engine):
        raise UsageError(f"search provider google: the search engine's ID {problem}")
    return key, engine


def brought_providers(config: LLMConfig) -> list[Preset]:
    """The providers of the study that plug-ins bring. Raises InvalidPlugin; UsageError for one that is gone."""
    named = {own.provider for own in config.roles.values() if own.provider is not None} | {config.provider}
    return [preset(name) for name in sorted(named - {*NO_MODEL, *PRESETS})]


def secrets_of(config: LLMConfig, environment: Mapping[str, str], dotenv: Mapping[str, str]) -> tuple[str, ...]:
    """Every key that a message or a record could show: what `keys.redact` hides."""
    known = (*PRESETS.values(), *brought_providers(config))
    variables = {name for each in known for name in each.every_variable}
    variables |= {name for role in ROLES if (name := config.of(role).key_env)}
    return known_secrets({*variables, *GOOGLE_SEARCH_KEYS}, environment, dotenv)


def _endpoint(config: LLMConfig, player: Player, key: FoundKey | None, whose: str) -> Endpoint:
    from agent.llm.wire import Endpoint

    provider = _with_endpoint(player.provider, whose)
    address = address_of(config, player)
    if key is not None:
        _check_together(config, player, provider, address, key, whose)
    return Endpoint(
        provider=provider.name,
        model=model_of(provider, player.model),
        style=provider.style,
        base_url=address,
        key=key.secret.reveal() if key is not None else None,
        key_from=str(key) if key is not None else "",
        timeout_s=config.timeout_s,
        formats=provider.formats,
        extra_body=dict(provider.extra_body),
    )


def address_of(config: LLMConfig, player: Player) -> str:
    """The address that a role is asked at. Raises UsageError where one has to be given."""
    provider = preset(player.provider)
    found = base_url_of(provider, player.base_url or config.addresses.get(provider.name))
    # Its client puts the version into every path.
    return found.rstrip("/").removesuffix("/v1") if provider.style == "anthropic" else found


_BEGINNINGS = {"sk-ant-": "anthropic", "sk-or-": "openrouter", "sk-proj-": "openai", "AIza": "gemini"}
"""How keys of some providers begin."""


def _check_together(
    config: LLMConfig, player: Player, provider: Preset, address: str, key: FoundKey, whose: str
) -> None:
    """Raises UsageError for a key that was not meant for the address, or that is none."""
    value, host = key.secret.reveal(), urlsplit(address).hostname
    own = {
        each.name: urlsplit(each.base_url).hostname for each in PRESETS.values() if each.base_url and each.needs_key
    }
    if len(value) < SHORTEST_KEY:
        raise UsageError(f"{whose}: {key} has {len(value)} characters, which no key has; copy it again")
    if is_no_secret(value) and own.get(provider.name) == host:
        raise UsageError(f"{whose}: {key} holds a word in place of a key; put the key there, or remove it")
    there = next((name for name, known in own.items() if known == host), None)
    begins = next((name for start, name in _BEGINNINGS.items() if value.startswith(start)), None)
    chosen = key.variable == player.key_env or key.variable.startswith("ROUNDTABLE_")
    if there is not None and begins not in (None, there):
        raise UsageError(f"{whose}: {key} is a key of {begins}, and is not sent to {host} ({there})")
    if there not in (None, provider.name) and begins is None and not chosen:
        raise UsageError(
            f"{whose}: {key} is a key of {provider.name}, and is not sent to {host}: use --provider {there}"
        )
    taken_from = "" if player.base_url else config.origins.get(f"addresses.{provider.name}", "")
    strange = not is_loopback(address) and host != own.get(provider.name)
    if taken_from.endswith(" in .env") and key.place == "the environment" and strange and not chosen:
        # Whoever wrote the .env of this folder would be sent the key of whoever calls in it.
        raise UsageError(
            f"{whose}: {taken_from} gives the address {address}, and the key is {key}: put the key into .env "
            "beside the address, export the address too, or name the key's variable with --key-env"
        )


def _with_endpoint(provider: str, whose: str) -> Preset:
    if provider in NO_MODEL:
        raise UsageError(f"{whose}: provider {provider} has no endpoint; name one of {', '.join(PRESETS)}")
    return preset(provider)


_SHARED = tuple(each.name for each in fields(LLMConfig))
_OWN = tuple(each.name for each in fields(RoleConfig))


def _check(raw: Mapping[str, Any], file: str) -> None:
    if problems := problems_of(raw, file=file, roles=ROLES, shared=_SHARED, own=_OWN):
        raise InvalidLLMConfig(problems)
