"""One watch over this process for all tests of this folder: an audit hook is for ever."""

from __future__ import annotations

import pytest

from tests.agent.llm.watch import Watch

pytest.register_assert_rewrite(
    *(f"tests.agent.llm.{name}" for name in ("provider_setting", "provider_case", "fault_case", "answer_case"))
)

_watch: list[Watch] = []


@pytest.fixture
def watch() -> Watch:
    """What the process does while a model's answer is handled."""
    if not _watch:
        _watch.append(Watch())
    return _watch[0]
