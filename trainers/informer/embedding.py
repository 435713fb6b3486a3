"""From a window of numbers and its calendar to vectors: value, position and time (Zhou et al. 2021, appendix B)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trainers.informer.calendar import FIELDS, Calendar


def sinusoids(length: int, width: int) -> Tensor:
    """(length, width) sines and cosines of geometrically growing periods (Vaswani et al. 2017, section 3.5)."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class Embedding(nn.Module):
    """Values (b, l, channels) and marks (b, l, fields) -> (b, l, d_model), for l up to `length`."""

    positions: Tensor

    def __init__(
        self, *, length: int, channels: int, d_model: int, kind: str, calendar: Calendar, dropout: float
    ) -> None:
        super().__init__()
        self.value = nn.Conv1d(channels, d_model, kernel_size=3, padding=1, padding_mode="circular", bias=False)
        nn.init.kaiming_normal_(self.value.weight, mode="fan_in", nonlinearity="leaky_relu")
        self.time = _time_embedding(kind, calendar, d_model)
        # Kept on the device: made anew on the CPU it would be copied there in every forward, which waits for the GPU.
        self.register_buffer("positions", sinusoids(length, d_model), persistent=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, marks: Tensor) -> Tensor:
        values = self.value(x.transpose(1, 2)).transpose(1, 2)
        embedded = values + self.positions[: x.shape[1]].to(values.dtype)
        if self.time is not None:
            embedded = embedded + self.time(marks)
        result: Tensor = self.dropout(embedded)
        return result


class Tables(nn.Module):
    """One table a calendar field, looked up by the field's whole number and added."""

    def __init__(self, calendar: Calendar, d_model: int, *, learned: bool) -> None:
        super().__init__()
        self.read = calendar.positions(tables=True)
        self.tables = nn.ModuleList()
        for i in self.read:
            size = FIELDS[calendar.fields[i]].size
            table = nn.Embedding(size, d_model)
            if not learned:
                table.weight = nn.Parameter(sinusoids(size, d_model), requires_grad=False)
            self.tables.append(table)

    def forward(self, marks: Tensor) -> Tensor:
        """marks: whole numbers (b, l, fields)."""
        looked_up = [table(marks[..., i]) for i, table in zip(self.read, self.tables, strict=True)]
        return torch.stack(looked_up).sum(0)


class Scaled(nn.Module):
    """A linear layer of the fields scaled to -0.5 .. 0.5."""

    read: Tensor
    scale: Tensor

    def __init__(self, calendar: Calendar, d_model: int) -> None:
        super().__init__()
        read = calendar.positions(tables=False)
        sizes = [FIELDS[calendar.fields[i]].size - 1 for i in read]
        # Tensors of the module: indexing with a list copies it to the device each time.
        self.register_buffer("read", torch.tensor(read, dtype=torch.int64), persistent=False)
        self.register_buffer("scale", torch.tensor(sizes, dtype=torch.float32), persistent=False)
        self.linear = nn.Linear(len(sizes), d_model, bias=False)

    def forward(self, marks: Tensor) -> Tensor:
        result: Tensor = self.linear(marks.index_select(-1, self.read) / self.scale - 0.5)
        return result


def _time_embedding(kind: str, calendar: Calendar, d_model: int) -> nn.Module | None:
    if kind == "none":
        return None
    if kind == "timeF":
        return Scaled(calendar, d_model)
    return Tables(calendar, d_model, learned=kind == "learned")
