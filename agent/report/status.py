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

from agent.report.control import control_lines
from agent.report.costs import summary
from agent.report.hours import hours_lines

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


#: Candidates that the table shows line by line; of the rounds before them only the best of each.
MOST_CANDIDATES = 200
#: Failures told in words, the newest; round.json has all of them.
MOST_FAILURES = 5
#: Rounds whose notes are told, the newest.
MOST_NOTED = 3
#: Candidates of the newest round whose verdict is told in words, the best.
MOST_VERDICTS = 8


def print_overview(view: Mapping[str, Any], console: Console) -> None:
    """Rounds and candidates as one table, then the open round, the best and the confirmation."""
    from rich.table import Table
    from rich.text import Text

    goal = view["objective"]
    console.print(
        Text(
            f"{view['study']}: {view['trainer']} on {view['task']}, {goal['direction']} {goal['metric']}",
            style="bold",
        )
    )
    best = view["incumbent"]
    table = Table(box=None, pad_edge=False)
    for name, justify in (("round", "right"), ("candidate", "left"), ("source", "left"), ("trials", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column(goal["metric"], justify="right", no_wrap=True)
    for name in view["also"]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    efficient = {(one["round"], one["candidate"]) for one in (view["pareto"] or {}).get("front", ())}
    failures: list[str] = []
    rounds = view["rounds"]
    earlier = _folded(rounds)
    for number, (entry, candidate, trials) in enumerate(_lines(rounds, earlier, best)):
        place = entry["round"], candidate["name"]
        chosen = best and (best["round"], best["candidate"]) == place
        table.add_row(
            str(entry["round"]),
            candidate["name"] + (f" of {len(entry['candidates'])}" if number < earlier else ""),
            Text(_source(candidate)),
            Text(_outcomes(trials)),
            _value(candidate),
            *(_quantity(candidate, name) for name in view["also"]),
            Text(", ".join(_standing(candidate, best if chosen else None, front=place in efficient))),
        )
        if candidate["message"]:
            failures.append(f"round {entry['round']} {candidate['name']}: {' '.join(candidate['message'].split())}")
        for trial in candidate.get("trials", ()):
            table.add_row(*_trial_cells(trial, goal["metric"]))
    console.print(table)
    if view.get("warning"):
        console.print(Text(f"warning: {view['warning']}", style="bold yellow"))
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
        console.print(open_table(view["open"]))
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
        yield f"noise: one trial varies by {noise['sd']:.3g} (standard deviation, {noise['df']} degrees of freedom)"


def _folded(rounds: Sequence[Mapping[str, Any]]) -> int:
    """How many of the oldest rounds get one line each, so that the others' candidates fit; never the newest round."""
    lines = 0
    for position in range(len(rounds) - 1, -1, -1):
        lines += len(rounds[position]["candidates"])
        if lines > MOST_CANDIDATES:
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


def open_table(state: Mapping[str, Any], *, most: int = 40, bar: bool = False) -> RenderableType:
    """The rows of an open round, beyond `most` those that run or failed first; `bar`: a progress bar above them."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    counts = ", ".join(f"{count} {name}" for name, count in sorted(state.get("counts", {}).items()))
    title = Text(f"{state['label']} is open (step {state['step']}){': ' + counts if counts else ''}")
    table = Table(box=None, pad_edge=False)
    for name in ("row", "candidate", "fold", "seed", "state", "epoch", "value"):
        table.add_column(name)
    order = {"running": 0, "pending": 2, "ok": 3}
    rows = sorted(state["rows"], key=lambda row: (order.get(row["state"], 1), row["row"]))
    for row in sorted(rows[:most], key=lambda row: row["row"]):
        value = row.get("value")
        epoch = f"{row['epoch']}/{row['epochs']}" if row.get("epoch") is not None else ""
        cells = [str(row[name]) for name in ("row", "candidate", "fold", "seed", "state")]
        table.add_row(*cells, epoch, f"{value:.4f}" if isinstance(value, int | float) else "")
    if len(rows) > most:
        table.add_row("...", f"{len(rows) - most} more")
    notes = [Text(f"waiting: {state['waiting']}")] if "waiting" in state else []
    notes += [Text(note) for note in state.get("notes", ())]
    notes += [Text(_plan_line(state["round"], state["plan"]))] if state.get("plan") else []
    notes += [Text(state["halted"], style="bold yellow")] if "halted" in state else []
    for group in state.get("pending", ()):
        # In words too: on many terminals, and in every file, there is no colour.
        needs = "needs you: " if group["needs_action"] else ""
        notes.append(Text(needs + group["text"], style="bold red" if group["needs_action"] else ""))
    if not bar or not rows:
        return Group(title, *notes, table)
    return Group(title, *notes, ProgressBar(total=len(rows), completed=sum(map(_part, rows)), width=40), table)


def _part(row: Mapping[str, Any]) -> float:
    """How much of a row is done: all of one that ended, the finished epochs of one that runs."""
    if row["state"] in ("pending", "interrupted"):
        return 0.0
    if row["state"] != "running":
        return 1.0
    return row["epoch"] / row["epochs"] if row.get("epochs") and row.get("epoch") is not None else 0.0
