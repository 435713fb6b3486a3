"""The drawing's colours, for light and dark viewers: text has a contrast of 6 or more (WCAG AA asks for 4.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Palette:
    """Colours as #rrggbb. kinds: kind -> (ground, border, text)."""

    ground: str
    frame: str
    border: str
    text: str
    muted: str
    arrow: str
    failure: str
    kinds: Mapping[str, tuple[str, str, str]]


LIGHT = Palette(
    ground="#ffffff",
    frame="#f6f8fb",
    border="#cfd8e3",
    text="#16202c",
    muted="#46525f",
    arrow="#5b6b7c",
    failure="#b3261e",
    kinds={
        "rules": ("#e8eef6", "#7f98b6", "#16202c"),
        "model": ("#efe7fd", "#8b63d9", "#2b1659"),
        "bayes": ("#dff4ec", "#2f9a76", "#08392a"),
        "machine": ("#fdf0d8", "#cf9430", "#4a2f03"),
    },
)
DARK = Palette(
    ground="#10151c",
    frame="#171e27",
    border="#33404f",
    text="#eef3f9",
    muted="#b3c0ce",
    arrow="#93a4b7",
    failure="#ff8a80",
    kinds={
        "rules": ("#223044", "#6f8db0", "#eef3f9"),
        "model": ("#32235a", "#a384ea", "#f1eaff"),
        "bayes": ("#123d30", "#4dbb96", "#e2fbf2"),
        "machine": ("#46340f", "#dba94d", "#fff3dc"),
    },
)
