"""What a language-model configuration may hold: every problem of one, with its field, value and what is allowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from agent.errors import Problem
from agent.llm.keys import VARIABLE
from agent.llm.presets import PRESETS, is_provider, provider_names
from agent.names import SEARCH_PROVIDERS
from trainers.command.findings import Findings, Section, is_number

_NO_KEYS = "keys are never written into a file: name the variable that holds it with key_env"


def problems_of(
    raw: Mapping[str, Any], *, file: str, roles: Collection[str], shared: Collection[str], own: Collection[str]
) -> list[Problem]:
    """Everything wrong with a configuration as it stands in a file.

    shared, own: the names of the fields that all roles together have, and that one role has.
    """
    findings = Findings(file)
    top = Section(raw, "", shared, findings)
    _check_player(top)
    by_role = top.section("roles", roles)
    for role in roles:
        _check_player(by_role.section(role, own))
    for name in ("script", "prices"):
        top.text(name)
    top.one_of("search_provider", SEARCH_PROVIDERS, "none")
    _check_taken(top)
    _check_limits(top)
    if raw.get("script") is None and "scripted" in _providers(raw):
        top.add("script", "", "missing; provider scripted takes its answers from this file")
    return [Problem(file=file, where=where, value=value, message=text) for where, value, text in findings.problems]


def _check_player(section: Section) -> None:
    """The fields that all roles together and each role have."""
    for key in section.raw:
        if key.lower().replace("-", "_") in ("key", "api_key", "apikey", "token", "secret"):
            section.add(key, "", _NO_KEYS)
    if section.has("provider") and not is_provider(section.raw["provider"]):
        section.one_of("provider", provider_names())
    model = section.text("model")
    if len(model) > 200 or not model.isprintable() or model != model.strip():
        section.add("model", model, "must be a name of at most 200 printable characters, no space around it")
    key_env = section.raw.get("key_env")
    # Its value is not shown: it may be a key put into the wrong place.
    if key_env is not None and not (isinstance(key_env, str) and VARIABLE.fullmatch(key_env)):
        message = "must be a variable's name of capitals, digits and _, such as MY_API_KEY"
        section.add("key_env", "", f"{message}; {_NO_KEYS}")
    base_url = section.raw.get("base_url")
    if base_url is not None and (problem := url_problem(base_url)):
        hidden = not isinstance(base_url, str) or any(mark in base_url for mark in "@?#")
        section.add("base_url", "" if hidden else base_url, problem)


def _check_taken(top: Section) -> None:
    """Addresses by provider, and what was taken from variables of the environment."""
    addresses = top.section("addresses", PRESETS)
    for provider in PRESETS:
        base_url = addresses.raw.get(provider)
        if base_url is not None and (problem := url_problem(base_url)):
            hidden = not isinstance(base_url, str) or any(mark in base_url for mark in "@?#")
            addresses.add(provider, "" if hidden else base_url, problem)
    origins = top.raw.get("origins")
    if origins is not None and not (
        isinstance(origins, Mapping) and all(isinstance(part, str) for pair in origins.items() for part in pair)
    ):
        top.add("origins", "", "must be a mapping of texts; leave it out of a file of your own")


def _check_limits(top: Section) -> None:
    for name, most in (("max_cost", 1e9), ("timeout_s", 3600.0)):
        value = top.raw.get(name)
        if value is not None and (not is_number(value) or not 0 < value <= most):
            top.add(name, value, f"must be a number above 0 and at most {most:g}")
    for name, low, high in (("max_tokens", 1, 10**12), ("max_output_tokens", 256, 128_000)):
        whole = top.whole(name, low=low)
        if whole is not None and whole > high:
            top.add(name, whole, f"must be at most {high}")


def url_problem(value: object) -> str:
    """What keeps a value from being an http(s) address that may be kept and shown; "" where nothing does."""
    if not isinstance(value, str) or not value.isascii() or any(mark in value for mark in " \t\r\n\\\"'<>"):
        return "must be an address such as http://localhost:8000/v1"
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        return f"is no address: {error}"
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        return f"must hold no user, password, ? or #; {_NO_KEYS}"
    return "" if usable else "must begin with http:// or https:// and name a host, such as http://localhost:8000/v1"


def _providers(raw: Mapping[str, Any]) -> set[str]:
    roles = raw.get("roles")
    players = [raw, *(roles.values() if isinstance(roles, Mapping) else ())]
    named = (player.get("provider") for player in players if isinstance(player, Mapping))
    return {name for name in named if isinstance(name, str)}
