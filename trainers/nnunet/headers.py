"""How large an image file is and how many channels it holds, from its header alone. Standard library only.

PNG and NIfTI-1, which most data sets are; of other files, and of headers that leave it open, nothing is said.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 6: 4}
"""Colour type of PNG -> channels that nnU-Net reads of it; a palette (3) is read as what it holds, grey with alpha
(4) not at all."""
_NIFTI_BYTES = 348


@dataclass(frozen=True)
class Header:
    """What a file says of its image."""

    size: tuple[int, ...]
    """Pixels or voxels along each axis, in the file's order."""
    channels: int


def read_header(path: Path) -> Header | None:
    """The header of an image file; None where it is of another kind or cannot be read."""
    name = path.name.lower()
    try:
        if name.endswith(".png"):
            with path.open("rb") as stream:
                return _png(stream.read(26))
        if name.endswith((".nii", ".nii.gz")):
            with gzip.open(path) if name.endswith(".gz") else path.open("rb") as stream:
                return _nifti(stream.read(_NIFTI_BYTES))
    except (OSError, EOFError, zlib.error, struct.error):
        return None  # a damaged file is nnU-Net's to name, with what it makes of it
    return None


def _png(data: bytes) -> Header | None:
    if len(data) < 26 or not data.startswith(_PNG) or data[12:16] != b"IHDR":
        return None
    width, height, _, colour = struct.unpack(">IIBB", data[16:26])
    channels = _PNG_CHANNELS.get(colour)
    return None if channels is None else Header((width, height), channels)


def _nifti(data: bytes) -> Header | None:
    if len(data) < _NIFTI_BYTES:
        return None
    order = "<" if struct.unpack("<i", data[:4])[0] == _NIFTI_BYTES else ">"
    if struct.unpack(f"{order}i", data[:4])[0] != _NIFTI_BYTES:
        return None
    count, *sides = struct.unpack(f"{order}8h", data[40:56])
    if not 2 <= count <= 4 or min(sides[:count]) < 1:
        return None
    size = sides[: min(count, 3)]
    while len(size) > 2 and size[-1] == 1:  # a slice is the same image with and without a third axis
        size.pop()
    return Header(tuple(size), sides[3] if count == 4 else 1)
