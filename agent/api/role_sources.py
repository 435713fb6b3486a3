"""Which model is asked where, for each role, and from where that is known: for the start, `doctor` and `costs`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.errors import UsageError
from agent.model_roles import RESEARCHER, ROLES

if TYPE_CHECKING:
    from agent.llm.config import LLMConfig, Player

_OWN, _DEFAULT = "the provider's own", "the provider's default"


@dataclass(frozen=True, kw_only=True)
class RoleSource:
    """One role. Never a key, only the name of its variable."""

    role: str
    provider: str
    model: str = ""
    model_from: str = ""
    """ "--model", "PLANNER_MODEL in .env", ..."""
    address: str = ""
    address_from: str = ""
    key_from: str = ""
    """ "ANTHROPIC_API_KEY in the environment"; "" where the provider needs none."""
    problem: str = ""
    """Why the role could not be asked now; the rest is then empty as far as it is not known."""

    def __str__(self) -> str:
        """All but the role."""
        if self.problem:
            return f"cannot be asked: {self.problem}"
        model = f" {self.model} ({self.model_from})" if self.model else ""
        where = f" at {self.address} ({self.address_from})" if self.address else ""
        key = f", key {self.key_from}" if self.key_from else ", no key" if self.address else ""
        return f"{self.provider}{model}{where}{key}"


def describe(
    config: LLMConfig, roles: Iterable[str], environment: Mapping[str, str], dotenv: Mapping[str, str]
) -> list[RoleSource]:
    """What each of these roles is asked, and where. Raises nothing for what is missing: it is said."""
    return [_source(config, role, environment, dotenv) for role in roles]


def lines(sources: Sequence[RoleSource]) -> list[str]:
    """One line for all roles that are asked the same: "models: analyst, judge: openai gpt-x (--model) at ..."."""
    together: dict[str, list[str]] = {}
    for source in sources:
        together.setdefault(str(source), []).append(source.role)
    return [f"models: {', '.join(roles)}: {said}" for said, roles in together.items()]


def _source(config: LLMConfig, role: str, environment: Mapping[str, str], dotenv: Mapping[str, str]) -> RoleSource:
    player = config.of(role)
    if player.provider == "scripted":
        return RoleSource(role=role, provider="scripted", model=str(config.script), model_from="answers from a file")
    if ROLES[role].searches:
        return _searcher(config, environment, dotenv)
    return _asked(config, role, player, environment, dotenv)


def _asked(
    config: LLMConfig, role: str, player: Player, environment: Mapping[str, str], dotenv: Mapping[str, str]
) -> RoleSource:
    from agent.llm.config import endpoint_for

    found = RoleSource(role=role, provider=player.provider)
    try:
        endpoint = endpoint_for(config, role, environment, dotenv)
    except UsageError as error:
        return replace(found, problem=str(error))
    return replace(
        found,
        model=endpoint.model,
        model_from=_model_from(config, role, player),
        address=endpoint.base_url or "",
        address_from=_address_from(config, role, player),
        key_from=endpoint.key_from,
    )


def _searcher(config: LLMConfig, environment: Mapping[str, str], dotenv: Mapping[str, str]) -> RoleSource:
    """The researcher, whom the search provider plays."""
    from agent.llm.config import google_search, search_endpoint
    from agent.llm.variables import gemini_root

    own = config.roles.get(RESEARCHER.name)
    address = own.base_url if own is not None and own.base_url else ""
    origin = config.origins.get("search_provider", "given")
    said = f"{config.search_provider} search ({'--search-provider' if origin == 'given' else origin})"
    found = RoleSource(role=RESEARCHER.name, provider=said)
    try:
        if config.search_provider == "google":
            key, _engine = google_search(environment, dotenv)
            place = address or "https://customsearch.googleapis.com"
            return replace(found, address=place, address_from=_given(address), key_from=str(key))
        endpoint = search_endpoint(config, environment, dotenv)
        player = config.of(RESEARCHER.name)
        same = player.provider == config.search_provider
        if config.search_provider == "gemini":
            taken = config.addresses.get("gemini")
            place = address or (gemini_root(taken) if taken else "https://generativelanguage.googleapis.com")
            origin = _given(address) if address or not taken else config.origins.get("addresses.gemini", "addresses")
        else:
            place = endpoint.base_url or ""
            here = player if same else replace(player, provider=config.search_provider, base_url=None)
            origin = _address_from(config, RESEARCHER.name, here)
    except UsageError as error:
        return replace(found, problem=str(error))
    return replace(
        found,
        model=endpoint.model,
        model_from=_model_from(config, RESEARCHER.name, player) if same else _DEFAULT,
        address=place,
        address_from=origin,
        key_from=endpoint.key_from,
    )


def _given(address: str) -> str:
    return "roles.researcher.base_url" if address else _OWN


def _model_from(config: LLMConfig, role: str, player: Player) -> str:
    own = config.roles.get(role)
    if own is not None and own.model:
        return config.origins.get(f"roles.{role}.model", ROLES[role].option)
    return "--model" if player.model else _DEFAULT


def _address_from(config: LLMConfig, role: str, player: Player) -> str:
    own = config.roles.get(role)
    if player.base_url:
        return f"roles.{role}.base_url" if own is not None and own.base_url else "--base-url"
    if player.provider in config.addresses:
        return config.origins.get(f"addresses.{player.provider}", f"addresses.{player.provider}")
    return _OWN
