"""A study's calls to language models as the journal has them: each with its reply."""

from __future__ import annotations

from collections.abc import Iterable

from agent.store.events import ModelCalled, ModelReplied


def model_calls(events: Iterable[ModelCalled | ModelReplied]) -> list[tuple[ModelCalled, ModelReplied | None]]:
    """Every call with its reply, in the order of the journal's events; None where it was killed before that was
    journaled.

    A killed call may be asked again under its name: a reply answers the latest call of its name.
    """
    found: list[tuple[ModelCalled, ModelReplied | None]] = []
    unanswered: dict[str, list[int]] = {}
    for event in events:
        if isinstance(event, ModelCalled):
            unanswered.setdefault(event.call, []).append(len(found))
            found.append((event, None))
        elif places := unanswered.get(event.call):
            place = places.pop()
            found[place] = found[place][0], event
    return found
