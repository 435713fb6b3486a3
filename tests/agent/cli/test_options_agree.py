"""The names that --help lists without importing anything are those that the rooms below know."""

from __future__ import annotations

from agent import names
from agent.launch import catalogue
from agent.llm import presets


def test_names_are_those_of_what_stands_behind_them() -> None:
    assert set(names.PROVIDERS) == set(presets.PROVIDERS)
    assert tuple(catalogue.SHIPPED) == names.LAUNCHERS
