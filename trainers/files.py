"""Writing a file so that a reader sees all of it or the one before it.

Standard library only: tasks on a compute node and the orchestrator share this code.
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path


def write_atomic(path: Path, data: str | bytes, *, mode: int | None = None) -> None:
    """Replace `path` by `data` in one step: unique temporary name, fsync, rename.

    A temporary name of its own (not `path.tmp`) keeps two writers on a shared filesystem from sharing one
    half-written file. On any failure the temporary file is removed and what stood at `path` still stands.

    Raises OSError as the filesystem gives it (full, read-only, quota), always with `path` as its file name.
    """
    content = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException as error:
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        temporary.unlink(missing_ok=True)
        raise


def create_exclusive(path: Path, data: str) -> bool:
    """Create `path` whole, or return False when it exists. Two callers never both get True.

    Written under a temporary name and then hard-linked, because link() is atomic on NFS where O_EXCL with a
    later write would show other nodes an empty file.

    Raises OSError other than "exists", with `path` as its file name.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, "x", encoding="utf-8") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        return True
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def to_json(value: object) -> str:
    """Pretty JSON with a final newline. Raises ValueError on NaN or infinity: JSON has neither."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: object) -> None:
    """`write_atomic` of `to_json`."""
    write_atomic(path, to_json(value))


class FileProblem(Exception):
    """A file that could not be read as what it should be; the message names the file and the reason."""


def read_bounded(path: Path, limit: int) -> str:
    """The text of a file of at most `limit` bytes. Raises FileProblem, which names the file and the reason."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise FileProblem(f"{path}: {size} bytes, more than the {limit} that are read")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileProblem(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FileProblem(f"{path}: not UTF-8 at byte {error.start}") from error


def read_json_object(path: Path, *, limit: int = 256 * 2**20, nan_is_null: bool = False) -> dict[str, object]:
    """Read one JSON object, refusing duplicate keys, NaN and infinity, and files above `limit` bytes.

    nan_is_null: take NaN for null, for files of programs whose NaN says "not there".

    Raises FileProblem, which names the file, and the line and column where JSON breaks.
    """
    return parse_json_object(read_bounded(path, limit), name=str(path), nan_is_null=nan_is_null)


def parse_json_object(text: str, *, name: str, nan_is_null: bool = False) -> dict[str, object]:
    """`read_json_object` for text that is already here; `name` is what messages call it."""
    try:
        value = json.loads(
            text, object_pairs_hook=_unique_keys, parse_constant=_nan_as_null if nan_is_null else _refuse_constant
        )
    except json.JSONDecodeError as error:
        raise FileProblem(f"{name}: line {error.lineno} column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise FileProblem(f"{name}: {error}") from error
    if not isinstance(value, dict):
        raise FileProblem(f"{name}: expected one JSON object, found {type(value).__name__}")
    return value


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} stands twice in one object")
            seen.add(key)
    return found


def _nan_as_null(text: str) -> None:
    if text != "NaN":
        _refuse_constant(text)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON and never a usable value")
