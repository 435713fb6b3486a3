"""A provider of language models that an installed distribution brings."""

from __future__ import annotations

import pytest

from agent.errors import InvalidPlugin, UsageError
from agent.llm.config import InvalidLLMConfig, LLMConfig, brought_providers, from_json, secrets_of
from agent.llm.presets import preset, provider_names
from agent.llm.prices import InvalidPrices, parse_prices
from agent.options.study import PROVIDER
from tests.plugins.conftest import Install

CODE = """
from agent.llm.presets import Preset
CAMPUS = Preset(
    name="campus",
    style="chat",
    base_url="https://llm.campus.example/v1",
    key_variables=("CAMPUS_LLM_PASS",),
    formats=("json_schema", "text"),
    model="campus-70b",
)
"""


def campus(install: Install, code: str = CODE) -> None:
    install("lab_llm", {"roundtable.providers": {"campus": "campus_code:CAMPUS"}}, campus_code=code)


def test_it_is_chosen_by_its_name(install: Install) -> None:
    campus(install)
    assert PROVIDER.known("campus")
    assert preset("campus").base_url == "https://llm.campus.example/v1"
    assert provider_names()[-1] == "campus"
    config = from_json({"provider": "campus", "roles": {"judge": {"provider": "openai"}}}, file="models.yaml")
    assert [each.name for each in brought_providers(config)] == ["campus"]


def test_its_key_is_hidden_wherever_keys_are(install: Install) -> None:
    campus(install)
    secrets = secrets_of(LLMConfig(provider="campus"), {"CAMPUS_LLM_PASS": "a-long-pass-phrase"}, {})
    assert "a-long-pass-phrase" in secrets


def test_a_typo_is_answered_with_it_too(install: Install) -> None:
    campus(install)
    with pytest.raises(UsageError, match=r"provider 'campsu': did you mean campus\? must be one of none, .*, campus"):
        preset("campsu")
    with pytest.raises(InvalidLLMConfig, match=r"provider = 'campsu': must be one of none, .*, campus"):
        from_json({"provider": "campsu"}, file="models.yaml")


def test_a_broken_one_disturbs_no_other(install: Install) -> None:
    campus(install, "raise ImportError('libcampus.so is missing')")
    assert preset("openai").name == "openai"
    with pytest.raises(InvalidPlugin, match=r"lab_llm 1\.2 .*roundtable.providers: campus.*libcampus.so is missing"):
        preset("campus")


def test_a_price_table_may_name_it(install: Install) -> None:
    campus(install)
    entry = {"provider": "campus", "model": "campus-70b", "input": 0.1, "output": 0.2}
    entry |= {"as_of": "2026-11-01", "source": "https://llm.campus.example/prices"}
    (price,) = parse_prices({"schema_version": 1, "prices": [entry]}, file="prices.yaml")
    assert price.provider == "campus"
    with pytest.raises(InvalidPrices, match=r"must be one of .*campus"):
        parse_prices({"schema_version": 1, "prices": [entry | {"provider": "campsu"}]}, file="prices.yaml")
