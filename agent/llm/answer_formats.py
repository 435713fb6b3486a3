"""Which of the formats for structured answers an endpoint has shown to know."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from agent.llm.base import Request
from agent.llm.wire import Endpoint


class AnswerFormats:
    """What was learnt of endpoints: a refused format is not tried again, in this process or,
    kept, in a later one."""

    def __init__(self, known: MutableMapping[str, str] | None = None) -> None:
        """known: endpoint's name -> answer format, as an earlier `known` told; it is written to."""
        self._known: MutableMapping[str, str] = {} if known is None else known

    @property
    def known(self) -> Mapping[str, str]:
        """Endpoint's name -> the format that is tried first now. Holds no key."""
        return dict(self._known)

    def of(self, endpoint: Endpoint, request: Request) -> tuple[str, ...]:
        """The formats to try, in order.

        Free text needs no format. A search answers in text: Anthropic's citations and a format exclude each other.
        """
        if request.schema is None or request.search is not None:
            return ("text",)
        formats = endpoint.formats
        first = self._known.get(endpoint.name)
        return formats[formats.index(first) :] if first in formats else formats

    def begin_at(self, endpoint: Endpoint, answer_format: str) -> None:
        """The formats above this one were refused."""
        self._known[endpoint.name] = answer_format
