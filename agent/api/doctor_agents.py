"""Doctor's look at language models: which roles find a key, and what is installed. Never shows a key."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import UsageError
from agent.launch.doctor.finding import Area, Finding
from agent.model_roles import ROLES

if TYPE_CHECKING:
    from agent.llm.config import LLMConfig
    from agent.store.study import Settings

_agents = Area("agents")
_extras = Area("extras")


def check_keys(
    settings: Settings | None, environment: Mapping[str, str], folder: Path, *, judge: bool = True
) -> list[Finding]:
    """Which roles of a study find their key. folder: where a .env may be. settings: None without a study. judge:
    whether its rules of acceptance have one."""
    from agent.llm.keys import read_dotenv

    try:
        dotenv = read_dotenv(folder)
    except UsageError as error:
        return [_agents.problem(".env", str(error), "mend or remove it")]
    if settings is None:
        return [_without_study(environment, dotenv)]
    from agent.api.models import any_model, roles_of
    from agent.llm.config import LLMConfig, from_json

    try:
        config = from_json(settings.llm, file="settings.json: llm") if settings.llm else LLMConfig()
    except UsageError as error:
        return [_agents.problem("models", str(error), "call `roundtable tune` with --provider again")]
    if not any_model(config):
        return [_agents.ok("models", "none (--provider none): Bayesian proposals and rules only")]
    roles = roles_of(settings, config, judge=judge)
    asked = [finding for role in roles for finding in _role(config, role, environment, dotenv)]
    return [*asked, *_variables(config, environment, dotenv)]


def _variables(config: LLMConfig, environment: Mapping[str, str], dotenv: Mapping[str, str]) -> Iterator[Finding]:
    """What variables say now and the study does not do: the next `tune` takes it up, or they change nothing."""
    from agent.llm.variables import taken

    try:
        now, notes = taken(config, environment, dotenv)
    except UsageError as error:
        yield _agents.problem("variables", str(error), "mend or remove it")
        return
    yield from (_agents.ok("variables", note) for note in notes)
    said = "; ".join(
        f"{origin}: {_at(now, place)}, the study has {_at(config, place)}"
        for place, origin in now.origins.items()
        if _at(now, place) != _at(config, place)
    )
    if said:
        yield _agents.ok("variables", said, "the next `roundtable tune` takes it up")


def _at(config: LLMConfig, place: str) -> str:
    """What stands at a place of LLMConfig.origins."""
    first, *rest = place.split(".")
    value = getattr(config, first)
    for name in rest:
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    return "none" if value is None else str(value)


def _without_study(environment: Mapping[str, str], dotenv: Mapping[str, str]) -> Finding:
    from agent.llm.presets import PRESETS
    from agent.llm.variables import told

    variables = {each.name: each.every_variable for each in PRESETS.values()}
    held = ", ".join(
        provider
        for provider, names in variables.items()
        if any(environment.get(name) or dotenv.get(name) for name in names)
    )
    said = f"keys are there for {held}" if held else "no provider's key is there"
    set_here = "".join(f"; {line}" for line in told(environment, dotenv))
    return _agents.ok("keys", f"{said}{set_here}; without --study no role was looked at")


def _role(
    config: LLMConfig, role: str, environment: Mapping[str, str], dotenv: Mapping[str, str]
) -> Iterator[Finding]:
    from agent.api.role_sources import describe
    from agent.llm.presets import preset
    from agent.llm.wire import STYLES

    provider = config.of(role).provider
    searching = ROLES[role].searches and provider != "scripted"
    looked = f"role {role} ({config.search_provider + ' search' if searching else provider})"
    if provider == "scripted":
        if config.script is not None and Path(config.script).is_file():
            yield _agents.ok(looked, f"answers from {config.script}")
        else:
            said = f"{config.script}: there is no such file"
            yield _agents.problem(looked, said, "give --provider scripted FILE again")
        return
    (source,) = describe(config, [role], environment, dotenv)
    if source.problem:
        ask = "export the variable, or call `roundtable tune` with another --provider"
        yield _agents.problem(looked, source.problem, ask)
        return
    yield _agents.ok(looked, str(source))
    if searching and config.search_provider == "google":
        return
    sdk = STYLES[preset(config.search_provider if searching else provider).style]
    if importlib.util.find_spec(sdk) is None:
        ask = "`./uvw run --extra llm ...` or `pip install 'roundtable[llm]'`"
        yield _agents.problem(looked, f"the SDK {sdk} is not installed", ask)


#: Extra -> the distributions that show it is there, and what is lost without.
EXTRAS = {
    "llm": (("anthropic", "openai", "httpx", "python-dotenv"), "no language models: --provider none works"),
    "trace": (("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"), "no traces for Phoenix or the like"),
    "graph": (("vl-convert-python",), "`roundtable graph` draws SVG and Mermaid, but no PNG"),
}


def check_extras() -> Iterator[Finding]:
    """Which optional parts are installed: never more than a word."""
    for extra, (names, loss) in EXTRAS.items():
        found = {name: _installed(name) for name in names}
        missing = ", ".join(name for name, there in found.items() if there is None)
        said = f"not installed ({missing}): {loss}" if missing else ", ".join(f"{n} {v}" for n, v in found.items())
        yield _extras.ok(f"extra {extra}", said, f"roundtable[{extra}]" if missing else "")


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
