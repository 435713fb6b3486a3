"""Whether a file begins as an image of its kind must, and a PNG ends as one. Standard library only."""

from __future__ import annotations

from pathlib import Path
from typing import IO

_PNG = b"\x89PNG\r\n\x1a\n"
_STARTS: dict[str, tuple[bytes, ...]] = {
    "PNG": (_PNG,),
    "JPEG": (b"\xff\xd8\xff",),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "WebP": (b"RIFF",),
}
"""Format -> how its files begin. Pillow goes by such beginnings, too, and not by the suffix."""


def problem(path: Path) -> str | None:
    """Why a file cannot be read as an image, or None as far as its frame tells. Pixels are not decoded."""
    try:
        with path.open("rb") as stream:
            start = stream.read(16)
            if not start:
                return "is empty"
            if start.startswith(_PNG):
                return _png_problem(stream)
    except OSError as error:
        return error.strerror or str(error)
    known = [form for form, starts in _STARTS.items() if start.startswith(starts)]
    if known == ["WebP"] and start[8:12] != b"WEBP":
        known = []
    return None if known else f"begins with {start[:8]!r}, as no {', '.join(_STARTS)} does"


def _png_problem(stream: IO[bytes]) -> str | None:
    """Follow a PNG's chunks, of which each says its length, as far as the file goes; its pixels must be in it."""
    end = stream.seek(0, 2)
    place, pixels = len(_PNG), False
    while place + 8 <= end:
        stream.seek(place)
        head = stream.read(8)
        if head[4:] == b"IEND":
            break
        place += 8 + int.from_bytes(head[:4], "big")
        pixels = head[4:] == b"IDAT" or pixels
        if place > end:
            return f"is cut off after {end} bytes"
        place += 4
    return None if pixels else f"is cut off after {end} bytes, before its pixels"
