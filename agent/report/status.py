"""How a study stands, as tables on a terminal, from its overview.

Of a long study the earlier rounds are shown as one line each: a rich table costs 0.3 ms a line, which was four fifths
of the 3.4 s that 10,000 candidates took.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.report.columns import Column, fit, table_of
from agent.report.control import control_lines
from agent.report.costs import summary
from agent.report.hours import hours_lines

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


#: Candidates that the table shows line by line; of the rounds before them only the best of each.
MOST_CANDIDATES = 200
#: Rows of an open round that are shown.
MOST_ROWS = 40
#: Failures told in words, the newest; round.json has all of them.
MOST_FAILURES = 5
#: Rounds whose notes are told, the newest.
MOST_NOTED = 3
#: Candidates of the newest round whose verdict is told in words, the best.
MOST_VERDICTS = 8


def print_overview(
    view: Mapping[str, Any], console: Console, *, most: int = MOST_CANDIDATES, rows: int = MOST_ROWS
) -> None:
    """Rounds and candidates as one table, then the open round, the best and the confirmation.

    most: candidates that are shown line by line; rows: of the open round.
    """
    from rich.text import Text

    goal = view["objective"]
    title = f"{view['study']}: {view['trainer']} on {view['task']}, {goal['direction']} {goal['metric']}"
    console.print(Text(title, style="bold"))
    rounds = view["rounds"]
    earlier = _folded(rounds, most)
    columns, failures = _columns(view, earlier)
    kept, left_out = fit(columns, console.width)
    best_is = _mark_best(columns) if columns[-1] not in kept else ""
    console.print(table_of(kept))
    if best_is:
        console.print(Text(f"* {best_is}"))
    if left_out:
        console.print(Text(f"left out at this width: {', '.join(reversed(left_out))} (--json has all)"))
    # Below the table: a message is wider than any column that leaves the others readable.
    for line in failures[-MOST_FAILURES:]:
        console.print(Text(line))
    if earlier:
        console.print(Text(f"{earlier} earlier rounds by their best candidate alone; --round N shows all of one"))
    for entry in rounds[-MOST_NOTED:]:
        if entry.get("plan"):
            console.print(Text(_plan_line(entry["round"], entry["plan"])))
        if entry.get("rungs"):
            console.print(Text(_rungs_line(entry)))
        for note in entry["notes"]:
            console.print(Text(f"round {entry['round']}: {note}"))
    for line in _verdict_lines(rounds[-1]) if rounds else ():
        console.print(Text(line))
    if view["open"] is not None:
        console.print(open_table(view["open"], most=rows, width=console.width))
    if end := view.get("ended"):
        who = "the planner" if end["by"] == "model" else "the patience"
        console.print(Text(f"ended before round {end['round']} by {who}: {end['reason']}"))
    for confirmation in view["confirmations"]:
        at, seeds = confirmation["challenger"], ", ".join(map(str, confirmation["seeds"]))
        head = f"round {at['round']} {at['candidate']} against {confirmation['against']} at fresh seeds {seeds}"
        console.print(Text(f"{head}: {confirmation['gain']['text']}"))
    for line in hours_lines(view["hours"]):
        console.print(Text(line))
    for line in control_lines(view["control"], now=datetime.now(UTC), study=Path(view["folder"])):
        console.print(Text(line))
    if spent := summary(view["llm"]):
        console.print(Text(spent))


def _columns(view: Mapping[str, Any], earlier: int) -> tuple[list[Column], list[str]]:
    """The columns of the table of candidates, and what is to be said of failures below it."""
    metric, best = view["objective"]["metric"], view["incumbent"]
    tested = _tested_metrics(view)
    number, candidate = Column(name="round", right=True), Column(name="candidate")
    source, trials, value = (
        Column(name="source", rank=9),
        Column(name="trials", rank=8),
        Column(name=metric, right=True),
    )
    tests = [Column(name=name if name.startswith("test") else f"test {name}", right=True, rank=5) for name in tested]
    also = [Column(name=name, right=True, rank=2 + place) for place, name in enumerate(view["also"])]
    standing = Column(name="", rank=1)
    columns = [number, candidate, source, trials, value, *tests, *also, standing]
    efficient = {(one["round"], one["candidate"]) for one in (view["pareto"] or {}).get("front", ())}
    failures: list[str] = []
    for line, (entry, shown, counted) in enumerate(_lines(view["rounds"], earlier, best)):
        place = entry["round"], shown["name"]
        chosen = best and (best["round"], best["candidate"]) == place
        number.cells.append(str(entry["round"]))
        candidate.cells.append(shown["name"] + (f" of {len(entry['candidates'])}" if line < earlier else ""))
        source.cells.append(_source(shown))
        trials.cells.append(_outcomes(counted))
        value.cells.append(_value(shown))
        for column, name in zip(tests, tested, strict=True):
            column.cells.append(_test_value(shown, name))
        for column in also:
            column.cells.append(_quantity(shown, column.name))
        standing.cells.append(", ".join(_standing(shown, best if chosen else None, front=place in efficient)))
        if shown["message"]:
            failures.append(f"round {entry['round']} {shown['name']}: {' '.join(shown['message'].split())}")
        for trial in shown.get("trials", ()):
            for column, cell in zip(columns, _trial_cells(trial, metric), strict=False):
                column.cells.append(cell)
            for column in columns[5:]:
                column.cells.append("")
    return columns, failures


def _mark_best(columns: Sequence[Column]) -> str:
    """Where the last column, which tells how candidates stand, has no room: a star at the best. Returns its words."""
    for line, words in enumerate(columns[-1].cells):
        if words.startswith("best"):
            columns[1].cells[line] += "*"
            return words
    return ""


def _tested_metrics(view: Mapping[str, Any]) -> list[str]:
    """What stands beside the objective: the test metric that is its counterpart, or the first there is; or none."""
    names = {name: None for entry in view["rounds"] for c in entry["candidates"] for name in c.get("test", {})}
    if not names:
        return []
    metric = view["objective"]["metric"]
    like = [name for name in names if name in (metric, f"test_{metric}", metric.replace("val_", "test_"))]
    return (like or list(names))[:1]


def _test_value(candidate: Mapping[str, Any], name: str) -> str:
    found = candidate.get("test", {}).get(name)
    return "" if found is None else f"{found['value']:.4f}"


def _plan_line(number: int, plan: Mapping[str, Any]) -> str:
    """A round's step, who chose it, and why."""
    instead = plan["instead_of"]
    who = f"{plan['by']} for {instead['source']}" if instead else str(plan["by"])
    return f"round {number}: {plan['step']} step ({who}): {plan['plan']} ({plan['reason']})"


def _rungs_line(entry: Mapping[str, Any]) -> str:
    """How many candidates were trained for how long, and which of the proposals the round's candidates are."""
    rungs = entry["rungs"]
    counts = [f"{len(rung['candidates'])} for {rung['epochs']}" for rung in rungs]
    last = ", ".join(rungs[-1]["promoted"])
    return f"round {entry['round']}: rungs of {', '.join(counts)} epochs; in full: {last} of its proposals"


def _verdict(candidate: Mapping[str, Any]) -> str:
    """A round of an earlier version has none. Who was the incumbent when its round closed no longer is it here."""
    word = candidate.get("verdict") or ""
    return "was the incumbent" if word == "incumbent" else word


def _quantity(candidate: Mapping[str, Any], name: str) -> str:
    value = candidate["measures"].get(name)
    return "" if value is None else f"{value:.4g}"


def _standing(candidate: Mapping[str, Any], best: Mapping[str, Any] | None, *, front: bool) -> Iterator[str]:
    """best with its verdict, or the candidate's own; beyond a limit; on the Pareto front."""
    if best is not None:
        yield f"best, {best['verdict']}"
    elif candidate["violates"]:
        yield "beyond a limit"
    elif word := _verdict(candidate):
        yield word
    if front:
        yield "on the front"


def _verdict_lines(entry: Mapping[str, Any]) -> Iterator[str]:
    """The newest round's verdicts in words, in the order of its ranking, and the noise that they rest on."""
    why = {candidate["name"]: candidate.get("why") for candidate in entry["candidates"]}
    told = [name for name in entry["ranking"] if why.get(name)]
    for name in told[:MOST_VERDICTS]:
        yield f"round {entry['round']} {name} {why[name]}"
    if len(told) > MOST_VERDICTS:
        yield f"round {entry['round']}: {len(told) - MOST_VERDICTS} more verdicts in its round.json"
    if noise := entry.get("noise"):
        yield _noise_line(noise)


def _noise_line(noise: Mapping[str, Any]) -> str:
    if noise["sd"] == 0:
        return (
            f"noise: 0 ({noise['df']} degrees of freedom): trials of one candidate gave exactly the same value, so "
            "any gain counts as real; where folds and seeds are meant to differ, look whether they reach the training"
        )
    return f"noise: one trial varies by {noise['sd']:.3g} (standard deviation, {noise['df']} degrees of freedom)"


def _folded(rounds: Sequence[Mapping[str, Any]], most: int) -> int:
    """How many of the oldest rounds get one line each, so that the others' candidates fit; never the newest round."""
    lines = 0
    for position in range(len(rounds) - 1, -1, -1):
        lines += len(rounds[position]["candidates"])
        if lines > most:
            return min(position + 1, len(rounds) - 1)
    return 0


def _lines(
    rounds: Sequence[Mapping[str, Any]], folded: int, best: Mapping[str, Any] | None
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, int]]]:
    """(round, candidate, outcomes of the trials) for each line of the table.

    A folded round stands by the study's best candidate if it has it, else by the first of its ranking, and with the
    outcomes of all its trials.
    """
    for entry in rounds[:folded]:
        first = best["candidate"] if best and best["round"] == entry["round"] else next(iter(entry["ranking"]), None)
        by_name = {candidate["name"]: candidate for candidate in entry["candidates"]}
        trials: Counter[str] = Counter()
        for candidate in entry["candidates"]:
            trials.update(candidate["outcomes"])
        yield entry, by_name.get(first, entry["candidates"][0]), trials
    for entry in rounds[folded:]:
        for candidate in entry["candidates"]:
            yield entry, candidate, candidate["outcomes"]


def _source(candidate: Mapping[str, Any]) -> str:
    """Who proposed, and for whom it stands in: a model that failed must not look as if it had proposed."""
    instead = candidate.get("instead_of")
    return f"{candidate['source']} for {instead['source']}" if instead else str(candidate["source"])


def _trial_cells(trial: Mapping[str, Any], metric: str) -> tuple[str, ...]:
    """A trial under its candidate, as its folder is named; a summary brought by hand may tell less."""
    place = " ".join(f"{name[0]}{trial[name]}" for name in ("fold", "seed") if name in trial)
    attempt = f"attempt {trial['attempt']}" if trial.get("attempt") is not None else ""
    value = trial.get("metrics", {}).get(metric)
    return "", f"  {place}", attempt, str(trial.get("outcome", "")), "-" if value is None else f"{value:.4f}"


def _outcomes(outcomes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in outcomes.items())


def _value(candidate: Mapping[str, Any]) -> str:
    if candidate["value"] is None:
        return "-"
    spread = f" sd {candidate['std']:.4f}" if candidate["std"] is not None else ""
    return f"{candidate['value']:.4f}{spread} (n={candidate['n']})"


def open_table(
    state: Mapping[str, Any], *, most: int = MOST_ROWS, bar: bool = False, width: int = 80
) -> RenderableType:
    """The rows of an open round, beyond `most` those that run or failed first; `bar`: a progress bar above them."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    counts = ", ".join(f"{count} {name}" for name, count in sorted(state.get("counts", {}).items()))
    title = Text(f"{state['label']} is open (step {state['step']}){': ' + counts if counts else ''}")
    ranks = {"row": 2, "candidate": 0, "fold": 4, "seed": 5, "state": 1, "epoch": 3, "value": 0}
    columns = [Column(name=name, rank=rank) for name, rank in ranks.items()]
    order = {"running": 0, "pending": 2, "ok": 3}
    rows = sorted(state["rows"], key=lambda row: (order.get(row["state"], 1), row["row"]))
    for row in sorted(rows[:most], key=lambda row: row["row"]):
        value = row.get("value")
        cells = [str(row[name]) for name in ("row", "candidate", "fold", "seed", "state")]
        cells += [_epoch(row), f"{value:.4f}" if isinstance(value, int | float) else ""]
        for column, cell in zip(columns, cells, strict=True):
            column.cells.append(cell)
    table = table_of(fit(columns, width)[0])
    more = [Text(f"... {len(rows) - most} more rows")] if len(rows) > most else []
    notes = [Text(f"waiting: {state['waiting']}")] if "waiting" in state else []
    notes += [Text(note) for note in state.get("notes", ())]
    notes += [Text(_plan_line(state["round"], state["plan"]))] if state.get("plan") else []
    notes += [Text(state["halted"], style="bold yellow")] if "halted" in state else []
    for group in state.get("pending", ()):
        # In words too: on many terminals, and in every file, there is no colour.
        needs = "needs you: " if group["needs_action"] else ""
        notes.append(Text(needs + group["text"], style="bold red" if group["needs_action"] else ""))
    if not bar or not rows:
        return Group(title, *notes, table, *more)
    # In a grid of its own: a bar alone does not end its line.
    progress = Table.grid()
    progress.add_row(ProgressBar(total=len(rows), completed=sum(map(_part, rows)), width=min(40, width)))
    return Group(title, *notes, progress, table, *more)


def _epoch(row: Mapping[str, Any]) -> str:
    """ "3/8"; a trainer that does not say how many there are is at 3."""
    if row.get("epoch") is None:
        return ""
    return f"{row['epoch']}/{row['epochs']}" if row.get("epochs") is not None else str(row["epoch"])


def _part(row: Mapping[str, Any]) -> float:
    """How much of a row is done: all of one that ended, the finished epochs of one that runs."""
    if row["state"] in ("pending", "interrupted"):
        return 0.0
    if row["state"] != "running":
        return 1.0
    return row["epoch"] / row["epochs"] if row.get("epochs") and row.get("epoch") is not None else 0.0
