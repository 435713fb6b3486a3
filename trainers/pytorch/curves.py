"""Curves of one training as PNG files. matplotlib is imported when the first is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

History = Sequence[Mapping[str, float]]
Panels = Mapping[str, tuple[str, tuple[str, ...]]]
"""File name -> (title, columns of metrics_epoch.csv)."""


def draw(folder: Path, history: History, best_epoch: int, panels: Panels) -> None:
    """Write a PNG for each panel, and combined.png; the best epoch is marked.

    Raises ImportError without matplotlib, OSError where the disk refuses.
    """
    # Figure without pyplot: no window system, no global list of figures that must be closed.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    def save(name: str, columns: int, rows: int, shown: Sequence[str]) -> None:
        figure = Figure(figsize=(5 * columns, 3.5 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        for position, panel in enumerate(shown, 1):
            _panel(figure.add_subplot(rows, columns, position), *panels[panel], history, best_epoch)
        path = folder / f"{name}.png"
        path.unlink(missing_ok=True)  # a link in its place would be followed
        figure.savefig(path, dpi=80)

    for panel in panels:
        save(panel, 1, 1, [panel])
    save("combined", 2, -(-len(panels) // 2), list(panels))


def _panel(axes: Any, title: str, columns: tuple[str, ...], history: History, best_epoch: int) -> None:
    epochs = [row["epoch"] for row in history]
    for column in columns:
        axes.plot(epochs, [row[column] for row in history], marker=".", label=column)
    axes.axvline(best_epoch, color="0.6", linestyle=":", label="best epoch")
    axes.set(title=title, xlabel="epoch")
    axes.grid(alpha=0.3)
    axes.legend()
