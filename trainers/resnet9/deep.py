"""Colours of 16 bits a channel in PNG and TIFF files, of which Pillow keeps the high byte alone.

Pillow has no image mode for them: a picture of a camera with 12 bits would come out at a sixteenth of its brightness.
It can unpack either byte, though, so each file is decoded twice, once for the high and once for the low bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_NATIVE = "L" if sys.byteorder == "little" else "B"
_OTHER = {"B": "L", "L": "B", "N": "B" if _NATIVE == "L" else "L"}
"""The end of a raw mode (byte order: big, little, this machine's) -> the order that unpacks the low byte."""
_CHANNELS = ("RGB", "RGBA", "RGBX")
_TIFF_BITS, _TIFF_PLANES = 258, 284


class Refused(Exception):
    """An image that is not read; the text says why."""


def has_deep_colours(image: Image) -> bool:
    """Whether a file that was just opened, and not decoded yet, has more than 8 bits a channel behind a mode of 8."""
    if image.mode == "F" or image.mode.startswith("I"):
        return False
    if image.format == "TIFF":
        bits: Any = getattr(image, "tag_v2", {}).get(_TIFF_BITS, 8)
        return bool(max(bits if isinstance(bits, tuple) else (bits,)) > 8)
    return image.format == "PNG" and ";16" in _raw_mode(image)


def deep_colours(path: Path) -> NDArray[np.float32]:
    """Values (height, width, 3) of such a file, upright, as the file has them: 0 to 65,535.

    Raises Refused for what has no such values or would lose some (transparency), and what Pillow raises.
    """
    from PIL import Image

    with Image.open(path) as image:
        raw = _raw_mode(image)
        channels, _, order = raw.partition(";16")
        if "transparency" in image.info:
            raise Refused("colours of 16 bits with a transparent value; save it without, or with 8 bits a channel")
        planes: Any = getattr(image, "tag_v2", {}).get(_TIFF_PLANES, 1)
        if raw == "LA;16B" and image.mode == "RGBA":
            # Grey and alpha, two bytes each: the four bytes of a pixel as they stand.
            parts = _decoded(image, "RGBA").astype(np.float32)
            grey, alpha = parts[..., 0] * 256 + parts[..., 1], parts[..., 2] * 256 + parts[..., 3]
            values = np.stack([grey, grey, grey, alpha], axis=-1)
        elif channels in _CHANNELS and order in _OTHER and planes == 1:
            high = _decoded(image, raw).astype(np.float32)
            with Image.open(path) as again:
                values = high * 256 + _decoded(again, f"{channels};16{_OTHER[order]}")
        else:
            raise Refused(
                f"{image.mode} of more than 8 bits a channel in a form that is not read ({raw}, planes apart: "
                f"{planes != 1}); save it as RGB, PNG for example"
            )
    if values.shape[-1] == 4:
        alpha = values[..., 3]
        if alpha.min() != alpha.max() or not alpha.any():
            raise Refused("colours of 16 bits that are partly transparent; save it without, or with 8 bits a channel")
    return np.ascontiguousarray(values[..., :3])


def _raw_mode(image: Image) -> str:
    """How Pillow is about to unpack the file's bytes; empty where it has no such word."""
    tiles: Any = getattr(image, "tile", ())
    arguments = tiles[0][3] if tiles else ""
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return raw if isinstance(raw, str) else ""


def _decoded(image: ImageFile, raw: str) -> NDArray[np.uint8]:
    """The image's bytes, upright, unpacked by this raw mode."""
    from PIL import ImageOps

    tiles: Any = image.tile
    image.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw) for tile in tiles
    ]
    return np.asarray(ImageOps.exif_transpose(image))
