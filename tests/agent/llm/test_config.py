"""Who plays which role: files, overrides, what a role inherits, and everything that is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.errors import UsageError
from agent.llm.config import (
    ROLES,
    InvalidLLMConfig,
    LLMConfig,
    RoleConfig,
    endpoint_for,
    from_json,
    google_search,
    key_for,
    load_config,
    override,
    search_endpoint,
    secrets_of,
)
from agent.llm.presets import PRESETS, PROVIDERS, preset
from agent.llm.wire import FORMATS, STYLES

KEYS = {"ANTHROPIC_API_KEY": "sk-ant", "OPENAI_API_KEY": "sk-oai", "GEMINI_API_KEY": "sk-gem", "WORK_KEY": "sk-work"}


def _problems(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(InvalidLLMConfig) as caught:
        from_json(raw, file="llm.yaml")
    assert all(problem.file == "llm.yaml" for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "llm.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_an_endpoint(name: str) -> None:
    config = LLMConfig(provider=name, model="some-model", base_url="http://127.0.0.1:1/v1")
    environment = {variable: f"sk-{variable}" for variable in PRESETS[name].key_variables}
    endpoint = endpoint_for(config, "autotuner", environment, {})
    assert endpoint.provider == name and endpoint.style in STYLES and set(endpoint.formats) <= set(FORMATS)
    assert endpoint.formats[-1] == "text"
    assert endpoint.key == (f"sk-{PRESETS[name].key_variables[0]}" if environment else None)


def test_an_unknown_provider_is_answered_with_all_of_them() -> None:
    with pytest.raises(UsageError, match="did you mean openai") as caught:
        preset("opnai")
    assert all(name in str(caught.value) for name in PROVIDERS)


@pytest.mark.parametrize("name", [name for name in PRESETS if PRESETS[name].model is None])
def test_a_provider_without_a_default_model_asks_for_one_with_an_example(name: str) -> None:
    config = LLMConfig(provider=name, base_url="http://127.0.0.1:1/v1")
    with pytest.raises(UsageError, match="--model ") as caught:
        endpoint_for(config, "checker", {"OPENROUTER_API_KEY": "sk-or"}, {})
    assert PRESETS[name].example_model in str(caught.value)


def test_custom_needs_an_address_and_never_takes_another_providers_key() -> None:
    with pytest.raises(UsageError, match="--base-url"):
        endpoint_for(LLMConfig(provider="custom", model="m"), "checker", KEYS, {})
    config = LLMConfig(provider="custom", model="m", base_url="http://127.0.0.1:1/v1")
    assert endpoint_for(config, "checker", KEYS, {}).key is None
    assert endpoint_for(override(config, key_env="WORK_KEY"), "checker", KEYS, {}).key == "sk-work"
    with pytest.raises(UsageError, match="OTHER_KEY"):
        endpoint_for(override(config, key_env="OTHER_KEY"), "checker", KEYS, {})


@pytest.mark.parametrize("name", ["none", "scripted"])
def test_a_provider_without_endpoint_says_so(name: str) -> None:
    with pytest.raises(UsageError, match=f"provider {name} has no endpoint"):
        endpoint_for(LLMConfig(provider=name, script="s.yaml"), "checker", KEYS, {})


def test_a_role_plays_as_the_shared_one_unless_it_says_otherwise() -> None:
    config = LLMConfig(
        provider="openai",
        model="gpt-shared",
        base_url="https://gateway.example/v1",
        key_env="WORK_KEY",
        roles={"checker": RoleConfig(model="gpt-small"), "analyst": RoleConfig(provider="openai")},
    )
    checker, analyst, supervisor = (config.of(role) for role in ("checker", "analyst", "supervisor"))
    assert (checker.model, checker.base_url, checker.key_env) == ("gpt-small", config.base_url, "WORK_KEY")
    assert analyst == supervisor and supervisor.model == "gpt-shared"
    assert endpoint_for(config, "checker", KEYS, {}).key == "sk-work"


def test_a_role_at_another_provider_inherits_neither_model_nor_address_nor_key() -> None:
    config = LLMConfig(
        provider="openai",
        model="gpt-shared",
        base_url="https://gateway.example/v1",
        key_env="WORK_KEY",
        roles={"checker": RoleConfig(provider="anthropic")},
    )
    endpoint = endpoint_for(config, "checker", KEYS, {})
    assert endpoint.model == PRESETS["anthropic"].model
    assert endpoint.base_url == PRESETS["anthropic"].base_url
    assert endpoint.key == "sk-ant"


def test_a_role_at_another_address_does_not_send_the_shared_key_there() -> None:
    own = RoleConfig(base_url="http://127.0.0.1:2/v1")
    config = LLMConfig(
        provider="custom", model="m", base_url="http://127.0.0.1:1/v1", key_env="WORK_KEY", roles={"checker": own}
    )
    assert endpoint_for(config, "analyst", KEYS, {}).key == "sk-work"
    assert endpoint_for(config, "checker", KEYS, {}).key is None


def test_a_roles_own_variable_comes_before_all_others() -> None:
    config = LLMConfig(provider="openai", key_env="WORK_KEY")
    dotenv = {"ROUNDTABLE_CHECKER_API_KEY": "sk-role"}
    found = key_for(config, "checker", KEYS, dotenv)
    assert found is not None and (found.secret.reveal(), found.variable) == ("sk-role", "ROUNDTABLE_CHECKER_API_KEY")
    assert endpoint_for(config, "analyst", KEYS, dotenv).key == "sk-work"


def test_a_missing_key_is_said_before_anything_starts() -> None:
    with pytest.raises(UsageError) as caught:
        endpoint_for(LLMConfig(provider="gemini"), "consultant_a", {}, {})
    for name in ("ROUNDTABLE_CONSULTANT_A_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        assert name in str(caught.value)


def test_an_unknown_role_is_answered_with_all_of_them() -> None:
    with pytest.raises(UsageError, match="did you mean checker") as caught:
        endpoint_for(LLMConfig(provider="openai"), "chekcer", KEYS, {})
    assert all(role in str(caught.value) for role in ROLES)


FULL = """
provider: anthropic
model: claude-x
key_env: WORK_KEY
script: replies.yaml
search_provider: google
prices: my_prices.json
max_cost: 2.5
max_tokens: 1000000
max_output_tokens: 4096
timeout_s: 60
roles:
  checker: {provider: ollama, model: "qwen3:8b", base_url: "http://node7:11434/v1"}
  analyst: {model: claude-small}
  supervisor:
"""


def test_a_file_becomes_a_configuration_and_json_and_back(tmp_path: Path) -> None:
    config = load_config(_write(tmp_path, FULL))
    assert (config.max_cost, config.timeout_s, config.max_tokens) == (2.5, 60, 1_000_000)
    assert config.prices == str(tmp_path / "my_prices.json") and config.script == str(tmp_path / "replies.yaml")
    assert config.of("checker").base_url == "http://node7:11434/v1" and config.of("analyst").model == "claude-small"
    stored = json.loads(json.dumps(config.to_json()))
    again = from_json(stored, file="settings.json")
    assert again.to_json() == config.to_json()
    assert [again.of(role) for role in ROLES] == [config.of(role) for role in ROLES]


def test_what_is_stored_holds_no_key() -> None:
    config = LLMConfig(provider="openai", key_env="WORK_KEY")
    endpoint = endpoint_for(config, "checker", KEYS, {})
    assert endpoint.key == "sk-work" and "sk-work" not in json.dumps(config.to_json())
    assert "sk-work" not in repr(endpoint) + repr(config)


def test_every_problem_is_listed_at_once() -> None:
    problems = _problems(
        {
            "provder": "openai",
            "provider": "opnai",
            "model": "",
            "base_url": "ftp://host",
            "search_provider": "bing",
            "max_cost": 0,
            "max_tokens": 1.5,
            "max_output_tokens": 10**6,
            "timeout_s": float("nan"),
            "roles": {"chekcer": {}, "checker": {"modle": "x"}, "analyst": []},
        }
    )
    text = "\n".join(problems)
    for said in (
        "llm.yaml: provder: unknown key; did you mean provider?",
        "provider = 'opnai': must be one of",
        "model: must be a text that is not blank",
        "base_url = 'ftp://host'",
        "search_provider = 'bing': must be one of none, anthropic, openai, gemini, google",
        "max_cost = 0: must be a number above 0",
        "max_tokens = 1.5: must be a whole number",
        "max_output_tokens = 1000000: must be at most 128000",
        "timeout_s = nan",
        "roles.chekcer: unknown key; did you mean checker? valid keys: " + ", ".join(ROLES),
        "roles.checker.modle: unknown key; did you mean model?",
        "roles.analyst = []: must be a mapping",
    ):
        assert said in text, said
    assert len(problems) == 12


@pytest.mark.parametrize(
    "raw",
    [
        {"api_key": "sk-secret"},
        {"key": "sk-secret"},
        {"key_env": "sk-secret"},
        {"key_env": ["sk-secret"]},
        {"roles": {"checker": {"API-KEY": "sk-secret"}}},
        {"roles": {"checker": {"key_env": "sk-secret"}}},
        {"base_url": "https://me:sk-secret@host/v1"},
        {"base_url": "https://host/v1?key=sk-secret"},
        {"base_url": "https://host:port/v1#sk-secret"},
    ],
)
def test_a_key_in_a_file_is_refused_and_not_repeated(raw: dict[str, Any]) -> None:
    text = "\n".join(_problems(raw))
    assert "sk-secret" not in text and "llm.yaml" in text


@pytest.mark.parametrize(
    "base_url",
    ["localhost:8000", "http://", "http://host:99999", "http://a b", "https://h\nost", "http://hòst", 8],
)
def test_what_is_no_address_is_refused(base_url: object) -> None:
    assert "base_url" in _problems({"base_url": base_url})[0]


def test_a_scripted_role_needs_a_script() -> None:
    assert "script: missing" in _problems({"provider": "scripted"})[0]
    assert "script: missing" in _problems({"roles": {"checker": {"provider": "scripted"}}})[0]


def test_a_bad_configuration_cannot_be_made_in_python_either() -> None:
    with pytest.raises(InvalidLLMConfig, match="must be one of none, scripted, anthropic"):
        LLMConfig(provider="x")
    with pytest.raises(InvalidLLMConfig, match="max_cost"):
        LLMConfig(max_cost=-1)
    with pytest.raises(InvalidLLMConfig, match=r"roles\.painter"):
        LLMConfig(roles={"painter": RoleConfig()})


@pytest.mark.parametrize(
    ("text", "said"),
    [("provider: a\nprovider: b\n", "line 2: the key 'provider' stands twice"), ("- a\n", "expected"), ("a: [", "")],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=r"llm\.yaml") as caught:
        load_config(_write(tmp_path, text))
    assert said in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml: No such file"):
        load_config(tmp_path / "nowhere.yaml")


def test_options_override_the_file() -> None:
    base = LLMConfig(
        provider="openai", model="gpt-x", base_url="https://g.example/v1", key_env="WORK_KEY", max_cost=1.0
    )
    assert override(base) == base
    assert override(base, model="gpt-y", max_cost=None).to_json() == {**base.to_json(), "model": "gpt-y"}
    moved = override(base, provider="anthropic")
    assert (moved.provider, moved.model, moved.base_url, moved.key_env) == ("anthropic", None, None, None)
    assert moved.max_cost == 1.0
    assert override(base, provider="openai").model == "gpt-x"
    assert override(base, provider="anthropic", model="claude-y").model == "claude-y"
    by_role = override(base, role_models={"checker": "gpt-z"})
    assert by_role.of("checker").model == "gpt-z" and by_role.of("analyst").model == "gpt-x"
    with pytest.raises(InvalidLLMConfig, match=r"roles\.cheker"):
        override(base, role_models={"cheker": "gpt-z"})


def test_a_search_uses_the_researchers_place_only_at_the_same_provider() -> None:
    researcher = RoleConfig(provider="openai", model="gpt-search", key_env="WORK_KEY")
    config = LLMConfig(provider="anthropic", search_provider="openai", roles={"researcher": researcher})
    endpoint = search_endpoint(config, KEYS, {})
    assert (endpoint.provider, endpoint.model, endpoint.key) == ("openai", "gpt-search", "sk-work")
    other = search_endpoint(override(config, search_provider="gemini"), KEYS, {})
    assert (other.provider, other.model, other.key) == ("gemini", PRESETS["gemini"].model, "sk-gem")
    named = search_endpoint(config, {**KEYS, "ROUNDTABLE_SEARCH_API_KEY": "sk-search"}, {})
    assert named.key == "sk-search"
    with pytest.raises(UsageError, match="provider none has no endpoint"):
        search_endpoint(LLMConfig(provider="openai"), KEYS, {})


def test_a_named_key_variable_that_is_not_set_is_refused() -> None:
    """The provider's usual variable may hold somebody else's key."""
    config = LLMConfig(provider="openai", key_env="MY_KEY", search_provider="openai")
    told = "^--key-env MY_KEY: not set in the environment nor in .env$"
    with pytest.raises(UsageError, match=told):
        endpoint_for(config, "checker", KEYS, {})
    with pytest.raises(UsageError, match=told):
        search_endpoint(config, KEYS, {})
    assert search_endpoint(config, KEYS, {"MY_KEY": "sk-my"}).key == "sk-my"
    own = LLMConfig(provider="openai", roles={"checker": RoleConfig(key_env="MY_KEY")})
    with pytest.raises(UsageError, match=r"^roles\.checker\.key_env MY_KEY: not set"):
        endpoint_for(own, "checker", KEYS, {})
    assert endpoint_for(own, "checker", {**KEYS, "ROUNDTABLE_CHECKER_API_KEY": "sk-r"}, {}).key == "sk-r"


def test_an_endpoint_knows_where_its_key_is_from() -> None:
    endpoint = endpoint_for(LLMConfig(provider="anthropic"), "checker", KEYS, {})
    assert endpoint.key_from == "ANTHROPIC_API_KEY in the environment"
    assert endpoint_for(LLMConfig(provider="ollama", model="m"), "checker", KEYS, {}).key_from == ""


def test_a_researchers_address_that_the_search_would_pass_over_is_refused() -> None:
    own = RoleConfig(base_url="https://gateway.example/v1")
    config = LLMConfig(provider="anthropic", search_provider="openai", roles={"researcher": own})
    with pytest.raises(UsageError, match=r"add provider: openai to roles\.researcher, or take base_url out"):
        search_endpoint(config, KEYS, {})
    there = RoleConfig(provider="openai", base_url=own.base_url)
    assert search_endpoint(replace(config, roles={"researcher": there}), KEYS, {}).base_url == own.base_url


def test_google_search_needs_key_and_engine() -> None:
    with pytest.raises(UsageError, match="GOOGLE_SEARCH_API_KEY"):
        google_search({}, {})
    with pytest.raises(UsageError, match="GOOGLE_SEARCH_ENGINE_ID"):
        google_search({"GOOGLE_SEARCH_API_KEY": "k"}, {"GOOGLE_SEARCH_ENGINE_ID": " "})
    key, engine = google_search({"GOOGLE_SEARCH_API_KEY": "k"}, {"GOOGLE_SEARCH_ENGINE_ID": "cx1 "})
    assert (key.secret.reveal(), engine) == ("k", "cx1")


def test_every_key_that_could_show_is_known() -> None:
    config = LLMConfig(provider="openai", roles={"checker": RoleConfig(key_env="WORK_KEY")})
    environment = {**KEYS, "ROUNDTABLE_ANALYST_API_KEY": "sk-role", "HOME": "/home/me"}
    found = secrets_of(config, environment, {"GOOGLE_SEARCH_API_KEY": "sk-cse", "NAME": "me"})
    assert set(found) == {*KEYS.values(), "sk-role", "sk-cse"}
