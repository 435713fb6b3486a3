"""Small raw data sets in nnU-Net's layout, written without nnU-Net: sound headers, pixels of one value."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from pathlib import Path
from typing import Any

NAME = "Dataset321_Organs"


def write_png(path: Path, *, size: tuple[int, int] = (8, 6), channels: int = 1) -> None:
    """A black picture of 8 bits: grey, RGB or RGBA."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    head = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = (b"\0" + b"\0" * width * channels) * height
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def write_nifti(path: Path, *, size: tuple[int, ...] = (8, 6, 4)) -> None:
    """A NIfTI-1 header with float32 zeros behind it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytearray(352)
    header[:4] = struct.pack("<i", 348)
    header[40:56] = struct.pack("<8h", len(size), *size, *[1] * (7 - len(size)))
    header[70:74] = struct.pack("<2h", 16, 32)
    header[76:108] = struct.pack("<8f", *[1.0] * 8)
    header[108:112], header[344:348] = struct.pack("<f", 352.0), b"n+1\0"
    count = 1
    for side in size:
        count *= side
    path.write_bytes(gzip.compress(bytes(header) + b"\0" * 4 * count))


def write_dataset(
    root: Path, *, name: str = NAME, ending: str = ".nii.gz", cases: int = 6, channels: int = 1, **changed: Any
) -> Path:
    """DatasetNNN folder below `root` with imagesTr, labelsTr and dataset.json; changed: keys of it (None: absent)."""
    folder = root / name
    write = write_png if ending == ".png" else write_nifti
    for number in range(cases):
        for channel in range(channels):
            write(folder / "imagesTr" / f"case{number}_{channel:04d}{ending}")
        write(folder / "labelsTr" / f"case{number}{ending}")
    description: dict[str, Any] = {
        "channel_names": {str(channel): f"sequence{channel}" for channel in range(channels)},
        "labels": {"background": 0, "liver": 1, "spleen": 2},
        "numTraining": cases,
        "file_ending": ending,
    }
    described = {key: value for key, value in (description | changed).items() if value is not None}
    (folder / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    return folder


REGIONS: dict[str, Any] = {
    "labels": {"background": 0, "whole": [1, 2], "core": [2]},
    "regions_class_order": [1, 2],
}
