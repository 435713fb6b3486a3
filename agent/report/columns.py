"""A table at the width there is: columns that matter least are left out, and what is left is never cut."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

#: A heading longer than its column's values is broken at this many characters.
HEADING_WIDTH = 12
_GAP = 2


@dataclass(kw_only=True)
class Column:
    """One column of texts, all of the same length as its neighbours'."""

    name: str
    rank: int = 0
    """0: always there. Else the highest is left out first."""
    right: bool = False
    cells: list[str] = field(default_factory=list)

    @property
    def heading(self) -> list[str]:
        """Its name, broken where it would be wider than what stands below it."""
        most = max(HEADING_WIDTH, self._widest)
        lines = [""]
        for part in re.findall(r"[^_ ]*[_ ]?", self.name):
            if lines[-1] and len(lines[-1]) + len(part.rstrip()) > most:
                lines.append("")
            lines[-1] += part
        broken = ([line[at : at + most] for at in range(0, len(line), most)] for line in lines)
        return [line.rstrip(" ") for parts in broken for line in parts] or [""]

    @property
    def width(self) -> int:
        return max(self._widest, *map(len, self.heading))

    @property
    def _widest(self) -> int:
        return max(map(len, self.cells), default=0)


def fit(columns: Sequence[Column], width: int) -> tuple[list[Column], list[str]]:
    """The columns that fit into so many characters, and the names of those that were left out.

    A column without any text is not shown, and is not missed either.
    """
    kept = [column for column in columns if column.rank == 0 or any(column.cells)]
    left_out: list[str] = []
    while sum(column.width for column in kept) + _GAP * (len(kept) - 1) > width:
        rest = [column for column in kept if column.rank > 0]
        if not rest:
            break
        worst = max(rest, key=lambda column: column.rank)
        kept.remove(worst)
        left_out.append(worst.name or "verdict")
    return kept, left_out


def table_of(columns: Sequence[Column]) -> Table:
    """As a table of rich, without lines: one space of padding on both sides of a gap."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(
            Text("\n".join(column.heading)),
            justify="right" if column.right else "left",
            no_wrap=True,
            min_width=column.width,
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        # As Text: what stands in a file or an answer is no markup.
        table.add_row(*map(Text, cells))
    return table
