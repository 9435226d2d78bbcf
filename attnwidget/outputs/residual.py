"""The residual stream of one token, taken apart, each step checked by the values that ran."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from attnwidget.attention import CaptureError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from attnwidget.outputs.rows import Row


@dataclass(frozen=True, eq=False)
class LayerParts:
    """What one layer adds to the stream.

    Attributes:
        heads: (H, d) float64.
        bias: (d,) float64, of the output projection of attention.
        other: (d,) float64, of whatever else: the MLP.
    """

    heads: torch.Tensor
    bias: torch.Tensor
    other: torch.Tensor


class Stream:
    """Finds the parts of a model in the rows of one run, by value and not by name.

    Args:
        model: that ran.
        name: of it, for errors.
        rows: by path.
        eps: of the precision in which it ran.
    """

    def __init__(self, model: nn.Module, name: str, rows: dict[str, Row], eps: float) -> None:
        self._modules = dict(model.named_modules())
        self._name, self._rows = name, rows
        self._tolerance, self._rounding = max(1e-4, 16 * eps), 16 * eps

    def same(self, one: torch.Tensor, other: torch.Tensor) -> bool:
        """Whether two rows are equal up to rounding."""
        if one.shape != other.shape:
            return False
        return float((one - other).abs().max()) <= self._tolerance * max(float(one.abs().max()), 1e-6)

    def refuse(self, why: str) -> CaptureError:
        """An error that says why the logit cannot be taken apart."""
        return CaptureError(f"the logit of {self._name} cannot be attributed to heads: {why}")

    def block_of(self, path: str) -> str:
        """The path of the layer that an attention module is in: the innermost entry of a list of modules.

        Raises:
            CaptureError: it is in none, or the layer does not turn states into states.
        """
        parts = path.split(".")
        for stop in range(len(parts), 0, -1):
            above, block = ".".join(parts[: stop - 1]), ".".join(parts[:stop])
            if isinstance(self._modules.get(above), nn.ModuleList):
                if block not in self._rows:
                    break
                return block
        raise self.refuse(f"{path or 'its attention'} lies in no list of layers that turn states into states")

    def parts_of(self, block: str, results: torch.Tensor) -> LayerParts:
        """What a layer adds.

        Args:
            block: its path.
            results: (H, dv) float64, of its heads at this token.

        Raises:
            CaptureError: that is not its attention, projected, and the output of one other module.
        """
        row = self._rows[block]
        flat = results.reshape(-1)
        projection = next((p for p in self._within(block) if self.same(self._rows[p].before, flat)), None)
        if projection is None:
            raise self.refuse(f"no module of {block} takes the results of its heads, side by side")
        heads, bias = _projected(self._modules[projection], results)
        out = self._rows[projection].after
        if not self.same(out, heads.sum(0) + bias):
            raise self.refuse(f"{projection} is not linear")
        rest = row.after - row.before - out
        scale = float(row.after.abs().max())
        found = float(rest.abs().max()) <= self._rounding * scale or any(
            path != projection and self._near(self._rows[path].after, rest, scale) for path in self._within(block)
        )
        if not found:
            raise self.refuse(
                f"what {block} adds to its states is not the output of {projection} and of one other module. Expected "
                "a layer that normalises before attention and MLP and adds both as they are, as GPT-2 and Llama do; "
                "likely this one normalises or scales after (post-norm, as BERT does), where a head has no linear share"
            )
        return LayerParts(heads, bias, rest)

    def check_joined(self, blocks: Sequence[str]) -> None:
        """Raise if something happens to the stream between layers."""
        for one, other in pairwise(blocks):
            if not self.same(self._rows[one].after, self._rows[other].before):
                raise self.refuse(f"the states that {other} takes are not those that {one} gives")

    def start_of(self, block: str) -> torch.Tensor:
        """(d,), what goes into a layer."""
        return self._rows[block].before

    def reading(self, block: str, head: str, direction: torch.Tensor) -> tuple[torch.Tensor, float]:
        """How the last state becomes a logit: its scalar product with a direction, and something added.

        Args:
            block: the last layer.
            head: path of the output layer.
            direction: (d,) float64, of the token in the output layer.

        Returns:
            (d,) float64, and what the bias of the norm adds.

        Raises:
            CaptureError: between them stands something other than a LayerNorm or RMSNorm.
        """
        last, read = self._rows[block].after, self._rows[head].before
        if self.same(last, read):
            return direction, 0.0
        for path, row in self._rows.items():
            if self.same(row.before, last) and self.same(row.after, read):
                found = self._norm(self._modules[path], last, read, direction)
                if found is not None:
                    return found
        raise self.refuse(
            f"between {block} and {head} stands no LayerNorm or RMSNorm that takes the one and gives the other"
        )

    def _norm(
        self, module: nn.Module, state: torch.Tensor, result: torch.Tensor, direction: torch.Tensor
    ) -> tuple[torch.Tensor, float] | None:
        """The norm as a linear map, its scale frozen; None if this module is none."""
        size = state.shape[0]
        eps = float(getattr(module, "variance_epsilon", None) or getattr(module, "eps", None) or 0.0)
        plain = torch.ones(size, dtype=torch.float64)
        weight = _vector(getattr(module, "weight", None), plain)
        bias = _vector(getattr(module, "bias", None), torch.zeros_like(plain))
        centred = state - state.mean()
        for moved, gains in ((centred, (weight,)), (state, (weight, 1 + weight))):
            scale = (moved.square().mean() + eps).sqrt()
            for gain in gains:  # Gemma's RMSNorm keeps its weight less 1
                if self.same(result, moved / scale * gain + bias):
                    through = direction * gain / scale
                    through = through - through.mean() if moved is centred else through
                    return through, float(bias @ direction)
        return None

    def _near(self, one: torch.Tensor, other: torch.Tensor, scale: float) -> bool:
        """Whether two rows are equal, up to the rounding of states of this size."""
        return one.shape == other.shape and float((one - other).abs().max()) <= self._rounding * scale

    def _within(self, block: str) -> Iterable[str]:
        return (path for path in self._rows if path.startswith(f"{block}."))


def _vector(given: Any, plain: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - whatever a module calls so
    fits = isinstance(given, torch.Tensor) and given.shape == plain.shape
    return given.detach().double().cpu() if fits else plain


def _projected(module: nn.Module, results: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What each head (H, dv) becomes, (H, d), and what nothing becomes, (d,)."""
    n_heads, size = results.shape
    alone = torch.zeros(n_heads + 1, n_heads, size, dtype=torch.float64)
    for head in range(n_heads):
        alone[head, head] = results[head]
    parameter = next(module.parameters(), None)
    like = alone if parameter is None or not parameter.is_floating_point() else parameter
    with torch.no_grad():
        found = module(alone.reshape(1, n_heads + 1, -1).to(like))[0].double().cpu()
    return found[:-1] - found[-1], found[-1]
