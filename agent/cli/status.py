"""`roundtable status`: how a study stands."""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.cli.common import study_folder
from agent.errors import UsageError
from agent.report.overview import overview, to_json
from agent.report.status import MOST_CANDIDATES, MOST_ROWS, print_overview
from agent.store.store import Store


def run(parsed: argparse.Namespace) -> int:
    root = study_folder(parsed)
    if parsed.watch is not None:
        if parsed.json:
            raise UsageError("--watch shows tables; for --json call again whenever you like")
        return _watch(root, parsed)
    view = overview(Store.open(root), only=parsed.round)
    if parsed.json:
        sys.stdout.write(to_json(view))
        return 0
    from rich.console import Console

    print_overview(view, Console())
    return 0


def _watch(root: Path, parsed: argparse.Namespace) -> int:
    """Until Ctrl-C. Only files are read: nobody's scheduler is asked for the sake of a screen."""
    try:
        if sys.stdout.isatty():
            _redraw(root, parsed)
        else:
            _blocks(root, parsed)
    except KeyboardInterrupt:
        sys.stdout.write("\n")
    return 0


def _redraw(root: Path, parsed: argparse.Namespace) -> None:
    """In place on a terminal, with as much of the study as its height has room for."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    with Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        while True:
            view = overview(Store.open(root), only=parsed.round)
            live.update(Text.from_ansi(_fitting(view, width=console.width, height=console.height)), refresh=True)
            time.sleep(parsed.watch)


def _fitting(view: Mapping[str, Any], *, width: int, height: int) -> str:
    """The study in so many lines: of a long one fewer candidates and rows, and at last only its end, which is now."""
    for most, rows in ((200, 40), (20, 20), (12, 10), (6, 8), (3, 5), (1, 3)):
        lines = _text(view, width=width, colour=True, most=most, rows=rows).rstrip("\n").split("\n")
        if len(lines) <= height:
            return "\n".join(lines)
    cut = len(lines) - height + 2
    return "\n".join([lines[0], f"... {cut} lines: `roundtable status` shows them", *lines[cut + 1 :]])


def _blocks(root: Path, parsed: argparse.Namespace) -> None:
    """One plain block a change: for a log, or a pipe. A controller's heartbeat alone is no change."""
    shown: Any = None
    while True:
        view = overview(Store.open(root), only=parsed.round)
        if (key := _without_heartbeat(view)) != shown:
            shown = key
            sys.stdout.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n{_text(view, width=118)}\n")
            sys.stdout.flush()
        time.sleep(parsed.watch)


def _without_heartbeat(view: Mapping[str, Any]) -> dict[str, Any]:
    beat = view["control"]["controller"]
    if beat is None:
        return dict(view)
    steady = {name: value for name, value in beat.items() if name not in ("at", "next_at")}
    return dict(view) | {"control": dict(view["control"]) | {"controller": steady}}


def _text(
    view: Mapping[str, Any],
    *,
    width: int,
    colour: bool = False,
    most: int = MOST_CANDIDATES,
    rows: int = MOST_ROWS,
) -> str:
    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=colour, no_color=not colour)
    print_overview(view, console, most=most, rows=rows)
    return stream.getvalue()
