"""Doctor's look at language models: which roles find a key, and what is installed. Never shows a key."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import UsageError
from agent.launch.doctor.finding import Area, Finding

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
    findings: list[Finding] = []
    for role in roles_of(settings, config, judge=judge):
        findings += _role(config, role, environment, dotenv)
    return findings + _variables(config, environment, dotenv)


def _variables(config: LLMConfig, environment: Mapping[str, str], dotenv: Mapping[str, str]) -> list[Finding]:
    """What variables say now and the study does not do: the next `tune` takes it up, or they change nothing."""
    from agent.llm.variables import taken

    try:
        now, notes = taken(config, environment, dotenv)
    except UsageError as error:
        return [_agents.problem("variables", str(error), "mend or remove it")]
    findings = [_agents.ok("variables", note) for note in notes]
    changed = [place for place, origin in now.origins.items() if _at(now, place) != _at(config, place)]
    if changed:
        said = "; ".join(
            f"{now.origins[place]}: {_at(now, place)}, the study has {_at(config, place)}" for place in changed
        )
        findings.append(_agents.ok("variables", said, "the next `roundtable tune` takes it up"))
    return findings


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

    held = [
        each.name
        for each in PRESETS.values()
        if any(
            environment.get(name) or dotenv.get(name) for name in (*each.key_variables, *each.role_variables.values())
        )
    ]
    said = f"keys are there for {', '.join(held)}" if held else "no provider's key is there"
    set_here = "".join(f"; {line}" for line in told(environment, dotenv))
    return _agents.ok("keys", f"{said}{set_here}; without --study no role was looked at")


def _role(
    config: LLMConfig, role: str, environment: Mapping[str, str], dotenv: Mapping[str, str]
) -> Iterator[Finding]:
    from agent.api.role_sources import describe

    player = config.of(role)
    searching = role == "researcher" and player.provider != "scripted"
    looked = f"role {role} ({config.search_provider + ' search' if searching else player.provider})"
    if player.provider == "scripted":
        yield _script(config, looked)
        return
    (source,) = describe(config, [role], environment, dotenv)
    if source.problem:
        yield _agents.problem(
            looked, source.problem, "export the variable, or call `roundtable tune` with another --provider"
        )
        return
    yield _agents.ok(looked, str(source))
    if searching and config.search_provider == "google":
        return
    sdk = _sdk(config.search_provider if searching else player.provider)
    if importlib.util.find_spec(sdk) is None:
        yield _agents.problem(
            looked,
            f"the SDK {sdk} is not installed",
            "`./uvw run --extra llm ...` or `pip install 'roundtable[llm]'`",
        )


def _script(config: LLMConfig, looked: str) -> Finding:
    if config.script is not None and Path(config.script).is_file():
        return _agents.ok(looked, f"answers from {config.script}")
    return _agents.problem(looked, f"{config.script}: there is no such file", "give --provider scripted FILE again")


def _sdk(provider: str) -> str:
    from agent.llm.presets import PRESETS
    from agent.llm.wire import STYLES

    return STYLES[PRESETS[provider].style]


#: Extra -> the distributions that show it is there, and what is lost without.
EXTRAS = {
    "llm": (("anthropic", "openai", "httpx", "python-dotenv"), "no language models: --provider none works"),
    "trace": (("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"), "no traces for Phoenix or the like"),
    "graph": (("vl-convert-python",), "`roundtable graph` draws SVG and Mermaid, but no PNG"),
}


def check_extras(settings: Settings | None) -> list[Finding]:
    """Which optional parts are installed. Only what a study needs is worth more than a word."""
    findings = []
    for extra, (names, loss) in EXTRAS.items():
        found = {name: _installed(name) for name in names}
        missing = [name for name, there in found.items() if there is None]
        looked = f"extra {extra}"
        if missing:
            findings.append(
                _extras.ok(looked, f"not installed ({', '.join(missing)}): {loss}", f"roundtable[{extra}]")
            )
        else:
            findings.append(_extras.ok(looked, ", ".join(f"{name} {there}" for name, there in found.items())))
    return findings


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
