"""Small functions that make inputs of a model from its config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from sweep.fields import of
from sweep.inputs import TEXT, make_inputs
from sweep.styles import BATCH, Style

if TYPE_CHECKING:
    from collections.abc import Callable

Inputs = dict[str, Any]


def ids(length: int = TEXT, high: int = 90) -> torch.Tensor:
    return torch.randint(5, high, (BATCH, length))


def generic_with(
    style: Style | None = None, drop: tuple[str, ...] = (), **more: Callable[[Any], Any]
) -> Callable[[Any], Inputs]:
    """Generic inputs in one style, less some, plus some made from the config."""

    def make(model: Any) -> Inputs:
        made = make_inputs(model, style or Style())
        made = {name: value for name, value in made.items() if name not in drop}
        return {**made, **{name: create(model.config) for name, create in more.items()}}

    return make


def text_mask() -> torch.Tensor:
    mask = torch.ones(BATCH, TEXT, dtype=torch.long)
    mask[-1, -3:] = 0
    return mask


def only(**more: Callable[[Any], Any]) -> Callable[[Any], Inputs]:
    """Exactly these, made from the config."""

    def make(model: Any) -> Inputs:
        torch.manual_seed(1)
        return {name: create(model.config) for name, create in more.items()}

    return make


def images(config: Any, *before: int) -> torch.Tensor:
    size = of(config, "image_size", 64, tower="image")
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    return torch.randn(BATCH, *before, of(config, "num_channels", 3), height, width)


def ones(*shape: int, dtype: torch.dtype = torch.long) -> Callable[[Any], torch.Tensor]:
    return lambda _: torch.ones(*shape, dtype=dtype)


def randn(*shape: int | str) -> Callable[[Any], torch.Tensor]:
    """A tensor whose sizes are numbers or fields of the config."""
    return lambda config: torch.randn(*(size if isinstance(size, int) else of(config, size) for size in shape))


def mel(frames: int = 64) -> Callable[[Any], torch.Tensor]:
    return lambda config: torch.randn(BATCH, frames, of(config, "num_mel_bins", 80))


GRID = torch.tensor([[4, 4]] * BATCH)
TEXT_ONLY = Style(modalities=("text",))
FRAMES_FIRST = Style(audio="frames first")
