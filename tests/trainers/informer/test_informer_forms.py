"""CSV files as people have them: read right, or refused with a remedy that works when pasted. Runs without torch."""

from __future__ import annotations

import math
import re
import shlex
import subprocess
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.datacheck import as_text
from agent.options.readers import pair
from tests.shared_cases import case
from trainers.contract import DataProblem, Value
from trainers.informer.options import Options
from trainers.informer.precheck import check, read_series
from trainers.informer.table import Table
from trainers.registry import TRAINERS

INFORMER = TRAINERS["informer"]
ROWS = 400


def values(i: int) -> tuple[float, float]:
    return round(1500 + 900 * math.sin(i / 4), 2), round(math.cos(i / 7), 3)


def dates(step: timedelta = timedelta(hours=1), start: datetime = datetime(2021, 1, 20)) -> list[datetime]:
    return [start + i * step for i in range(ROWS)]


def lines(
    header: str = "date,load,OT",
    *,
    row: Callable[[int, datetime, float, float], str] = lambda i, at, a, b: f"{at},{a},{b}",
    at: Iterable[datetime] | None = None,
) -> list[str]:
    return [header, *(row(i, date, *values(i)) for i, date in enumerate(dates() if at is None else at))]


def german(value: float) -> str:
    return f"{value:.3f}".replace(".", ",")


def grouped(value: float, thousands: str, decimal: str) -> str:
    return f"{value:,.2f}".replace(",", "T").replace(".", decimal).replace("T", thousands)


def read(path: Path, data: dict[str, Value]) -> Table:
    given = as_text({"path": str(path), **data}, INFORMER)
    check("own", given, {}, folds=1)
    return read_series(Options.read("own", given), fold=0, folds=1)[0]


def remedied(path: Path, *, most: int = 2) -> tuple[Table, dict[str, Value], list[str]]:
    """The table after doing what the refusals say, the options that came to be, and the refusals."""
    given: dict[str, Value] = {}
    said: list[str] = []
    for _ in range(most + 1):
        try:
            return read(path, given), given, said
        except DataProblem as error:
            said.append(str(error))
        command = re.search(r"[:;] ((?:grep|tail|sed|iconv|\(echo) .* > ('[^']*'|\S+))$", said[-1])
        options = re.search(r"((?:--data (?:'[^']*'|[^\s;,]+(?:,[^\s;,]+)*) ?)+)", said[-1])
        if command:
            subprocess.run(["bash", "-c", command[1]], check=True)
            path = Path(shlex.split(command[2])[0])
        elif options:
            given |= dict(pair(word) for word in shlex.split(options[1]) if word != "--data")
        else:
            break
    raise AssertionError(said)


def assert_read(table: Table, *, columns: Sequence[str] = ("load", "OT"), digits: float = 0.01) -> None:
    assert len(table) == ROWS and list(table.columns) == list(columns)
    for place, name in enumerate(("load", "OT")):
        if name in table.columns:
            assert table.columns[name][7] == pytest.approx(values(7)[place], abs=digits)
            assert table.columns[name][-1] == pytest.approx(values(ROWS - 1)[place], abs=digits)


SEMICOLONS = lines("date;load;OT", row=lambda i, at, a, b: f"{at};{german(a)};{german(b)}")
READ_ALIKE: list[tuple[str, list[str], dict[str, Value]]] = [
    ("plain", lines(), {}),
    ("quoted", lines('"date","load","OT"', row=lambda i, at, a, b: f'"{at}","{a}","{b}"'), {}),
    ("semicolons", SEMICOLONS, {"sep": "semicolon", "decimal": "comma"}),
    ("tabs", [line.replace(",", "\t") for line in lines()], {"sep": "tab"}),
    ("pipes", [line.replace(",", "|") for line in lines()], {"sep": "pipe"}),
    ("capital", lines("Date,load,OT"), {"date": "Date"}),
    ("date last", lines("load,OT,time", row=lambda i, at, a, b: f"{a},{b},{at}"), {"date": "time"}),
    (
        "German",
        lines("Zeit;load;OT", row=lambda i, at, a, b: f"{at:%d.%m.%Y %H:%M};{grouped(a, '.', ',')};{german(b)}"),
        {
            "sep": "semicolon",
            "date": "Zeit",
            "date_format": "%d.%m.%Y %H:%M",
            "decimal": "comma",
            "thousands": "point",
        },
    ),
    (
        "thousands",
        lines(row=lambda i, at, a, b: f'{at},"{grouped(a, ",", ".")}",{b}'),
        {"thousands": "comma"},
    ),
    (
        "Swiss",
        lines(row=lambda i, at, a, b: f"{at},{grouped(a, chr(39), '.')},{b}"),
        {"thousands": "apostrophe"},
    ),
    (
        "French",
        lines("date;load;OT", row=lambda i, at, a, b: f"{at};{grouped(a, chr(0x202F), ',')};{german(b)}"),
        {"sep": "semicolon", "decimal": "comma", "thousands": "space"},
    ),
    ("day first", lines(row=lambda i, at, a, b: f"{at:%d/%m/%Y %H:%M},{a},{b}"), {"date_format": "%d/%m/%Y %H:%M"}),
    ("month first", lines(row=lambda i, at, a, b: f"{at:%m/%d/%Y %H:%M},{a},{b}"), {"date_format": "%m/%d/%Y %H:%M"}),
    (
        "twelve hours",
        lines(row=lambda i, at, a, b: f"{at:%m/%d/%Y %I:%M %p},{a},{b}"),
        {"date_format": "%m/%d/%Y %I:%M %p"},
    ),
    (
        "seconds",
        lines(row=lambda i, at, a, b: f"{at.replace(tzinfo=UTC).timestamp():.0f},{a},{b}"),
        {"date_format": "unix"},
    ),
    (
        "milliseconds",
        lines(row=lambda i, at, a, b: f"{at.replace(tzinfo=UTC).timestamp() * 1000:.0f},{a},{b}"),
        {"date_format": "unix_ms"},
    ),
    ("header missing", lines()[1:], {"columns": ""}),
    ("comments", ["# station 12", *lines()[:5], "# moved", *lines()[5:]], {}),
    ("preamble", ["Station,12", "", *lines()], {}),
    ("blank first", ["", "", *lines()], {}),
    ("extra comma", [lines()[0], *(f"{line}," for line in lines()[1:])], {}),
    ("empty column", [f"{line}," for line in lines()], {}),
    ("index", [f"{i - 1 if i else ''},{line}" for i, line in enumerate(lines())], {"columns": "load,OT"}),
    (
        "saved index",
        [f"{i - 1 if i else 'Unnamed: 0'},{line}" for i, line in enumerate(lines())],
        {"columns": "load,OT"},
    ),
    ("index from 1", [f"{i if i else 'index'},{line}" for i, line in enumerate(lines())], {"columns": "load,OT"}),
    ("two dates", lines("date,end,load,OT", row=lambda i, at, a, b: f"{at},{at},{a},{b}"), {"columns": "load,OT"}),
    ("names", lines("date,site,load,OT", row=lambda i, at, a, b: f"{at},plant {i},{a},{b}"), {"columns": "load,OT"}),
    ("constant", lines("date,k,load,OT", row=lambda i, at, a, b: f"{at},4,{a},{b}"), {"columns": "load,OT"}),
    (
        "empty at first",
        lines("date,k,load,OT", row=lambda i, at, a, b: f"{at},{'' if i < 9 else i * i},{a},{b}"),
        {"columns": "load,OT", "fill": "previous"},
    ),
    (
        "words",
        lines(row=lambda i, at, a, b: f"{at},{'err' if i == 20 else a},{b}"),
        {"missing": "err", "fill": "previous"},
    ),
    (
        "NaN spelt",
        lines(row=lambda i, at, a, b: f"{at},{('-nan', '#N/A', '?', '<NA>')[i % 4] if 20 <= i < 24 else a},{b}"),
        {"fill": "previous"},
    ),
]


@pytest.mark.parametrize(
    ("text", "options"), [(text, options) for _, text, options in READ_ALIKE], ids=[n for n, _, _ in READ_ALIKE]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_a_refusal_says_makes_the_file_readable(
    text: list[str], options: dict[str, Value], end: str, tmp_path: Path
) -> None:
    path = tmp_path / "my series.csv"
    path.write_text(end.join(text) + end, encoding="utf-8", newline="")
    table, given, said = remedied(path)
    assert all(str(tmp_path) in message for message in said)
    if options == {"columns": ""}:
        assert list(table.columns) == ["value_1", "value_2"] and len(table) == ROWS
        return
    assert given == options
    assert_read(table)
    assert table.dates[:: ROWS - 1] == dates()[:: ROWS - 1]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines("date,größe,OT")), encoding=encoding)
    table, given, said = remedied(path)
    assert list(table.columns) == ["größe", "OT"] and len(table) == ROWS and not given
    assert len(said) == (encoding in ("utf-16-le", "utf-16-be", "latin-1"))


@pytest.mark.parametrize(
    ("start", "named"), [(b"PK\x03\x04", "Excel"), (b"\x1f\x8b\x08", "gunzip"), (b"PAR1", "Parquet")]
)
def test_files_that_are_no_text(start: bytes, named: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(start + bytes(range(256)))
    with pytest.raises(DataProblem, match=named):
        read(tmp_path / "x.csv", {})


def test_days_and_months_that_nothing_tells_apart_are_left_to_the_person(tmp_path: Path) -> None:
    every = [datetime(2009 + i // 12, 1 + i % 12, 1) for i in range(144)]  # months, or the first days of Januaries
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["date,load,OT", *(f"{at:%d/%m/%Y},{i % 7},{i % 5}" for i, at in enumerate(every))]))
    with pytest.raises(DataProblem, match=r"%m/%d/%Y \(--data date_format=%d/%m/%Y would fit as well"):
        read(path, {})


def test_commas_that_may_mean_either_are_left_to_the_person(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines(row=lambda i, at, a, b: f'{at},"1,{i + 100}","2,{i + 200}"')))
    with pytest.raises(
        DataProblem, match=r"decimal=comma \(--data thousands=comma instead of decimal=comma would fit"
    ):
        read(path, {})
    assert read(path, {"decimal": "comma"}).columns["load"][0] == 1.1
    assert read(path, {"thousands": "comma"}).columns["load"][0] == 1100


# clocks


def local(zone: str, start: datetime, *, step: timedelta = timedelta(hours=1)) -> list[datetime]:
    """What clocks of the zone showed at regular instants, from a start in UTC."""
    return [(start + i * step).replace(tzinfo=UTC).astimezone(ZoneInfo(zone)) for i in range(ROWS)]


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("Europe/Berlin", datetime(2021, 10, 25)),
        ("Europe/Berlin", datetime(2021, 3, 20)),
        ("Europe/London", datetime(2022, 10, 25)),
        ("America/New_York", datetime(2021, 11, 1)),
        ("America/New_York", datetime(2021, 3, 8)),
        ("Australia/Sydney", datetime(2021, 3, 30)),
        ("Australia/Lord_Howe", datetime(2021, 3, 30)),  # half an hour
    ],
)
@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(minutes=30)])
def test_both_clock_changes_are_named_and_the_zone_makes_them_regular(
    zone: str, start: datetime, step: timedelta, tmp_path: Path
) -> None:
    shown = [at.replace(tzinfo=None) for at in local(zone, start, step=step)]
    if zone == "Australia/Lord_Howe" and step == timedelta(hours=1):
        pytest.skip("whole hours become half hours there")
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines(at=shown)))
    table, given, said = remedied(path)
    assert len(said) == 1 and "clocks go" in said[0] and set(given) == {"timezone"}
    assert_read(table)
    assert list(table.dates) == shown  # the calendar is that of the place
    assert "fill" not in table.notes


def test_offsets_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines(at=local("Europe/Berlin", datetime(2021, 10, 25)))))
    assert_read(read(path, {}))
    midnights = [datetime(2021, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")) + timedelta(days=i) for i in range(ROWS)]
    path.write_text("\n".join(lines(at=midnights)))
    for given in ({}, {"freq": "1d"}):
        table = read(path, given)
        assert_read(table)
        assert str(table.frequency) == "1d" and table.dates[200] == datetime(2021, 7, 20)
    path.write_text("\n".join(lines(at=[*midnights[:9], *midnights[10:]])))
    with pytest.raises(DataProblem, match=r"1 rows are missing at steps of 1d \(1 after 2021-01-09 00:00:00\)"):
        read(path, {})


def test_a_zone_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines(at=dates(start=datetime(2021, 3, 20)))))
    with pytest.raises(DataProblem, match=r"1 dates do not exist in Europe/Berlin.*2021-03-28 02:00:00"):
        read(path, {"timezone": "Europe/Berlin"})
    with pytest.raises(DataProblem, match="timezone = 'Berlin': there is no such zone"):
        read(path, {"timezone": "Berlin"})


def test_irregular_dates_get_a_step_that_fits_or_none(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines(at=[*dates()[:200], *(at + timedelta(minutes=30) for at in dates()[200:])])))
    table, given, _ = remedied(path)
    assert given == {"freq": "30min", "fill": "previous"} and len(table) == 2 * ROWS
    path.write_text("\n".join(lines(at=[*dates()[:-1], dates()[-1].replace(year=2091)])))
    with pytest.raises(DataProblem, match=r"most rows would be missing .* the longest gap is \d+ after 2021-02-05"):
        read(path, {})


# values far from all others


@pytest.mark.parametrize(
    ("sentinel", "where"), [(-9999, range(30, 42)), (999.9, [50]), (1e20, [9, 10]), (-99, range(3, 9))]
)
def test_far_values_are_told_and_missing_takes_them_out(
    sentinel: float, where: Sequence[int], tmp_path: Path
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines(row=lambda i, at, a, b: f"{at},{a},{sentinel if i in where else b}")))
    given: dict[str, Value] = {"path": str(path)}
    told = check("own", given, {}, folds=1)
    assert len(told) == 1 and f"column OT: {len(where)} x {sentinel:.15g} lie far from the other values" in told[0]
    remedy = dict(pair(word) for word in re.findall(r"--data (\S+)", told[0]))
    table = read(path, remedy)
    assert table.notes["missing_values"] == {"OT": len(where)} and "far_outliers" not in table.notes
    assert check("own", as_text(given | remedy, INFORMER), {}, folds=1) == []


@pytest.mark.parametrize("kind", ["waves", "rain", "walk", "heavy", "steps", "percent"])
def test_ordinary_series_are_not_accused(kind: str, tmp_path: Path) -> None:
    import random

    chance, walk = random.Random(3), 0.0

    def value(i: int) -> float:
        nonlocal walk
        walk += chance.gauss(0, 1)
        return {
            "waves": math.sin(i / 5),
            "rain": max(0.0, chance.gauss(-3, 3)),
            "walk": walk,
            "heavy": chance.lognormvariate(0, 0.8),
            "steps": i // 100,
            "percent": 99.0 * (i % 11) / 10,
        }[kind]

    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines(row=lambda i, at, a, b: f"{at},{a},{value(i):.4f}")))
    assert check("own", {"path": str(path)}, {}, folds=1) == []


def test_columns_whose_names_are_numbers_or_hold_commas(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines('date,"load, MW",7,k', row=lambda i, at, a, b: f"{at},{a},{b},1")))
    table, given, _ = remedied(path)
    assert list(table.columns) == ["load, MW", "7"] and given == {"columns": '"load, MW",7'}
    assert list(read(path, {"columns": 7, "target": 7}).columns) == ["7"]


# what outsiders had


@pytest.mark.parametrize(
    ("place", "columns", "step"),
    [
        ("03-semicolon-decimal-comma/load.csv", ["MT_001", "MT_002"], "1h"),
        ("03-semicolon-decimal-comma/load_quoted.csv", ["a", "b"], "1h"),
        ("03-semicolon-decimal-comma/plain.csv", ["a", "OT"], "1h"),
        ("03-semicolon-decimal-comma/tab.tsv", ["MT_001", "MT_002"], "1h"),
        ("04-dst-local-time/autumn.csv", ["a", "OT"], "1h"),
        ("04-dst-local-time/spring.csv", ["a", "OT"], "1h"),
        ("04-dst-local-time/with_offsets.csv", ["a", "OT"], "1h"),
        ("04-dst-local-time/daily_offsets.csv", ["a", "OT"], "1d"),
        ("08-pandas-index/index.csv", ["a", "OT"], "1h"),
        ("08-pandas-index/thousands.csv", ["a", "OT"], "1h"),
        ("08-pandas-index/trailing_comma.csv", ["a", "OT"], "1h"),
        ("08-pandas-index/unnamed_date.csv", ["a", "OT"], "1h"),
    ],
)
def test_outsiders_files(place: str, columns: list[str], step: str) -> None:
    folder, name = place.split("/")
    table, _, _ = remedied(case(folder) / name)
    assert list(table.columns) == columns and len(table) == 1200 and str(table.frequency) == step
    first = table.columns[columns[0]][1]
    assert first == pytest.approx(1010.79 if "thousands" in name else 10.786)
