"""The names that --help lists without importing anything are those that the rooms below know."""

from __future__ import annotations

import argparse
from typing import Any

from agent.api import agent_options
from agent.cli import options
from agent.llm import config, config_checks, presets
from agent.report import graph


def choices(option: str) -> set[Any]:
    parser = argparse.ArgumentParser()
    options.add_tune(parser)
    action = next(action for action in parser._actions if option in action.option_strings)
    assert action.choices is not None
    return set(action.choices)


def test_roles_providers_and_proposers_are_the_same_everywhere() -> None:
    assert options.ROLES == config.ROLES
    assert set(agent_options.PROVIDERS) == set(presets.PROVIDERS)
    assert choices("--search-provider") == set(config_checks.SEARCH_PROVIDERS)
    assert choices("--proposer") == set(agent_options.PROPOSERS) == set(graph.PROPOSERS)
