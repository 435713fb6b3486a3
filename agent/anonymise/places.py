"""Paths, e-mail addresses and machines by their looks: what may tell of a person or a cluster without being known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from agent.anonymise.spelled import key
from agent.anonymise.tokens import is_mark

#: Endings of files that hold somebody's data or results: a bare name with one is a file's name.
_DATA_ENDINGS = frozenset(
    {"arrow", "avi", "bmp", "csv", "dcm", "feather", "gif", "gz", "h5", "hdf5", "jpeg", "jpg", "json", "jsonl", "mha"}
    | {"mhd", "mp4", "nii", "npy", "npz", "nrrd", "onnx", "parquet", "pkl", "png", "pt", "pth", "safetensors", "svs"}
    | {"tar", "tfrecord", "tif", "tiff", "tsv", "txt", "wav", "webp", "xlsx", "yaml", "yml", "zip"}
)
#: Endings that make a path of what has a separator too; alone they are code ("math.log").
_ENDINGS = _DATA_ENDINGS | frozenset(
    {"c", "cfg", "cpp", "dat", "err", "h", "ini", "ipynb", "log", "m", "mat", "out", "py", "r", "sh", "toml"}
)
#: Our own files, which tell nothing.
OWN_FILES = frozenset(
    {"analysis.json", "claim.json", "dataset.json", "exit.json", "hyperparameter_reference.json", "manifest.json"}
    | {"metrics_epoch.csv", "plan.json", "plans.json", "progress.json", "result.json", "summary.json", "trainer.json"}
    | {"splits_final.json", "study.yaml", "test_summary.json", "val_summary.json", "profile.yaml", "policy.yaml"}
)
_APART = frozenset(" \t\n\r\v\f\"'`<>|,;:()[]{}*?=")
_UP_TO = re.compile(r"""[^\s"'`<>|,;:()\[\]{}*?=]*+""")
_ANCHOR = re.compile(rf"[/\\]|\.(?:{'|'.join(sorted(_DATA_ENDINGS))})(?![^\W_])", re.IGNORECASE)
_SLURM = (" ON ", "srun: error: ", "slurmstepd-", "NodeList=", "BatchHost=")
_NODES = re.compile(
    r"(?<=\bON )\S+(?= (?:CANCELLED|FAILED|WITH)\b)|(?<=\bsrun: error: )[\w.\[\],-]+(?=: task)"
    r"|(?<=\bslurmstepd-)[\w.-]+(?=:)|(?<=\bNodeList=)[^\s(]+|(?<=\bBatchHost=)\S+"
)

#: Where an absolute path begins: a drive, a share, a home folder, an environment variable, the root.
_START = r"(?:[A-Za-z]:[\\/](?!/)|\\\\(?=[\w.])|~(?:[A-Za-z_][\w.-]*+)?/|\$(?:\w+|\{\w+\})/|(?<!:)//|/(?!/))"
_REST = r"""(?:\\[ ]|[^\s"'`<>|,;])*+"""

_QUOTED = re.compile(
    rf"""
      (?<=") {_START} [^"\n]*+ (?=")
    | (?<=') {_START} [^'\n]*+ (?=')
    | (?<=`) {_START} [^`\n]*+ (?=`)
    """,
    re.VERBOSE,
)
_BARE = re.compile(
    rf"""
      (?<![\w+.-])(?P<scheme>[A-Za-z][\w+.-]*+):// {_REST}
    | (?<![\w.)\]}}/\\~]) {_START} {_REST}
    """,
    re.VERBOSE,
)
# Possessive quantifiers and the look-behind keep both patterns linear: each run of characters is tried once.
_EMAIL = re.compile(r"(?<![\w.+-])([\w.+-]++)@([\w-]++(?:\.[\w-]++)*+)")
_GOES_ON = re.compile(_REST)
_CLOSING = ".:!?)]}"


def looks_like_path(text: str) -> bool:
    """Whether a whole text is an absolute path or an address of a file (s3://..., file://...)."""
    found = _BARE.match(text)
    return found is not None and found.end() == len(text)


def replace_quoted_paths(text: str, replacement: Callable[[str, str], str | None]) -> str:
    """Replace absolute paths between quotes, which may hold spaces; otherwise like `replace_paths`."""
    return _QUOTED.sub(lambda found: _replaced(found, found[0], "", replacement), text) if _may_hold(text) else text


def replace_paths(text: str, replacement: Callable[[str, str], str | None]) -> str:
    """Replace what looks like an absolute path. `replacement(path, scheme)` gives None to leave it.

    A path ends at the first space, quote, comma or semicolon, without the punctuation that closes a sentence.
    "and/or", "1/2", "(a + b)/c" and relative paths are none.
    """

    def replaced(found: re.Match[str]) -> str:
        return _replaced(found, found[0].rstrip(_CLOSING), found["scheme"] or "", replacement)

    return _BARE.sub(replaced, text) if _may_hold(text) else text


def replace_relative(text: str, replacement: Callable[[Sequence[str]], str | None]) -> str:
    """Replace relative paths and names of data files. `replacement(parts)` gives None to leave it.

    A relative path begins with ./ or ../, ends in a file's name, or has three parts of which one is no plain word.
    "and/or", "1/2", "train/loss/dice" and addresses of pages are none; nor are our own files' names.
    """

    made, done = [], 0
    for anchor in _ANCHOR.finditer(text):
        if anchor.start() < done:
            continue
        begin = anchor.start()
        while begin > done and text[begin - 1] not in _APART:
            begin -= 1
        found = _UP_TO.match(text, begin)
        end = found.end() if found else anchor.end()
        path = text[begin:end].rstrip(_CLOSING)
        # An address ends at its colon here, and goes on with its slashes.
        if path and text[max(begin - 1, 0) : begin + 2] != "://" and text[end : end + 1] != "(":
            parts = [part for part in re.split(r"[/\\]", path) if part]
            if _is_relative(path, parts) and (new := replacement(parts)) is not None:
                made += [text[done:begin], new]
                done = begin + len(path)
                continue
        made.append(text[done:end])
        done = end
    return "".join([*made, text[done:]]) if made else text


def _is_relative(path: str, parts: Sequence[str]) -> bool:
    if not parts or not any(map(str.isalpha, path)):
        return False
    stem, dot, ending = parts[-1].rpartition(".")
    named = bool(dot and stem)
    if len(parts) == 1:
        return named and ending.lower() in _DATA_ENDINGS and parts[0].lower() not in OWN_FILES and path == parts[0]
    if path.startswith(("./", "../", ".\\", "..\\")) or (named and ending.lower() in _ENDINGS):
        return True
    return "/" in path and len(parts) >= 3 and any(re.search(r"[\d_.-]", part) for part in parts)


def replace_nodes(text: str, replacement: Callable[[str], str | None]) -> str:
    """Replace the nodes that SLURM's own messages name ("STEP 1.0 ON n07 CANCELLED")."""
    if not any(words in text for words in _SLURM):
        return text
    return _NODES.sub(lambda found: replacement(found[0]) or found[0], text)


def _replaced(found: re.Match[str], path: str, scheme: str, replacement: Callable[[str, str], str | None]) -> str:
    named = any(character.isalpha() for character in path) and not _marked(found)
    new = replacement(path, scheme) if named else None
    return found[0] if new is None else new + found[0][len(path) :]


def _marked(found: re.Match[str]) -> bool:
    """Whether a combining mark stands beside it: \\w knows none, and an alias there would be part of a word."""
    return any(
        map(
            is_mark,
            found.string[max(found.start() - 1, 0) : found.start()] + found.string[found.end() : found.end() + 1],
        )
    )


def _may_hold(text: str) -> bool:
    return "/" in text or "\\" in text


def path_goes_on(text: str, end: int) -> int:
    """Where a path ends of which a beginning, up to `end`, is known; `end` itself where that is all of it."""
    if text[end : end + 1] in _CLOSING:
        return end
    found = _GOES_ON.match(text, end)
    return end if found is None else end + len(found[0].rstrip(_CLOSING))


def replace_emails(text: str, replacement: Callable[[str, str], str | None]) -> str:
    """Replace what looks like `user@host`. `replacement(user, host)` gives None to leave it ("recall@10")."""

    def replaced(found: re.Match[str]) -> str:
        new = None if _marked(found) else replacement(found[1], found[2])
        return found[0] if new is None else new

    return _EMAIL.sub(replaced, text) if "@" in text else text


#: Words that are numbered without being a machine.
_COUNTED = frozenset(
    {"batch", "block", "class", "conv", "core", "cpu", "cuda", "device", "epoch", "fc", "fold", "gpu"}
    | {"iter", "job", "layer", "level", "part", "pid", "rank", "round", "row", "run", "seed", "stage"}
    | {"step", "task", "trial", "worker"}
)
_FAMILY = re.compile(r"([^\W\d]+(?:-[^\W\d_]+)*[-_]?)(\d+)((?:[-_.][^\W_]+)*)")


def machine_family(hosts: Iterable[str]) -> re.Pattern[str] | None:
    """The machines that are called like a known one but for the number: gpu-n018 beside gpu-n017."""
    found = set()
    for host in hosts:
        match = _FAMILY.fullmatch(host)
        if match is None or key(match[1]) in _COUNTED:
            continue
        width = len(match[2])
        if len(key(match[1])) > 1 or width >= 3:
            digits = r"\d+" if len(key(match[1])) > 1 else rf"\d{{{width}}}"
            found.add(rf"{re.escape(match[1])}{digits}(?:{re.escape(match[3])})?")
    if not found:
        return None
    return re.compile(rf"(?<![\w-])(?:{'|'.join(sorted(found))})(?![\w-])", re.IGNORECASE)
