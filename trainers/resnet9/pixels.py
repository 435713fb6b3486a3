"""From image files to uint8 RGB: orientation, transparency, and values of more than 8 bits, mode by mode."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainers.contract import DataProblem
from trainers.resnet9.deep import Refused, deep_colours, has_deep_colours
from trainers.resnet9.folders import SHOWN, ImageFile
from trainers.resnet9.memory import refuse_oversize
from trainers.resnet9.options import BACKGROUNDS, DataOptions, shown

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]

EIGHT_BIT = (0.0, 255.0)
BYTES_OF_PIXEL = 3
"""What a pixel becomes; while images of more than 8 bits are read, their float32 values are held beside it."""


class Reader:
    """Reads the parts of one image folder alike: what is found in the first, training, is used for the later ones."""

    def __init__(self, options: DataOptions) -> None:
        self._options = options
        self._size = (options.size, options.size)
        self._range = options.intensity_range
        self._lock = threading.Lock()
        self._deep: ImageFile | None = None
        self._shallow: ImageFile | None = None
        """An image of more than 8 bits, and one of 8, among those read so far."""
        self._modes: Counter[str] = Counter()
        self._composed = 0

    @property
    def notes(self) -> dict[str, object]:
        """What was found and done: images by PIL's mode (";16" behind
        it: 16 bits a channel), the values that became 0 and 255, images with alpha."""
        found: dict[str, object] = {"modes": dict(sorted(self._modes.items()))}
        if self._range is not None and any(map(_is_deep, self._modes)):
            found["intensity"] = list(self._range)
        if self._composed:
            found |= {"transparent": self._composed, "background": self._options.background}
        return found

    def told(self) -> list[str]:
        """The notes in words, where there is something to say."""
        lines = []
        count = sum(self._modes.values())
        if self._range is not None and (deep := sum(n for mode, n in self._modes.items() if _is_deep(mode))):
            low, high = self._range
            said = f"{deep} of {count} images looked at have more than 8 bits; values from {low:g} to {high:g}"
            whose = "" if self._options.intensity or self._range == EIGHT_BIT else ", the range of training,"
            lines.append(f"{said}{whose} become 0 to 255 (--data intensity=LOW,HIGH sets another range)")
        if self._composed:
            lines.append(
                f"{self._composed} of {count} images looked at are partly transparent; {self._options.background} "
                "shows through (--data background=...)"
            )
        return lines

    def read(self, files: Sequence[ImageFile]) -> tuple[Pixels, Labels]:
        """Images (n, size, size, 3) and labels (n,). Raises DataProblem naming the files that cannot be read."""
        images: Pixels = np.empty((len(files), *self._size, 3), dtype=np.uint8)
        deep: dict[int, NDArray[np.float32]] = {}

        def one(i: int) -> str | None:
            try:
                found = self._one(files[i])
            except Refused as error:
                return f"{shown(str(files[i].path))} ({error})"
            if found.dtype == np.uint8:
                images[i] = found
            else:
                with self._lock:
                    if not deep:
                        each = self._options.size**2 * BYTES_OF_PIXEL + found.nbytes
                        refuse_oversize(len(files) * each, str(files[i].path.parent))
                    deep[i] = found
            return None

        with ThreadPoolExecutor(self._options.workers) as pool:  # decoding releases the interpreter lock
            broken = [problem for problem in pool.map(one, range(len(files))) if problem]
        if broken:
            raise DataProblem(
                f"{len(broken)} images cannot be read, remove or repair them: {'; '.join(broken[:SHOWN])}"
            )
        self._refuse_mixed(files, deep)
        if deep:
            self._scale(images, deep)
        return images, np.asarray([file.label for file in files], dtype=np.int64)

    def _one(self, file: ImageFile) -> NDArray[Any]:
        """(size, size, 3) uint8, or float32 of an image of more than 8 bits: (size, size), of colours (size, size,
        3). Raises Refused."""
        from PIL import Image

        try:
            with Image.open(file.path) as image:
                mode, found, composed = self._prepared(image, file.path)
        except Refused:
            raise
        except Exception as error:
            # A damaged file makes Pillow raise anything, struct.error and IndexError included (and warnings, where
            # they are errors); whatever it is, the file is what is wrong.
            raise Refused(str(error).replace(str(file.path), "file") or type(error).__name__) from error
        with self._lock:
            self._modes[mode] += 1
            self._composed += composed
        return np.asarray(found)

    def _prepared(self, image: Image, path: Path) -> tuple[str, Any, bool]:
        """The image's mode, its pixels, and whether something was seen through it."""
        from PIL import Image, ImageOps

        mode, how = image.mode, Image.Resampling.BILINEAR
        # A photograph in MPO format carries a preview beside the picture.
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO" and self._options.frames == "one":
            raise Refused(f"holds {frames} frames; --data frames=first reads the first of each file")
        if has_deep_colours(image):
            colours = np.moveaxis(deep_colours(path), -1, 0)
            resized = [np.asarray(Image.fromarray(values).resize(self._size, how)) for values in colours]
            return f"{mode};16", np.stack(resized, axis=-1), False
        upright = ImageOps.exif_transpose(image)
        if _is_deep(mode):
            if "transparency" in image.info:
                raise Refused(f"mode {mode} with a transparent value; save it without")
            values = np.asarray(upright).astype(np.float32)
            if not np.isfinite(values).all():
                raise Refused("holds values that are NaN or infinite")
            return mode, np.asarray(Image.fromarray(values).resize(self._size, how)), False
        opaque, composed = self._opaque(upright)
        return mode, np.asarray(opaque.resize(self._size, how)), composed

    def _opaque(self, image: Image) -> tuple[Image, bool]:
        """The image as RGB, what is transparent filled with the background, and whether something was."""
        from PIL import Image

        if image.mode == "LAB":
            return _from_lab(image), False
        if not image.has_transparency_data:
            return image.convert("RGB"), False
        layered = image.convert("RGBA")
        low, high = layered.getchannel("A").getextrema()
        if low == 255:
            return layered.convert("RGB"), False
        behind = Image.new("RGBA", layered.size, (*BACKGROUNDS[self._options.background], 255))
        opaque = Image.alpha_composite(behind, layered).convert("RGB")
        colours: Any = opaque.getextrema()  # of each channel the least and the largest value
        if low != high and all(least == largest for least, largest in colours):
            others = " or ".join(f"background={name}" for name in BACKGROUNDS if name != self._options.background)
            raise Refused(f"its picture has the colour of the background that is put behind it; use --data {others}")
        return opaque, True

    def _refuse_mixed(self, files: Sequence[ImageFile], deep: dict[int, NDArray[np.float32]]) -> None:
        """Raise DataProblem where some images have 8 bits and others a scale of their own: no range fits both."""
        self._deep = next((files[i] for i in deep), self._deep)
        self._shallow = next((file for i, file in enumerate(files) if i not in deep), self._shallow)
        if self._deep is None or self._shallow is None or self._options.intensity:
            return
        low = min((float(values.min()) for values in deep.values()), default=0.0)
        high = max((float(values.max()) for values in deep.values()), default=1.0)
        if self._range is None and low >= 0 and high <= EIGHT_BIT[1] and not 0 < high <= 1:
            self._range = EIGHT_BIT  # values of 8 bits in wider files
        if self._range != EIGHT_BIT:
            low, high = self._range or (min(low, 0.0), high)
            raise DataProblem(
                f"{shown(str(self._deep.path))} has more than 8 bits ({low:g} to {high:g} occur in such images) and "
                f"{shown(str(self._shallow.path))} has 8: save all alike, or say which values of the former become 0 "
                f"and 255: --data intensity={_bound(low)},{_bound(high)}"
            )

    def _scale(self, images: Pixels, deep: dict[int, NDArray[np.float32]]) -> None:
        """Write images of more than 8 bits into `images`, all by one range of values. Raises DataProblem."""
        if self._range is None:
            low = min(float(values.min()) for values in deep.values())
            high = max(float(values.max()) for values in deep.values())
            if low == high:
                raise DataProblem(f"{len(deep)} images of more than 8 bits hold one value only, {low:g}")
            # Values of 8 bits in wider files keep their meaning.
            self._range = EIGHT_BIT if low >= 0 and 127 < high <= EIGHT_BIT[1] else (low, high)
        low, high = self._range
        for i, values in deep.items():
            scaled = np.round((values.clip(low, high) - low) * (255 / (high - low))).astype(np.uint8)
            images[i] = scaled if scaled.ndim == 3 else scaled[..., None]


def _is_deep(mode: str) -> bool:
    """Whether PIL's mode has more than 8 bits a value, which `convert` would cut off at 255, or stands for such."""
    return mode == "F" or mode.startswith("I") or mode.endswith(";16")


def _bound(value: float) -> str:
    """A bound as `--data` takes it, whole where that is near: resizing leaves values a little below the largest."""
    return f"{np.ceil(value):.0f}" if value > 1 else f"{value:g}"


def _from_lab(image: Image) -> Image:
    """CIE L*a*b* as sRGB; `convert` refuses it."""
    try:
        from PIL import ImageCms
    except ImportError as error:
        raise Refused("mode LAB, and this Pillow has no LittleCMS; save it as RGB") from error
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    found = ImageCms.applyTransform(image, ImageCms.buildTransform(lab, rgb, "LAB", "RGB"))
    assert found is not None  # only where it works in place
    return found
