"""What language models cost a study: by round, role and model, as data and as a table.

Counted from the journal, like the caps: it knows the calls of open rounds, and of those that were run again. What was
never asked (a cap, an endpoint that cools down) is no call, and counted apart.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import LLMUnavailable
from agent.store.events import ModelCalled, ModelReplied
from agent.store.model_calls import model_calls
from agent.store.store import Store
from trainers.files import FileProblem, read_json_object

if TYPE_CHECKING:
    from rich.console import Console

_SUMS = ("calls", "failed", "not_made", "input_tokens", "cached_tokens", "output_tokens", "searches")
_NAMES = {"not_made": "not made", "input_tokens": "input", "cached_tokens": "cached", "output_tokens": "output"}
#: Columns of the table that are left out where all of them are 0.
_OPTIONAL = ("failed", "not_made", "cached_tokens", "searches")
#: Characters between two columns of a rich table without lines.
_GAP = 2
#: Characters of a model's name that are always shown.
_SHORTEST_MODEL = 12


def costs(store: Store) -> dict[str, Any]:
    """{"lines": one for each (round, role, provider, model), "total": ...}, JSON-ready.

    cost_usd: of the calls whose price is known; unknown_price: how many calls with tokens it is not known of;
    not_made: calls that a cap or a cool-down held back, which are in neither calls nor failed;
    unanswered: calls that were killed before a reply was saved; lost_tries: tries of the others that were sent and
    ended without an answer (time-out, connection cut). Both may have been charged, and count against the caps.
    """
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}

    def line(place: str, role: str, provider: str, model: str) -> dict[str, Any]:
        key = (_round(place), role, provider, model)
        named = dict(zip(("round", "role", "provider", "model"), key, strict=True))
        return lines.setdefault(key, named | _empty())

    calls = model_calls(store.journal.of(ModelCalled, ModelReplied))
    for call, reply in calls:
        if reply is None:
            continue
        its_line = line(call.call, call.role, call.provider, call.model)
        if _held_back(store, reply):
            its_line["not_made"] += 1
        else:
            _add(its_line, reply)
    for place, record in _unjournaled(store, {call.call for call, _ in calls}):
        line(place, record["role"], record["provider"], record["model"])["not_made"] += 1
    lost = list(dict.fromkeys(call.call for call, reply in calls if reply is None))
    tries = sum(reply.lost for _, reply in calls if reply is not None)
    total = _empty()
    for each in lines.values():
        for name in (*_SUMS, "unknown_price"):
            total[name] += each[name]
        total["cost_usd"] = round(total["cost_usd"] + each["cost_usd"], 6)
    ordered = sorted(lines.values(), key=lambda each: int(each["round"]))
    return {"lines": ordered, "total": total | {"unanswered": lost, "lost_tries": tries}}


def was_made(record: Mapping[str, Any]) -> bool:
    """Whether a recorded exchange was sent: one that a cap or a cool-down held back failed without a single try."""
    error = record["error"]
    return error is None or error["reply"] is not None or bool(error["attempts"])


def _held_back(store: Store, reply: ModelReplied) -> bool:
    """Whether a journaled call met an endpoint that cools down. The journal does not tell; its exchange does."""
    if reply.error != LLMUnavailable.__name__ or any(reply.usage.values()) or reply.lost:
        return False
    record = _record(store.paths.root / f"{reply.call}.json")
    return record is not None and not was_made(record)


def _unjournaled(store: Store, intended: Container[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Exchanges that a cap held back before the intent to make them was noted: (place, record)."""
    for folder in store.paths.folders():
        for path in sorted(folder.path.glob("calls/*.json")):
            place = f"{folder.path.name}/calls/{path.stem}"
            if place not in intended and (record := _record(path)) is not None and not was_made(record):
                yield place, record


def _record(path: Path) -> Mapping[str, Any] | None:
    """An exchange; None for one that cannot be read, which costs no report."""
    try:
        record: Any = read_json_object(path)
        error = record["error"]
        known = all(isinstance(record[name], str) for name in ("role", "provider", "model"))
        return record if known and (error is None or error.keys() >= {"reply", "attempts"}) else None
    except (FileProblem, KeyError, AttributeError):
        return None


def _round(call: str) -> int:
    """Of a call's name in the journal: round_N_<timestamp>/calls/NNN_<role>."""
    return int(call.split("_")[1])


def _empty() -> dict[str, Any]:
    return dict.fromkeys(_SUMS, 0) | {"cost_usd": 0.0, "unknown_price": 0}


def _add(line: dict[str, Any], reply: ModelReplied) -> None:
    usage = reply.usage
    line["calls"] += 1
    line["failed"] += reply.error is not None
    for name in ("input_tokens", "cached_tokens", "output_tokens", "searches"):
        line[name] += usage[name]
    line["cost_usd"] = round(line["cost_usd"] + (reply.cost or 0.0), 6)
    line["unknown_price"] += reply.cost is None and bool(usage["input_tokens"] or usage["output_tokens"])


def dollars(line: Mapping[str, Any]) -> str:
    """The cost in words: what is not known is never shown as nothing."""
    known = f"${line['cost_usd']:.4f}"
    unknown = line["unknown_price"]
    if not unknown:
        return known
    return "price unknown" if not line["cost_usd"] else f"{known} + {counted(unknown, 'call')} of unknown price"


def counted(number: int, what: str, several: str = "") -> str:
    """ "1 call", "2 calls"; `several` where an s is not enough."""
    return f"{number:,} {what if number == 1 else several or what + 's'}"


def summary(total: Mapping[str, Any]) -> str:
    """The study's total as one line; "" where no model was ever asked."""
    if not (total["calls"] or total["not_made"]):
        return ""
    parts = [counted(total["calls"], "call")]
    parts += [
        f"{total[name]:,} {word}" for name, word in (("failed", "failed"), ("not_made", "not made")) if total[name]
    ]
    parts += [counted(total["input_tokens"] + total["output_tokens"], "token"), dollars(total)]
    return f"language models: {', '.join(parts)}"


def print_costs(view: Mapping[str, Any], console: Console) -> None:
    """A line for each round, role and model, then the total. Numbers stand whole; a model's name gives way."""
    from rich.table import Table
    from rich.text import Text

    total = view["total"]
    shown = [name for name in _SUMS if total[name] or name not in _OPTIONAL]
    heads = ["round", "role", "model", *(_NAMES.get(name, name) for name in shown), "USD"]
    rows = [
        [str(line["round"]), line["role"], f"{line['provider']}/{line['model']}", *_cells(line, shown)]
        for line in view["lines"]
    ]
    rows.append(["all", "", "", *_cells(total, shown)])
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    gaps = _GAP * (len(widths) - 1)
    widths[2] = min(widths[2], max(console.width - gaps - sum(widths) + widths[2], _SHORTEST_MODEL))
    # As wide as its numbers, wherever it is printed: a terminal that is narrower wraps the line itself.
    table = Table(box=None, pad_edge=False, width=sum(widths) + gaps)
    for place, (head, width) in enumerate(zip(heads, widths, strict=True)):
        justify: Any = "left" if place in (1, 2) else "right"
        table.add_column(head, justify=justify, no_wrap=True, min_width=width, max_width=width)
    for row in rows:
        cells = [*row[:2], elided(row[2], widths[2]), *row[3:]]
        table.add_row(*map(Text, cells), style="bold" if row is rows[-1] else "")
    console.print(table, crop=False)
    if lost := len(total["unanswered"]):
        calls = counted(lost, "call was", "calls were")
        reply = "its reply" if lost == 1 else "their replies"
        console.print(
            Text(f"{calls} cut off before {reply} {'was' if lost == 1 else 'were'} saved and may have been charged")
        )
    if tries := total["lost_tries"]:
        told = counted(tries, "try of a call", "tries of calls")
        console.print(Text(f"{told} ended without an answer and may have been charged"))


def elided(text: str, most: int) -> str:
    """The text, with its middle left out where it is longer than so many characters."""
    if len(text) <= most:
        return text
    end = (most - 3) // 2
    return f"{text[: most - 3 - end]}...{text[len(text) - end :]}"


def _cells(line: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [f"{line[name]:,}" for name in names] + [dollars(line)]
