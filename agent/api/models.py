"""From options to language models: who plays which role, and the models behind them. No key leaves memory."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.api.agent_options import check_used
from agent.api.options import TuneOptions
from agent.errors import UsageError
from agent.model_roles import JUDGE, RESEARCHER, ROLES, Switches, may_speak
from agent.options.option import given
from agent.proposers import AUTOTUNER, BAYES, SHIPPED, proposer_entry
from agent.store.events import AnswerFormatsLearnt, ModelCalled, ModelReplied, RulesGiven
from agent.store.store import Store
from agent.store.study import Settings

if TYPE_CHECKING:
    from agent.api.role_sources import RoleSource
    from agent.llm.answer_formats import AnswerFormats
    from agent.llm.base import LLM
    from agent.llm.config import LLMConfig
    from agent.llm.prices import PriceTable
    from agent.llm.retry import CoolDown
    from agent.llm.wire import Endpoint
    from agent.orchestrator.work import Models


def agent_settings(old: Settings, options: TuneOptions) -> dict[str, Any]:
    """What this call changes of the settings. Raises UsageError for agents' options that cannot go together."""
    config = _config(old, options)
    changes = given(options)
    if options.prompts is not None:
        changes["prompts"] = _prompts(options.prompts.absolute(), said=f"--prompts {options.prompts}")
    some = any_model(config)
    if not some and options.search_provider not in (None, "none"):
        raise UsageError(f"--search-provider {options.search_provider}: there is no researcher without --provider")
    proposer = options.proposer or _kept_proposer(old, some)
    if proposer_entry(proposer).needs_models and not some:
        without = [entry.name for entry in SHIPPED.values() if not entry.needs_models]
        raise UsageError(
            f"--proposer {proposer} needs a language model: give --provider (anthropic, openai, deepseek, ...); "
            f"with --provider none only {', '.join(without[:-1])} and {without[-1]} can propose"
        )
    check_used(options, proposer, some)
    return changes | {"provider": config.provider, "llm": config.to_json(), "proposer": proposer}


def _kept_proposer(old: Settings, some: bool) -> str:
    """The proposer of a study whose call names none. some: whether it has a language model now."""
    entry = proposer_entry(old.proposer)
    if not (entry.needs_models or entry.unchosen):
        return old.proposer  # it goes on with a model and without
    # A study that had no model and is given one is meant to use it; one that loses it cannot.
    if not some:
        return BAYES.name
    return old.proposer if old.llm and any_model(_stored(old)) else AUTOTUNER.name


def any_model(config: LLMConfig) -> bool:
    """Whether any role has a provider."""
    return config.provider != "none" or any((own.provider or "none") != "none" for own in config.roles.values())


def _asks_anyone(config: LLMConfig) -> bool:
    """Whether any role, or the search, has a provider that is a service."""
    players = [config.provider, *(own.provider for own in config.roles.values())]
    return config.search_provider != "none" or any(name not in (None, "none", "scripted") for name in players)


def _stored(settings: Settings) -> LLMConfig:
    from agent.llm.config import LLMConfig, from_json

    if not isinstance(settings.llm, Mapping):
        raise UsageError(f"settings.json: llm = {settings.llm!r}: must be an object; restore the file")
    return from_json(settings.llm, file="settings.json: llm") if settings.llm else LLMConfig()


def _config(old: Settings, options: TuneOptions) -> LLMConfig:
    """A file given now, or what the study has, with this call's options on top."""
    from agent.llm.config import load_config, override
    from agent.llm.variables import taken

    # Absolute, and with it the paths in the file: cron calls from another folder.
    config = load_config(options.llm_config.absolute()) if options.llm_config is not None else _stored(old)
    if options.provider == "none":
        # Said in this call, it holds for roles with a provider of their own too.
        config = replace(config, roles={role: own for role, own in config.roles.items() if own.provider is None})
    config = override(
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
    return taken(config, os.environ, _dotenv(config))[0]


def role_sources(store: Store, settings: Settings) -> list[RoleSource]:
    """Which model is asked where, for each role that the study may ask, and from where that is known. Nobody is
    asked, and what is missing is said, not raised. Raises UsageError for a .env that cannot be read."""
    from agent.api.role_sources import describe

    config = _stored(settings)
    if not any_model(config):
        return []
    return describe(config, roles_of(settings, config, judge=has_judge(store)), os.environ, _dotenv(config))


def passed_over(settings: Settings) -> tuple[str, ...]:
    """Lines about variables that are set and change nothing in this study."""
    from agent.llm.variables import taken

    config = _stored(settings)
    return taken(config, os.environ, _dotenv(config))[1] if any_model(config) else ()


def _dotenv(config: LLMConfig) -> Mapping[str, str]:
    """.env of the current folder; a script needs no key, and no library to read one."""
    from agent.llm.keys import read_dotenv

    return read_dotenv(Path.cwd()) if _asks_anyone(config) else {}


def _file(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    return path.absolute()


def _prompts(folder: Path, *, said: str) -> Path:
    """The folder, once every prompt file in it was looked at. Raises UsageError."""
    from agent.resources import templates
    from agent.roles.prompt_check import check_prompts

    check_prompts(folder, templates() / "prompts", said=said)
    return folder


def key_variables(settings: Settings) -> frozenset[str]:
    """The variables for keys that a person named (--key-env and the table of models), and those of providers that
    plug-ins bring: no task inherits them."""
    from agent.llm.config import brought_providers

    config = _stored(settings)
    named = (config.key_env, *(own.key_env for own in config.roles.values()))
    brought = {variable for each in brought_providers(config) for variable in each.every_variable}
    return frozenset(name for name in (*named, *brought) if name)


def without_keys(settings: Settings) -> dict[str, str]:
    """This process's environment less `key_variables`: what checks and controller jobs may inherit, as tasks do."""
    named = key_variables(settings)
    return {name: value for name, value in os.environ.items() if name not in named}


def check_models(options: TuneOptions, *, judge: bool) -> None:
    """Refuse, before a new study leaves anything on disk, models that cannot be asked. Raises UsageError."""
    settings = replace(Settings(), **agent_settings(Settings(), options))
    config = _stored(settings)
    if any_model(config):
        from agent.llm.trace import make_tracer

        def ignore(line: str) -> None:
            """Nothing is traced yet."""

        models = _models(settings, config, config.prices)
        _RoleModels(config, {}, dict).check(roles_of(settings, config, judge=judge), models.prices)
        make_tracer(os.environ, ignore).close()


def models_for(store: Store, settings: Settings, say: Callable[[str], None]) -> Models | None:
    """The study's models; None with --provider none.

    Every key, script and table that this study's roles need is looked at now: a mistake is refused before a round
    begins, not met as a failing agent in the middle of it. Raises UsageError.
    """
    from agent.llm.trace import make_tracer

    config = _stored(settings)
    if not any_model(config):
        return None
    if settings.prompts is not None:
        folder = settings.prompts
        if not folder.is_dir():
            raise UsageError(f"{folder} (settings.json: prompts) is gone: put it back, or give --prompts")
        _prompts(folder, said=f"{folder} (settings.json: prompts)")
    learnt = store.journal.last(AnswerFormatsLearnt)
    formats = dict(learnt.rungs) if learnt is not None else {}
    by_role = _RoleModels(config, formats, lambda: _scripted_replies(store))
    models = _models(settings, config, config.prices)
    by_role.check(roles_of(settings, config, judge=has_judge(store)), models.prices)
    return replace(
        models,
        of=by_role.of,
        tracer=make_tracer(os.environ, say, redact=by_role.redact),
        redact=by_role.redact,
        offline=False,
        answer_formats=formats,
    )


def _scripted_replies(store: Store) -> Counter[str]:
    """Replies of each role that a script gave so far. Neither another provider's nor a call that a cap held back."""
    answered = {reply.call for reply in store.journal.of(ModelReplied)}
    return Counter(
        call.role
        for call in store.journal.of(ModelCalled)
        if call.provider == "scripted"
        # A kill may have come between the exchange's file and its entry in the journal.
        and (call.call in answered or (store.paths.root / f"{call.call}.json").exists())
    )


def offline_models(settings: Settings) -> Models | None:
    """Only what is recorded: no key is read, nobody can be asked, and nothing is charged."""
    config = _stored(settings)
    return _models(settings, config, None) if any_model(config) else None


def _models(settings: Settings, config: LLMConfig, prices: str | None) -> Models:
    """What needs no key: caps, prompts, and the prices of this table before the shipped one."""
    from agent.llm.prices import load_prices
    from agent.llm.trace import NullTracer
    from agent.orchestrator.work import Models
    from agent.resources import templates

    def nobody(role: str) -> LLM:
        raise UsageError(f"{role}: a replay asks no model")

    own = [settings.prompts] if settings.prompts is not None else []
    return Models(
        of=nobody,
        prices=load_prices(Path(prices) if prices is not None else None),
        tracer=NullTracer(),
        prompts=(*own, templates() / "prompts"),
        max_cost=config.max_cost,
        max_tokens=config.max_tokens,
        max_output_tokens=config.max_output_tokens,
        searches=config.search_provider != "none",
        offline=True,
    )


def roles_of(settings: Settings, config: LLMConfig, *, judge: bool) -> tuple[str, ...]:
    """The roles that this study may ask. judge: whether its rules of acceptance have one."""
    entry = proposer_entry(settings.proposer)
    return may_speak(
        Switches(
            proposes=entry.speaks,
            planned=settings.planned,
            plans=entry.plans,
            analyst=settings.analyst,
            searches=config.search_provider != "none",
            critique=settings.critique,
            # No option turns it off, so where nobody has a provider but single roles, it has none.
            judge=judge and config.of(JUDGE.name).provider != "none",
        )
    )


def asks_models(settings: Settings) -> bool:
    """Whether any role of the study has a provider. Raises InvalidLLMConfig, UsageError."""
    return settings.provider != "none" or any_model(_stored(settings))


def draws_judge(store: Store, settings: Settings) -> bool:
    """Whether the study has a judge, and a provider for it."""
    return has_judge(store) and _stored(settings).of(JUDGE.name).provider != "none"


def has_judge(store: Store) -> bool:
    """Whether the study's rules of acceptance leave small gains to a judge.

    A person's Python file is not executed for that: the shipped rules' judge stands behind it.
    """
    from agent.acceptance.rules import Rules
    from agent.acceptance.rules_file import load_rules
    from agent.resources import shipped_rules

    given = store.journal.last(RulesGiven)
    if given is not None and given.kind == "python":
        return Rules.judge
    if given is not None and not store.paths.rules.exists():
        return Rules.judge  # what misses it says so
    return load_rules(store.paths.rules if given is not None else shipped_rules()).judge


def make_client(endpoint: Endpoint, formats: AnswerFormats, cool_down: CoolDown) -> LLM:
    """The model at an endpoint, with the patience of everyday use."""
    from agent.llm.client import Client

    return Client(endpoint, formats=formats, cool_down=cool_down)


class _RoleModels:
    """The model of each role in this process: keys as they are now, one memory of formats and outages for all."""

    def __init__(
        self, config: LLMConfig, formats: MutableMapping[str, str], used: Callable[[], Mapping[str, int]]
    ) -> None:
        """used: how many exchanges of each role the study has; a script goes on after them."""
        from agent.llm.answer_formats import AnswerFormats
        from agent.llm.config import secrets_of
        from agent.llm.retry import CoolDown

        self._config = config
        self._used = used
        self._environment = dict(os.environ)
        self._dotenv = _dotenv(config)
        self._secrets = secrets_of(config, self._environment, self._dotenv)
        self._formats = AnswerFormats(formats)
        self._cool_down = CoolDown(now=time.monotonic)
        self._made: dict[str, LLM] = {}

    def check(self, roles: Iterable[str], prices: PriceTable) -> None:
        """Set up the models of these roles. Raises UsageError, also for a price that a cap on cost needs."""
        from agent.llm.ledger import require_prices

        made = [(role, self._checked(role)) for role in roles]
        require_prices([(role, llm.provider, llm.model) for role, llm in made], prices, self._config.max_cost)

    def _checked(self, role: str) -> LLM:
        """`of`, with what else helps where it is a role that no option turns off."""
        try:
            return self.of(role)
        except UsageError as error:
            if not (without := ROLES[role].without):
                raise
            raise UsageError(f"{error}. Or {without}") from error

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
        if ROLES[role].searches:
            return self._searcher()
        return self._client(endpoint_for(self._config, role, self._environment, self._dotenv))

    def _client(self, endpoint: Endpoint) -> LLM:
        return make_client(endpoint, self._formats, self._cool_down)

    def _scripted(self) -> LLM:
        from agent.llm.scripted import load_scripted

        assert self._config.script is not None
        return load_scripted(Path(self._config.script), used=self._used())

    def _searcher(self) -> LLM:
        """The researcher: a model that searches by itself, or a search engine behind the same protocol."""
        from agent.llm.config import google_search, search_endpoint
        from agent.llm.google_search import GeminiSearch, ProgrammableSearch
        from agent.llm.variables import gemini_root

        own = self._config.roles.get(RESEARCHER.name)
        elsewhere: dict[str, Any] = {"cool_down": self._cool_down}
        if own is not None and own.base_url is not None:
            elsewhere["base_url"] = own.base_url
        elif self._config.search_provider == "gemini" and "gemini" in self._config.addresses:
            elsewhere["base_url"] = gemini_root(self._config.addresses["gemini"])
        if self._config.search_provider == "google":
            key, engine = google_search(self._environment, self._dotenv)
            return ProgrammableSearch(key=key.secret.reveal(), engine=engine, **elsewhere)
        endpoint = search_endpoint(self._config, self._environment, self._dotenv)
        if self._config.search_provider != "gemini":
            return self._client(endpoint)
        assert endpoint.key is not None
        timeout_s = self._config.timeout_s
        return GeminiSearch(key=endpoint.key, model=endpoint.model, timeout_s=timeout_s, **elsewhere)
