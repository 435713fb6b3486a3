"""From options to language models: who plays which role, and the models behind them. No key leaves memory."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.api.agent_options import AgentOptions
from agent.errors import UsageError
from agent.store.store import Store
from agent.store.study import Settings

if TYPE_CHECKING:
    from agent.llm.base import LLM
    from agent.llm.config import LLMConfig
    from agent.llm.ladder import Rungs
    from agent.llm.retry import CoolDown
    from agent.llm.wire import Endpoint
    from agent.orchestrator.context import Models


def agent_settings(old: Settings, options: AgentOptions) -> dict[str, Any]:
    """The settings of this call that are the agents'. Raises UsageError for what cannot go together."""
    config = _config(old, options)
    changes = {
        name: value
        for name in (
            "llm_share",
            "llm_warmup",
            "consult_turns",
            "analyst",
            "critique",
            "anonymize",
            "agents_see_test",
        )
        if (value := getattr(options, name)) is not None
    }
    if options.prompts is not None:
        changes["prompts"] = str(_folder(options.prompts))
    some = any_model(config)
    proposer = options.proposer
    if proposer is None:
        # A study that had no model and is given one is meant to use it; one that loses it cannot.
        proposer = ("llm" if not old.llm or not any_model(_stored(old)) else old.proposer) if some else "bayes"
    if proposer != "bayes" and not some:
        raise UsageError(
            f"--proposer {proposer} needs a language model: give --provider (anthropic, openai, deepseek, ...); "
            "with --provider none only bayes can propose"
        )
    return changes | {"provider": config.provider, "llm": config.to_json(), "proposer": proposer}


def any_model(config: LLMConfig) -> bool:
    """Whether any role has a provider."""
    return config.provider != "none" or any((own.provider or "none") != "none" for own in config.roles.values())


def _stored(settings: Settings) -> LLMConfig:
    from agent.llm.config import LLMConfig, from_json

    return from_json(settings.llm, file="settings.json: llm") if settings.llm else LLMConfig()


def _config(old: Settings, options: AgentOptions) -> LLMConfig:
    """A file given now, or what the study has, with this call's options on top."""
    from agent.llm.config import load_config, override

    config = load_config(options.llm_config) if options.llm_config is not None else _stored(old)
    return override(
        config,
        provider=options.provider,
        role_models=options.role_models,
        model=options.model,
        base_url=options.base_url,
        key_env=options.key_env,
        script=str(_file(options.script)) if options.script is not None else None,
        search_provider=options.search_provider,
        prices=str(_file(options.llm_prices)) if options.llm_prices is not None else None,
        max_cost=options.max_llm_cost,
        max_tokens=options.max_llm_tokens,
    )


def _file(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    return path.absolute()


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise UsageError(f"{path}: there is no such folder")
    return path.absolute()


def check_models(options: AgentOptions) -> None:
    """Refuse, before a new study leaves anything on disk, models that cannot be asked. Raises UsageError."""
    settings = replace(Settings(), **agent_settings(Settings(), options))
    config = _stored(settings)
    if any_model(config):
        _Cast(config, {}, dict).check(roles_of(settings, config))
        _models(settings, config)


def models_for(store: Store, settings: Settings, say: Callable[[str], None]) -> Models | None:
    """The study's models; None with --provider none.

    Every key, script and table that this study's roles need is looked at now: a mistake is refused before a round
    begins, not met as a failing agent in the middle of it. Raises UsageError.
    """
    from agent.llm.trace import make_tracer

    config = _stored(settings)
    if not any_model(config):
        return None
    rungs = dict((store.journal.last("llm_rungs") or {"rungs": {}})["rungs"])
    cast = _Cast(config, rungs, lambda: _exchanged(store))
    cast.check(roles_of(settings, config))
    return replace(
        _models(settings, config),
        of=cast.of,
        tracer=make_tracer(os.environ, say, redact=cast.redact),
        redact=cast.redact,
        offline=False,
        rungs=rungs,
    )


def _exchanged(store: Store) -> Counter[str]:
    """Recorded exchanges of each role: NNN_<role>.json in the rounds' folders."""
    folders = (store.paths.round(folder).calls for folder in store.paths.folders())
    return Counter(path.stem[4:] for folder in folders for path in folder.glob("*.json"))


def offline_models(settings: Settings) -> Models | None:
    """Only what is recorded: no key is read, and nobody can be asked."""
    config = _stored(settings)
    return _models(settings, config) if any_model(config) else None


def _models(settings: Settings, config: LLMConfig) -> Models:
    """What needs no key: prices, caps, prompts."""
    from agent.llm.prices import load_prices
    from agent.llm.trace import NullTracer
    from agent.orchestrator.context import Models
    from agent.resources import templates

    def nobody(role: str) -> LLM:
        raise UsageError(f"{role}: a replay asks no model")

    own = [Path(settings.prompts)] if settings.prompts is not None else []
    return Models(
        of=nobody,
        prices=load_prices(Path(config.prices) if config.prices is not None else None),
        tracer=NullTracer(),
        prompts=(*own, templates() / "prompts"),
        max_cost=config.max_cost,
        max_tokens=config.max_tokens,
        max_output_tokens=config.max_output_tokens,
        searches=config.search_provider != "none",
        offline=True,
    )


def roles_of(settings: Settings, config: LLMConfig) -> Iterator[str]:
    """The roles that this study may ask."""
    if settings.analyst:
        yield "analyst"
    if config.search_provider != "none":
        yield "researcher"
    if settings.proposer in ("llm", "hybrid"):
        yield "autotuner"
    if settings.proposer == "panel":
        yield from ("consultant_a", "consultant_b", "supervisor")
    if settings.critique and settings.proposer != "bayes":
        yield "checker"


def make_client(endpoint: Endpoint, rungs: Rungs, cool_down: CoolDown) -> LLM:
    """The model at an endpoint, with the patience of everyday use."""
    from agent.llm.client import Client

    return Client(endpoint, rungs=rungs, cool_down=cool_down)


class _Cast:
    """Who plays which role in this process: keys as they are now, one memory of rungs and outages for all roles."""

    def __init__(
        self, config: LLMConfig, rungs: MutableMapping[str, str], used: Callable[[], Mapping[str, int]]
    ) -> None:
        """used: how many exchanges of each role the study has; a script goes on after them."""
        from agent.llm.config import secrets_of
        from agent.llm.keys import read_dotenv
        from agent.llm.ladder import Rungs
        from agent.llm.retry import CoolDown

        self._config = config
        self._used = used
        self._environment = dict(os.environ)
        self._dotenv = read_dotenv(Path.cwd())
        self._secrets = secrets_of(config, self._environment, self._dotenv)
        self._rungs = Rungs(rungs)
        self._cool_down = CoolDown(now=time.monotonic)
        self._made: dict[str, LLM] = {}

    def check(self, roles: Iterable[str]) -> None:
        for role in roles:
            self.of(role)

    def redact(self, text: str) -> str:
        """The text without any key."""
        from agent.llm.keys import redact

        return redact(text, self._secrets)

    def of(self, role: str) -> LLM:
        """The model that plays a role. Raises UsageError."""
        if role not in self._made:
            self._made[role] = self._make(role)
        return self._made[role]

    def _make(self, role: str) -> LLM:
        from agent.llm.config import endpoint_for

        if self._config.of(role).provider == "scripted":
            return self._scripted()
        if role == "researcher":
            return self._searcher()
        return self._client(endpoint_for(self._config, role, self._environment, self._dotenv))

    def _client(self, endpoint: Endpoint) -> LLM:
        return make_client(endpoint, self._rungs, self._cool_down)

    def _scripted(self) -> LLM:
        from agent.llm.scripted import load_scripted

        assert self._config.script is not None
        return load_scripted(Path(self._config.script), used=self._used())

    def _searcher(self) -> LLM:
        """The researcher: a model that searches by itself, or a search engine behind the same protocol."""
        from agent.llm.config import google_search, search_endpoint
        from agent.llm.google_search import GeminiSearch, ProgrammableSearch

        own = self._config.roles.get("researcher")
        elsewhere: dict[str, Any] = {"cool_down": self._cool_down}
        if own is not None and own.base_url is not None:
            elsewhere["base_url"] = own.base_url
        if self._config.search_provider == "google":
            key, engine = google_search(self._environment, self._dotenv)
            return ProgrammableSearch(key=key.secret.reveal(), engine=engine, **elsewhere)
        endpoint = search_endpoint(self._config, self._environment, self._dotenv)
        if self._config.search_provider != "gemini":
            return self._client(endpoint)
        assert endpoint.key is not None
        timeout_s = self._config.timeout_s
        return GeminiSearch(key=endpoint.key, model=endpoint.model, timeout_s=timeout_s, **elsewhere)
