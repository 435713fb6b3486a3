"""What every key of a cluster profile may hold. Pure: raw values in, problems out."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agent.launch.options import ALLOWED_EXTRA, MANAGED, MEMORY, PER_GPU, PROFILE_KEY, SHORT
from trainers.saving import KEPT

Found = tuple[str, str, str]
"""Where, the value as text, and what is wrong with it."""
Check = Callable[[Any], list[Found]]

_TIME = re.compile(r"(?:(?P<days>\d{1,4})-)?(?P<hours>\d{1,4}):(?P<minutes>[0-5]\d):(?P<seconds>[0-5]\d)")
_MEM = re.compile(r"\d{1,12}([KMGT]B?)?", re.IGNORECASE)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Set by Roundtable or by the scheduler for each task; a value for all tasks would break one of them.
_TASK_VARIABLES = ("CUDA_VISIBLE_DEVICES", "NNUNET_HP_REF")
_TASK_PREFIXES = ("ROUNDTABLE_", "SBATCH_", "SLURM_")
#: bash refuses to assign these, which would end the script before it trains.
_READ_ONLY = ("BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID")


def time_in_seconds(text: str) -> int:
    """Seconds of "HH:MM:SS", "D-HH:MM:SS" or a number of minutes. Raises ValueError for anything else."""
    if re.fullmatch(r"\d{1,9}", text):
        return int(text) * 60
    match = _TIME.fullmatch(text)
    if match is None or (match["days"] and int(match["hours"]) > 23):
        raise ValueError("must be HH:MM:SS, D-HH:MM:SS or a whole number of minutes")
    days, hours, minutes, seconds = (int(match[part] or 0) for part in ("days", "hours", "minutes", "seconds"))
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def megabytes(mem: str) -> float:
    """MiB of a profile's `mem`: megabytes without a letter. Raises ValueError for what is no amount."""
    match = re.fullmatch(r"(\d+)([KMGT]?)B?", mem.upper())
    if match is None:
        raise ValueError(f"{mem!r} is no amount of memory")
    return int(match[1]) * {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2}[match[2]]


def gres_items(text: str) -> list[tuple[str, str, int]]:
    """(name, type or "", count) of a node's or a request's generic resources: "gpu:a100:4(S:0-1)" is gpu, a100, 4."""
    items = []
    for name, *rest in (item.strip().split(":") for item in re.sub(r"\([^)]*\)", "", text).split(",")):
        count = int(rest.pop()) if rest and rest[-1].isdecimal() else 1
        items += [(name, ":".join(rest), count)] if name else []
    return items


def gres_gpus(gres: str) -> int:
    """How many GPUs a --gres value asks for: "gpu:a100:2,shard:1" is 2, "gpu" is 1, "mps:50" is 0."""
    return sum(count for name, _, count in gres_items(gres) if name == "gpu")


def unsafe_characters(text: str) -> str:
    """Why `text` may not stand in a script, or an empty string: it has a character that no one-line value needs."""
    for letter in text:
        # Cc control, Cs lone surrogate (bytes that are not UTF-8), Zl and Zp Unicode's own line ends
        if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp"):
            return f"holds U+{ord(letter):04X}: control characters, line breaks and bytes beyond UTF-8 are refused"
    return ""


def problems_of(raw: Mapping[str, Any], *, given: set[str]) -> list[Found]:
    """Everything wrong with a profile's raw values. `given`: the keys a person wrote, for which null is no value."""
    found = list(_fields(raw, CHECKS, given))
    parts = [(name, raw[name], checks) for name, checks in _PARTS.items() if isinstance(raw.get(name), Mapping)]
    for name, nested, checks in parts:
        found += [(f"{name}.{where}", value, text) for where, value, text in _fields(nested, checks, set(nested))]
    if found:
        return found
    found = list(_combined(raw))
    for name, nested, _ in parts:
        found += [(f"{name}.{where}", value, text) for where, value, text in _combined(nested, name)]
    return found


def _fields(raw: Mapping[str, Any], checks: Mapping[str, Check], given: set[str]) -> Iterator[Found]:
    for key, value in raw.items():
        name = str(key)  # YAML's keys may be numbers
        if name not in checks:
            near = difflib.get_close_matches(name, checks, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            yield _named(name), _shown(value), f"unknown key; {hint}valid keys: {', '.join(checks)}"
        elif value is None:
            if name in given:
                yield name, "", "has no value: give one or remove the line"
        else:
            for where, shown, text in checks[name](value):
                yield name + where, shown, text


def _combined(raw: Mapping[str, Any], part: str = "") -> Iterator[Found]:
    extra = raw.get("extra") or {}
    if raw.get("gpus") is not None and raw.get("gres") is not None:
        yield "gres", _shown(raw["gres"]), "not together with gpus: both are --gres; keep one"
    memory = [name for name in MEMORY if name in extra]
    memory = ["mem", *memory] if raw.get("mem") is not None else memory
    if len(memory) > 1:
        yield "mem", _shown(raw.get("mem")), f"{', '.join(memory)} exclude each other: keep one"
    if part == "controller" and (found := [name for name in PER_GPU if name in extra]):
        yield f"extra.{found[0]}", _shown(extra[found[0]]), "a controller has no GPU: take it out; memory is `mem`"
    limit = raw.get("time")
    warning = raw.get("signal_seconds")
    if limit is not None and warning is not None and time_in_seconds(str(limit)) <= warning:
        yield "signal_seconds", str(warning), f"must be less than the time limit ({limit})"
    if raw.get("requeue_on_timeout") and warning == 0:
        yield "requeue_on_timeout", "True", "needs the warning before the time limit: signal_seconds above 0"


def _text(value: Any) -> list[Found]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, float) or _written(value) != str(value):
            return _no(value, f'must be text; put it in quotes: "{_written(value)}"')
        value = str(value)
    if not isinstance(value, str):
        return _no(value, "must be text; put it in quotes")
    if not value or value != value.strip():
        return _no(value, "must not be empty nor begin or end with a space")
    if value.startswith("-"):
        return _no(value, "must not begin with a dash")
    return _no(value, unsafe_characters(value))


def _names(value: Any) -> list[Found]:
    """Text that names several things, separated by commas."""
    if isinstance(value, list | tuple) and value and not any(_text(each) for each in value):
        return _no(value, f"must be text; write them with commas: {','.join(map(str, value))}")
    return _text(value)


def _constraint(value: Any) -> list[Found]:
    """YAML takes the brackets of [rack1|rack2] for a list."""
    if isinstance(value, list | tuple) and value and not any(_text(each) for each in value):
        if len(value) == 1:
            return _no(value, f'must be text; put it in quotes: "[{value[0]}]"')
        both, either = "&".join(map(str, value)), "|".join(map(str, value))
        return _no(value, f'must be text: "{both}" for all of them, "{either}" for any')
    return _text(value)


def _gpus(value: Any) -> list[Found]:
    if isinstance(value, str) and (kind := re.fullmatch(r"(?:gpu:)?([A-Za-z][\w.-]*)(?::(\d+))?", value)):
        return _no(value, f"must be a whole number from 0 to 64; a kind of GPU: gres: gpu:{kind[1]}:{kind[2] or 1}")
    return _whole(0, 64)(value)


def _cluster(value: Any) -> list[Found]:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", value) and value != "all":
        return []
    return _no(value, "must be the name of one cluster, where the study's jobs are looked for")


def _whole(low: int, high: int = 10**6) -> Check:
    def check(value: Any) -> list[Found]:
        good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return [] if good else _no(value, f"must be a whole number from {low} to {high}")

    return check


def _time(value: Any) -> list[Found]:
    try:
        seconds = 0 if isinstance(value, bool) else time_in_seconds(_written(value))
    except ValueError as error:
        return _no(value, str(error))
    if isinstance(value, bool) or not seconds:
        return _no(value, "must be more than 0: a job without a limit has no budget")
    return []


def _mem(value: Any) -> list[Found]:
    good = isinstance(value, str | int) and not isinstance(value, bool) and _MEM.fullmatch(str(value))
    return [] if good else _no(value, "must be a whole number with K, M, G or T (megabytes without), e.g. 16G")


def _bool(value: Any) -> list[Found]:
    return [] if isinstance(value, bool) else _no(value, "must be true or false")


def _kept(value: Any) -> list[Found]:
    return [] if value in KEPT else _no(value, f"must be one of {', '.join(KEPT)}")


def _python(value: Any) -> list[Found]:
    if not isinstance(value, str) or not value.startswith(("/", "~/")):
        return _no(value, "must be an absolute path or begin with ~/: compute nodes start in another folder")
    return _no(value, unsafe_characters(value))


def _setup(value: Any) -> list[Found]:
    if not isinstance(value, list | tuple):
        return _no(value, "must be a list of shell lines")
    return [(f"[{number}]", _shown(line), text) for number, line in enumerate(value) if (text := _line_problem(line))]


def _line_problem(line: Any) -> str:
    if not isinstance(line, str):
        return "must be one shell line as text; put it in quotes"
    if bad := unsafe_characters(line.replace("\t", " ")):
        return f"{bad}; every line is an item of its own"
    if re.match(r"\s*#+\s*(SBATCH|PBS|BSUB)", line, re.IGNORECASE):
        return "sbatch ignores a directive after the first command: use the profile's keys or `extra`"
    if (len(line) - len(line.rstrip("\\"))) % 2:
        return "must not end with a backslash, which would swallow the next line"
    return ""


def _env(value: Any) -> list[Found]:
    if not isinstance(value, Mapping):
        return _no(value, "must be a mapping of variables to values")
    found = [(str(name), item, _variable(str(name), item)) for name, item in value.items()]
    return [(f".{_named(name)}", _shown(item), text) for name, item, text in found if text]


def _variable(name: str, value: Any) -> str:
    if not _VARIABLE.fullmatch(name):
        return "is not a variable's name: letters, digits and _, not beginning with a digit"
    if name in _TASK_VARIABLES or name.startswith(_TASK_PREFIXES):
        return "is set for each task and may not be given here"
    if name in _READ_ONLY:
        return "is read-only in bash"
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return 'must be text or a number; put it in quotes: "1", "true"'
    text = _written(value)
    if f"${name}" in text or f"${{{name}}}" in text:
        return f"values are literal; to extend a variable write `export {name}=...` as a line of setup"
    return unsafe_characters(text)


def _extra(value: Any) -> list[Found]:
    if not isinstance(value, Mapping):
        return _no(value, "must be a mapping of long sbatch options to values")
    found = [(str(name), item, _option(str(name), item)) for name, item in value.items()]
    return [(f".{_named(name)}", _shown(item), text) for name, item, text in found if text]


def _option(name: str, value: Any) -> str:
    option = name.lstrip("-")
    option = SHORT.get(option, option.replace("_", "-"))
    if option in MANAGED:
        return f"--{option} is managed by Roundtable: {MANAGED[option]}"
    if option in PROFILE_KEY:
        key = PROFILE_KEY[option]
        typed = key == "gpus" and isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w.-]*:\d+", value)
        return f"--{option} has a key of its own: {f'gres: gpu:{value}' if typed else key}"
    if name not in ALLOWED_EXTRA:
        hint = f"write it as {option}; " if option in ALLOWED_EXTRA else ""
        return f"not an option to add; {hint}valid: {', '.join(sorted(ALLOWED_EXTRA))}"
    if value is True:
        return ""
    # Numbers are taken as they are written.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    problems = _text(_written(value) if number else value)
    return f"{problems[0][2]} (true for an option without a value)" if problems else ""


def _mapping(name: str) -> Check:
    def check(value: Any) -> list[Found]:
        return [] if isinstance(value, Mapping) else _no(value, f"must be a mapping of: {', '.join(_PARTS[name])}")

    return check


def _no(value: Any, message: str) -> list[Found]:
    return [("", _shown(value), message)] if message else []


def _shown(value: Any) -> str:
    """A value for a message: short, on one line, never a container's own repr (which may be huge)."""
    if isinstance(value, Mapping | list | tuple | set):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int | float):
        return _written(value)
    return repr(value) if len(text := str(value)) <= 60 else repr(text[:60]) + "..."


def _written(value: Any) -> str:
    """A number as it stands in the file (trainers.yaml_file); anything else as it prints."""
    return str(getattr(value, "written", value))


def _named(name: str) -> str:
    return name if re.fullmatch(r"[\w-]{1,60}", name) else _shown(name)


_NESTED: Mapping[str, Check] = {
    "partition": _names,
    "account": _text,
    "qos": _text,
    "gpus": _gpus,
    "gres": _text,
    "cpus": _whole(1, 4096),
    "mem": _mem,
    "time": _time,
    "constraint": _constraint,
    "exclude": _names,
    "nodelist": _names,
    "max_parallel": _whole(1),
    "extra": _extra,
}

#: Keys that hold keys of their own. A controller has one CPU and no GPU, and is no array.
_PARTS: Mapping[str, Mapping[str, Check]] = {
    "prepare": _NESTED,
    "eval": _NESTED,
    "controller": {k: v for k, v in _NESTED.items() if k not in ("gpus", "gres", "cpus", "max_parallel")},
}

CHECKS: Mapping[str, Check] = {
    "name": _text,
    "cluster": _cluster,
    **_NESTED,
    "setup": _setup,
    "python": _python,
    "build": _bool,
    "env": _env,
    "prepare": _mapping("prepare"),
    "eval": _mapping("eval"),
    "controller": _mapping("controller"),
    "save_every": _whole(1),
    "keep_checkpoints": _kept,
    "signal_seconds": _whole(0, 65535),
    "requeue_on_timeout": _bool,
    "max_mem": _mem,
    "max_time": _time,
    "max_array_size": _whole(1, 10**7),
}
