"""Small modules that a device is calibrated by: Python alone, and layers like those of a language model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

WIDTH = 64
_HEADS = 4
_HEAD = WIDTH // _HEADS


class Leaf(nn.Module):  # type: ignore[misc]
    """Does with its input what modules do besides computing: looks at it, at its own attributes and its arguments."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.eps = size, 1e-6
        self.weight = nn.Parameter(torch.ones(size), requires_grad=False)

    def forward(self, x: Any, mask: Any = None, **options: Any) -> Any:
        """``x`` itself."""
        shape = (1, -1, self.size)
        if mask is not None and self.eps > len(shape):
            x = mask
        weight = self.weight
        return x if weight is not None else mask


class Nested(nn.Module):  # type: ignore[misc]
    """Modules in modules, which compute nothing."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList([Nested(depth - 1) for _ in range(3)] if depth else [Leaf(1), Leaf(2)])

    def forward(self, x: Any, mask: Any = None, **options: Any) -> Any:
        """``x`` itself."""
        kept = {"x": x}
        for part in self.parts:
            kept["x"] = part(kept["x"], mask=mask, **options)
        return kept["x"]


class Norm(nn.Module):  # type: ignore[misc]
    """A layer's norm, operation by operation."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))
        self.eps = 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of shape (..., WIDTH) to the same."""
        dtype = x.dtype
        x = x.to(torch.float32)
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)).to(dtype)


class Attention(nn.Module):  # type: ignore[misc]
    """Attention with positions turned in."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))

    def forward(self, x: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor], **options: Any) -> torch.Tensor:
        """Of shape (batch, tokens, WIDTH) to the same."""
        shape = (*x.shape[:-1], -1, _HEAD)
        q, k, v = (layer(x).view(shape).transpose(1, 2) for layer in (self.q, self.k, self.v))
        q, k = _turned(q, *turns), _turned(k, *turns)
        found = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        made: torch.Tensor = self.out(found.transpose(1, 2).reshape(*x.shape[:-1], -1))
        return made


class Mlp(nn.Module):  # type: ignore[misc]
    """A gated feed-forward part."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(WIDTH, 2 * WIDTH, bias=False) for _ in range(2))
        self.down, self.act = nn.Linear(2 * WIDTH, WIDTH, bias=False), nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of shape (..., WIDTH) to the same."""
        made: torch.Tensor = self.down(self.act(self.gate(x)) * self.up(x))
        return made


class Layer(nn.Module):  # type: ignore[misc]
    """Attention and a feed-forward part, each after a norm and added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention, self.norm_after, self.mlp = Norm(), Attention(), Norm(), Mlp()

    def forward(self, x: torch.Tensor, **options: Any) -> torch.Tensor:
        """Of shape (batch, tokens, WIDTH) to the same."""
        x = x + self.attention(self.norm(x), **options)
        made: torch.Tensor = x + self.mlp(self.norm_after(x))
        return made


class Layers(nn.Module):  # type: ignore[misc]
    """Some layers, one after the other. ``turns``: cosines and sines of each position."""

    def __init__(self, count: int, tokens: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(count))
        angles = torch.arange(tokens)[:, None] * torch.ones(_HEAD)
        self.turns = (angles.cos(), angles.sin())

    def to_device(self, device: str, dtype: torch.dtype) -> Layers:
        """Itself there."""
        self.requires_grad_(False).to(device, dtype).eval()
        self.turns = (self.turns[0].to(device, dtype), self.turns[1].to(device, dtype))
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of shape (batch, tokens, WIDTH) to the same."""
        for layer in self.layers:
            x = layer(x, turns=self.turns, mask=None, use_cache=False)
        return x


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = _HEAD // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin
