"""Which rung of the structured-output ladder an endpoint has shown to know."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from agent.llm.base import Request
from agent.llm.wire import Endpoint


class Rungs:
    """What was learnt of endpoints: a refused rung is not tried again, in this process or, kept, in a later one."""

    def __init__(self, known: MutableMapping[str, str] | None = None) -> None:
        """known: endpoint's name -> rung, as an earlier `known` told; it is written to."""
        self._known: MutableMapping[str, str] = {} if known is None else known

    @property
    def known(self) -> Mapping[str, str]:
        """Endpoint's name -> the rung where its ladder begins now. Holds no key."""
        return dict(self._known)

    def of(self, endpoint: Endpoint, request: Request) -> tuple[str, ...]:
        """The rungs to try, in order.

        Free text needs no ladder. A search answers in text: Anthropic's citations and a format exclude each other.
        """
        if request.schema is None or request.search is not None:
            return ("text",)
        rungs = endpoint.rungs
        first = self._known.get(endpoint.name)
        return rungs[rungs.index(first) :] if first in rungs else rungs

    def begin_at(self, endpoint: Endpoint, rung: str) -> None:
        """The rungs above this one were refused."""
        self._known[endpoint.name] = rung
