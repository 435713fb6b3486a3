"""What other tools' variables say of addresses, models, searches and keys: taken, passed over or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.api.role_sources import describe, lines
from agent.errors import UsageError
from agent.llm.config import (
    ROLES,
    LLMConfig,
    RoleConfig,
    endpoint_for,
    from_json,
    google_search,
    override,
    search_endpoint,
    secrets_of,
)
from agent.llm.variables import gemini_root, normal_address, taken
from trainers.yaml_file import dump_yaml

#: As the example of a project with one key an agent has it, with keys in place of its words.
PANEL = {
    "GEMINI_OPENAI_BASE_URL": "https://generativelanguage.googleapis.com/v1beta/openai/",
    "GEMINI_API_KEY_GEN_A": "AIza-a-0123456789",
    "GEMINI_API_KEY_GEN_B": "AIza-b-0123456789",
    "GEMINI_API_KEY_SUP": "AIza-s-0123456789",
    "GEMINI_API_KEY_EXEC": "AIza-e-0123456789",
    "GEMINI_API_KEY_RES": "AIza-r-0123456789",
    "GEMINI_USE_GOOGLE_SEARCH": "true",
    "GOOGLE_CSE_API_KEY": "AIza-cse-0123456789",
    "GOOGLE_CSE_ID": "cx1",
}


def config_of(
    provider: str, environment: dict[str, str], dotenv: dict[str, str] | None = None, **more: Any
) -> LLMConfig:
    return taken(LLMConfig(provider=provider, **more), environment, dotenv or {})[0]


# -- addresses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "given", "kept"),
    [
        ("anthropic", "http://gw:1", "http://gw:1"),
        ("anthropic", "http://gw:1/", "http://gw:1"),
        ("anthropic", "http://gw:1/v1/", "http://gw:1"),
        ("anthropic", "http://gw:1/anthropic/v1/messages", "http://gw:1/anthropic"),
        ("openai", "http://gw:1", "http://gw:1/v1"),
        ("openai", "http://gw:1/", "http://gw:1/v1"),
        ("openai", "http://gw:1/v1/", "http://gw:1/v1"),
        ("openai", "http://gw:1/openai/deployments/x", "http://gw:1/openai/deployments/x"),
        ("openai", "http://gw:1/v1/chat/completions", "http://gw:1/v1"),
        ("gemini", "http://gw:1/v1beta/openai/", "http://gw:1/v1beta/openai/"),
        ("gemini", "http://gw:1/v1beta/openai", "http://gw:1/v1beta/openai/"),
        ("gemini", "http://gw:1", "http://gw:1/v1beta/openai/"),
        ("gemini", "http://gw:1/v1beta/", "http://gw:1/v1beta/openai/"),
    ],
)
def test_an_address_may_have_a_version_or_a_slash_at_its_end(provider: str, given: str, kept: str) -> None:
    assert normal_address(provider, given) == kept


@pytest.mark.parametrize(
    ("provider", "variable", "path"),
    [
        ("anthropic", "ANTHROPIC_BASE_URL", ""),
        ("openai", "OPENAI_BASE_URL", "/v1"),
        ("gemini", "GEMINI_OPENAI_BASE_URL", "/v1beta/openai/"),
    ],
)
def test_an_address_is_taken_where_no_option_gives_one(provider: str, variable: str, path: str) -> None:
    key = {f"{provider.upper()}_API_KEY": "k-0123456789"}
    environment = {variable: " http://127.0.0.1:1/ ", **key}
    config = config_of(provider, environment)
    assert endpoint_for(config, "checker", environment, {}).base_url == f"http://127.0.0.1:1{path}"
    assert config.origins == {f"addresses.{provider}": f"{variable} in the environment"}
    ours = config_of(provider, environment, base_url="http://127.0.0.1:2/v1")
    assert "http://127.0.0.1:2" in str(endpoint_for(ours, "checker", environment, {}).base_url)
    blank = config_of(provider, {variable: " "}, {variable: "http://127.0.0.1:3/v1"})
    assert blank.origins == {f"addresses.{provider}": f"{variable} in .env"}
    assert config_of("deepseek", environment).addresses == {}


def test_a_role_at_another_provider_and_a_search_take_their_own_providers_address() -> None:
    environment = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1", "OPENAI_BASE_URL": "http://127.0.0.1:2/v1"}
    keys = {"ANTHROPIC_API_KEY": "k-0123456789", "OPENAI_API_KEY": "o-0123456789"}
    config = config_of(
        "anthropic", environment, roles={"judge": RoleConfig(provider="openai")}, search_provider="openai"
    )
    assert endpoint_for(config, "checker", keys, {}).base_url == "http://127.0.0.1:1"
    assert endpoint_for(config, "judge", keys, {}).base_url == "http://127.0.0.1:2/v1"
    assert search_endpoint(config, keys, {}).base_url == "http://127.0.0.1:2/v1"


@pytest.mark.parametrize("value", ["localhost:8000", "https://me:secret@h/v1", "https://h/v1?key=secret"])
def test_what_is_no_address_is_refused_by_the_variables_name(value: str) -> None:
    with pytest.raises(UsageError, match=r"^OPENAI_BASE_URL in \.env: ") as caught:
        config_of("openai", {}, {"OPENAI_BASE_URL": value})
    assert "secret" not in str(caught.value)


def test_what_was_taken_stays_with_the_study_until_a_variable_or_a_person_says_otherwise() -> None:
    first = config_of("openai", {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "PLANNER_MODEL": "gpt-p"})
    kept = from_json(json.loads(json.dumps(first.to_json())), file="settings.json")
    assert taken(kept, {}, {})[0] == kept
    moved = taken(kept, {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, {"PLANNER_MODEL": "gpt-q"})[0]
    assert moved.addresses == {"openai": "http://127.0.0.1:9/v1"} and moved.of("planner").model == "gpt-q"
    ours, notes = taken(override(kept, role_models={"planner": "gpt-o"}), {"PLANNER_MODEL": "gpt-q"}, {})
    assert ours.of("planner").model == "gpt-o"
    assert notes == ("PLANNER_MODEL in the environment: not used, the planner's model is given as gpt-o",)


# -- keys and addresses --------------------------------------------------------------------------------------------


def test_a_key_is_sent_to_no_other_providers_address() -> None:
    for variable, value, key in (
        ("OPENAI_BASE_URL", "https://api.anthropic.com/v1", {"OPENAI_API_KEY": "sk-0123456789"}),
        ("ANTHROPIC_BASE_URL", "https://api.openai.com", {"ANTHROPIC_API_KEY": "sk-ant-0123456789"}),
        ("OPENAI_BASE_URL", "https://openrouter.ai/api/v1", {"OPENAI_API_KEY": "sk-proj-0123456789"}),
        ("OPENAI_BASE_URL", "", {"OPENAI_API_KEY": "sk-ant-0123456789"}),
    ):
        provider = variable.partition("_")[0].lower()
        with pytest.raises(UsageError, match="is not sent to") as caught:
            endpoint_for(config_of(provider, {variable: value}), "checker", key, {})
        assert next(iter(key.values())) not in str(caught.value)
    routed = config_of("openai", {"OPENAI_BASE_URL": "https://openrouter.ai/api/v1"})
    assert endpoint_for(routed, "checker", {"OPENAI_API_KEY": "sk-or-v1-0123456789"}, {}).key


def test_a_folders_dotenv_does_not_have_a_persons_exported_key_sent_to_its_address() -> None:
    dotenv = {"OPENAI_BASE_URL": "https://gateway.example/v1"}
    key = {"OPENAI_API_KEY": "sk-0123456789"}
    config = config_of("openai", {}, dotenv)
    with pytest.raises(UsageError, match=r"put the key into \.env beside the address"):
        endpoint_for(config, "checker", key, dotenv)
    assert endpoint_for(config, "checker", {}, {**dotenv, **key}).key
    assert endpoint_for(config, "checker", {"ROUNDTABLE_CHECKER_API_KEY": "sk-0123456789"}, dotenv).key
    exported = config_of("openai", dotenv)
    assert endpoint_for(exported, "checker", key, {}).key


def test_a_word_in_a_keys_place_goes_to_a_server_of_ones_own_alone() -> None:
    word = {"OPENAI_API_KEY": "EMPTY"}
    with pytest.raises(UsageError, match="OPENAI_API_KEY in the environment holds a word in place of a key"):
        endpoint_for(LLMConfig(provider="openai"), "checker", word, {})
    here = config_of("openai", {"OPENAI_BASE_URL": "http://localhost:8000/v1"})
    endpoint = endpoint_for(here, "checker", word, {})
    assert endpoint.key == "EMPTY" and endpoint.redact("an EMPTY list") == "an EMPTY list"
    with pytest.raises(UsageError, match="has 1 characters"):
        endpoint_for(here, "checker", {"OPENAI_API_KEY": "x"}, {})


# -- the panel's names ---------------------------------------------------------------------------------------------


def test_one_key_an_agent_plays_every_role() -> None:
    config = config_of("gemini", {}, PANEL)
    assert config.search_provider == "gemini"
    found = {role: str(endpoint_for(config, role, {}, PANEL).key_from).split()[0][15:] for role in list(ROLES)[2:]}
    assert found == {
        "autotuner": "SUP",
        "planner": "SUP",
        "consultant_a": "GEN_A",
        "consultant_b": "GEN_B",
        "supervisor": "SUP",
        "checker": "EXEC",
        "judge": "EXEC",
    }
    assert endpoint_for(config, "analyst", {}, PANEL).key == PANEL["GEMINI_API_KEY_EXEC"]
    assert search_endpoint(config, {}, PANEL).key == PANEL["GEMINI_API_KEY_RES"]
    assert google_search({}, PANEL)[1] == "cx1"
    assert {value for name, value in PANEL.items() if "KEY" in name} <= set(secrets_of(config, {}, PANEL))
    shared = {"GEMINI_API_KEY": "AIza-shared-0123456789"}
    assert endpoint_for(config, "consultant_a", shared, {}).key == shared["GEMINI_API_KEY"]
    # Ours win.
    ours = {"ROUNDTABLE_CONSULTANT_A_API_KEY": "AIza-ours-0123456789", **PANEL}
    assert endpoint_for(config, "consultant_a", ours, {}).key == "AIza-ours-0123456789"
    named = LLMConfig(provider="gemini", key_env="WORK_KEY")
    assert endpoint_for(named, "consultant_a", {"WORK_KEY": "AIza-work-0123456789"}, PANEL).key_from.startswith(
        "WORK"
    )


def test_an_examples_words_in_a_roles_key_are_named() -> None:
    with pytest.raises(UsageError, match=r"GEMINI_API_KEY_GEN_A in \.env: holds an example's words"):
        endpoint_for(LLMConfig(provider="gemini"), "consultant_a", {}, {"GEMINI_API_KEY_GEN_A": "your_gen_a_key"})


def test_geminis_search_stands_beside_its_address() -> None:
    assert gemini_root("http://gw:1/v1beta/openai/") == "http://gw:1"
    with pytest.raises(UsageError, match=r"does not end in /v1beta/openai/"):
        gemini_root("http://gw:1/v1/")


# -- searches and models -------------------------------------------------------------------------------------------

CSE = {name: PANEL[name] for name in ("GOOGLE_CSE_API_KEY", "GOOGLE_CSE_ID")}
GEMINI = {"GEMINI_API_KEY": "AIza-0123456789"}
ON = {"GEMINI_USE_GOOGLE_SEARCH": "True"}


@pytest.mark.parametrize(
    ("provider", "dotenv", "searches", "said"),
    [
        ("gemini", ON | GEMINI, "gemini", ""),
        ("anthropic", ON | GEMINI | CSE, "gemini", ""),
        ("anthropic", ON | CSE, "google", ""),
        ("anthropic", ON, "none", "there is no key for it"),
        ("anthropic", CSE, "none", "--search-provider google"),
        ("anthropic", {"GEMINI_USE_GOOGLE_SEARCH": "false"} | GEMINI, "none", ""),
    ],
)
def test_who_searches(provider: str, dotenv: dict[str, str], searches: str, said: str) -> None:
    config, notes = taken(LLMConfig(provider=provider), {}, dotenv)
    assert config.search_provider == searches and said in "".join(notes)


def test_a_search_provider_that_a_person_chose_stays_be_it_none() -> None:
    for chosen in ("none", "openai"):
        config = override(LLMConfig(provider="anthropic"), search_provider=chosen)
        kept = from_json(config.to_json(), file="settings.json")
        found, notes = taken(kept, ON | GEMINI, {})
        assert found.search_provider == chosen and f"given as {chosen}" in notes[0]
    old = LLMConfig(provider="anthropic").to_json()
    del old["origins"]
    assert taken(from_json(old, file="settings.json"), ON | GEMINI, {})[0].search_provider == "none"


def test_a_switch_that_is_neither_true_nor_false_is_named() -> None:
    with pytest.raises(UsageError, match="GEMINI_USE_GOOGLE_SEARCH in the environment: is neither true nor false"):
        config_of("gemini", {"GEMINI_USE_GOOGLE_SEARCH": "maybe"})


@pytest.mark.parametrize(
    ("provider", "name", "model"),
    [
        ("openrouter", "anthropic/claude-3.5-sonnet", "anthropic/claude-3.5-sonnet"),
        ("anthropic", "anthropic/claude-x", "claude-x"),
        ("gemini", "google/gemini-x", "gemini-x"),
        ("anthropic", "claude-x", "claude-x"),
        ("vllm", "Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("openai", "anthropic/claude-x", None),
    ],
)
def test_planner_and_judge_have_models_of_their_own(provider: str, name: str, model: str | None) -> None:
    config, notes = taken(LLMConfig(provider=provider, model="m"), {"PLANNER_MODEL": name}, {"EVALUATOR_MODEL": name})
    assert [config.of(role).model for role in ("planner", "judge", "checker")] == [model or "m", model or "m", "m"]
    assert bool(notes) == (model is None) and all("not used" in note for note in notes)


# -- what is said --------------------------------------------------------------------------------------------------


def test_every_role_says_model_address_and_key_and_where_each_is_from() -> None:
    dotenv = {"OPENAI_BASE_URL": "http://127.0.0.1:1", "OPENAI_API_KEY": "sk-0123456789", "EVALUATOR_MODEL": "gpt-e"}
    config = config_of(
        "openai", {}, dotenv, model="gpt-m", roles={"checker": RoleConfig(provider="ollama", model="q")}
    )
    said = lines(describe(config, ("autotuner", "analyst", "checker", "judge"), {}, dotenv))
    where = "at http://127.0.0.1:1/v1 (OPENAI_BASE_URL in .env), key OPENAI_API_KEY in .env"
    assert said == [
        f"models: autotuner, analyst: openai gpt-m (--model) {where}",
        "models: checker: ollama q (--checker-model) at http://localhost:11434/v1 (the provider's own), no key",
        f"models: judge: openai gpt-e (EVALUATOR_MODEL in .env) {where}",
    ]
    (missing,) = describe(config, ("judge",), {}, {})
    assert "no API key" in missing.problem and "cannot be asked" in str(missing)


def test_the_searcher_says_its_own() -> None:
    (found,) = describe(config_of("gemini", {}, PANEL), ("researcher",), {}, PANEL)
    assert found.provider == "gemini search (GEMINI_USE_GOOGLE_SEARCH in .env)"
    assert found.address == "https://generativelanguage.googleapis.com"
    assert found.key_from == "GEMINI_API_KEY_RES in .env"
    assert "AIza" not in str(found) + dump_yaml(config_of("gemini", {}, PANEL).to_json())
