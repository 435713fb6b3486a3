"""A finding: a name, one sentence, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One finding. evidence: JSON values; text: one sentence with the decisive ones."""

    name: str
    text: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "evidence": dict(self.evidence), "text": self.text}
