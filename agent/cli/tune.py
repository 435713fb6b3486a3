"""`roundtable tune`: run rounds, with a live table on a terminal and plain lines elsewhere."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.api.run import Outcome
    from agent.store.store import Store


def run(parsed: argparse.Namespace) -> int:
    if parsed.dry_run:
        return _dry_run(parsed)
    screen = _Screen(quiet=parsed.quiet)
    screen.say(_first_line(parsed))
    # Imported behind the first line: it takes a second on a login node's shared disk, and longer on a busy one.
    from agent.api.run import tune
    from agent.cli.common import tune_options

    try:
        detail = screen.say if parsed.verbose else screen.ignore
        outcome = tune(tune_options(parsed), say=screen.say, detail=detail, watch=screen.watch)
    finally:
        screen.close()
    _finish(outcome, parsed)
    return 0


def _first_line(parsed: argparse.Namespace) -> str:
    """Which study this is about, and whether it is there already."""
    from agent.store.paths import slug

    root = parsed.output_dir / (parsed.study or slug(parsed.task))
    return f"study {root.name} in {root} ({'goes on' if root.exists() else 'new'})"


def _dry_run(parsed: argparse.Namespace) -> int:
    """2 where the submission would be refused, as the submission itself would end."""
    from agent.api.dry_run import dry_run
    from agent.cli.common import tune_options

    found = dry_run(tune_options(parsed))
    sys.stdout.write("".join(f"{line}\n" for line in (*found.lines, "dry run: nothing was submitted or changed")))
    sys.stdout.flush()
    for line in found.refusals:
        sys.stderr.write(f"roundtable tune: {line}\n")
    return 2 if found.refusals else 0


class _Screen:
    """Lines as they come; on a terminal also the open round's table, redrawn in place."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live: Any = None
        self._terminal = sys.stdout.isatty() and not quiet

    def say(self, line: str) -> None:
        if self._quiet:
            return
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def ignore(self, line: str) -> None:
        """orchestrator.log has it."""

    def watch(self, store: Store, report: Any) -> None:
        if not self._terminal:
            return
        from rich.live import Live

        from agent.report.overview import open_round_state
        from agent.report.status import open_table

        if self._live is None:
            self._live = Live(transient=True, auto_refresh=False)
            self._live.start()
        console = self._live.console
        # The title, the bar and notes take their share of a terminal's height.
        most = max(3, console.height - 8)
        state = open_round_state(store, report.round)
        self._live.update(open_table(state, bar=True, most=most, width=console.width), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _finish(outcome: Outcome, parsed: argparse.Namespace) -> None:
    root = outcome.store.paths.root
    if outcome.state == "rendered":
        lines = ["Run these lines, then call `roundtable tune` again to collect:", *outcome.commands]
        if parsed.max_rounds is not None and parsed.max_rounds > 1:
            lines.append(f"--max-rounds {parsed.max_rounds} without --auto-train: stopped after rendering one round")
        sys.stdout.write("\n".join(lines) + "\n")
        return
    from rich.console import Console

    from agent.report.overview import overview
    from agent.report.status import print_overview

    print_overview(overview(outcome.store), Console())
    sys.stdout.write(f"study {root}\n")
