"""Informer: "Beyond Efficient Transformer for Long Sequence Time-Series Forecasting" (Zhou et al., AAAI 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.informer.attention import Attention
from trainers.informer.calendar import Calendar
from trainers.informer.config import Config
from trainers.informer.embedding import Embedding
from trainers.informer.normalization import Normalization


class FeedForward(nn.Module):
    """Two linear layers with a non-linearity between them, each position by itself."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(config.d_model, config.d_ff), nn.Linear(config.d_ff, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.activation = functional.gelu if config.activation == "gelu" else functional.relu

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.dropout(self.narrow(self.dropout(self.activation(self.wide(x)))))
        return result


def _attention(config: Config, kind: str, *, causal: bool = False) -> Attention:
    return Attention(
        kind=kind,
        d_model=config.d_model,
        heads=config.n_heads,
        factor=config.factor,
        dropout=config.dropout,
        causal=causal,
    )


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each added to its input and normalised."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention = _attention(config, config.attention)
        self.feed_forward = FeedForward(config)
        self.norm1, self.norm2 = nn.LayerNorm(config.d_model), nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.dropout(self.attention(x, x)))
        result: Tensor = self.norm2(x + self.feed_forward(x))
        return result


class Distil(nn.Module):
    """MaxPool(ELU(Conv1d(x))): half the positions (equation 5), with batch norm as in the authors' code.

    (b, l, d_model) -> (b, ceil(l / 2), d_model)
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(d_model, d_model, kernel_size=3, padding=1, padding_mode="circular")
        self.norm = nn.BatchNorm1d(d_model)

    def forward(self, x: Tensor) -> Tensor:
        filtered = functional.elu(self.norm(self.convolution(x.transpose(1, 2))))
        return functional.max_pool1d(filtered, kernel_size=3, stride=2, padding=1).transpose(1, 2)


class Encoder(nn.Module):
    """Layers with distilling between them, so that memory for long inputs stays bounded."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.e_layers))
        between = config.e_layers - 1 if config.distil else 0
        self.distils = nn.ModuleList(Distil(config.d_model) for _ in range(between))
        self.norm = nn.LayerNorm(config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i < len(self.distils):
                x = self.distils[i](x)
        result: Tensor = self.norm(x)
        return result


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the encoder's memory, feed-forward."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention = _attention(config, config.attention, causal=True)
        self.cross = _attention(config, "flash" if config.attention == "flash" else "full")
        self.feed_forward = FeedForward(config)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(config.d_model) for _ in range(3))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = self.norm1(x + self.dropout(self.attention(x, x)))
        x = self.norm2(x + self.dropout(self.cross(x, memory)))
        result: Tensor = self.norm3(x + self.feed_forward(x))
        return result


class Informer(nn.Module):
    """Forecasts in one step: the decoder reads known values and then zeros in place of the future (equation 6).

    The future never enters forward(), so no forecast can depend on it.
    """

    columns: Tensor

    def __init__(
        self, config: Config, *, channels: int, targets: tuple[int, ...], pred_len: int, calendar: Calendar
    ) -> None:
        """channels: columns of the input. targets: which of them are forecast. pred_len: time steps ahead."""
        super().__init__()
        self.label_len, self.pred_len = config.label_len, pred_len
        self.register_buffer("columns", torch.tensor(targets, dtype=torch.int64), persistent=False)
        self.normalization = Normalization(config, channels=channels)
        self.encoder_embedding, self.decoder_embedding = (
            Embedding(
                length=length,
                channels=channels,
                d_model=config.d_model,
                kind=config.embedding,
                calendar=calendar,
                dropout=config.dropout,
            )
            for length in (config.seq_len, config.label_len + pred_len)
        )
        self.encoder = Encoder(config)
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.d_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.projection = nn.Linear(config.d_model, len(targets))

    def forward(self, x: Tensor, marks: Tensor) -> Tensor:
        """x (b, seq_len, channels) and marks (b, seq_len + pred_len, fields) -> (b, pred_len, targets)."""
        x, level, spread = self.normalization(x)
        length = x.shape[1]
        memory = self.encoder(self.encoder_embedding(x, marks[:, :length]))
        known = x[:, length - self.label_len :]
        start = functional.pad(known, (0, 0, 0, self.pred_len))
        decoded = self.decoder_embedding(start, marks[:, length - self.label_len :])
        for layer in self.decoder:
            decoded = layer(decoded, memory)
        forecast = self.projection(self.norm(decoded[:, -self.pred_len :]))
        return self.normalization.restore(forecast, level, spread, self.columns)


def build_model(
    config: Config,
    *,
    channels: int,
    targets: tuple[int, ...],
    pred_len: int,
    calendar: Calendar,
    seed: int,
    device: torch.device,
) -> Informer:
    """A model whose initial weights depend on `seed` only; made on the CPU so that every device starts alike."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Informer(config, channels=channels, targets=targets, pred_len=pred_len, calendar=calendar)
    return model.to(device)
