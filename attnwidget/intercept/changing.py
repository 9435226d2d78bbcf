"""A run in which the results of some heads are other than the model's: each attention call may be changed."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch

from attnwidget.attention import CaptureError
from attnwidget.attention.blocks import plain_maths
from attnwidget.attention.protocol import shape_text
from attnwidget.intercept.frames import find_caller
from attnwidget.intercept.written import plain_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from attnwidget.attention import Attention, LayerInfo

_NDIM = 4


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """One call of attention, between its kernel and the output projection.

    Attributes:
        value: (B, Hkv, Tk, dv).
        output: (B, H, Tq, dv), to be written to.
        factors: queries (B, H, Tq, d) and keys (B, Hkv, Tk, d), where a kernel made the weights.
        weights: (B, H, Tq, Tk), where they were made by hand.
    """

    value: torch.Tensor
    output: torch.Tensor
    factors: tuple[torch.Tensor, torch.Tensor] | None = None
    weights: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """(H, Tq, Tk); None where axes are missing."""
        made = self.weights if self.factors is None else self.factors[0]
        if made is None or made.ndim != _NDIM or self.output.ndim != _NDIM:
            return None
        keys = self.factors[1].shape[2] if self.factors is not None else made.shape[3]
        return made.shape[1], made.shape[2], keys


class Edit(Protocol):
    """What is done to one call."""

    def __call__(self, call: AttentionCall) -> None:
        """Read it, or write to its output."""


@dataclass(frozen=True, eq=False)
class Target:
    """A layer of an earlier capture, and what is to be done where it runs again.

    Attributes:
        info: where it sits in the model.
        layer: its attention.
        edits: done in this order.
    """

    info: LayerInfo
    layer: Attention
    edits: Sequence[Edit]


class Changer:
    """Finds the calls of one run that are to be changed, by their module and how often that had called before.

    Args:
        root: the module that runs.
        targets: each layer once.
    """

    def __init__(self, root: nn.Module, targets: Sequence[Target]) -> None:
        self._paths = {id(module): plain_path(path) for path, module in root.named_modules()}
        self._targets = {(target.info.path, target.info.call): target for target in targets}
        self._calls: Counter[str] = Counter()
        self._met: set[tuple[str, int]] = set()

    def change(self, call: AttentionCall, *, module: nn.Module | None = None, copy: bool = True) -> torch.Tensor:
        """The output of a call, changed where that is asked for.

        Args:
            call: as it ran.
            module: the caller, where it is known.
            copy: leave its own output alone.

        Returns:
            The output; another tensor where it was changed and copied.

        Raises:
            CaptureError: the call is not shaped like the layer that was captured.
        """
        target = self._target_of(module)
        if target is None:
            return call.output
        _check_shape(target, call)
        # What is done here is no attention of the model, and not to be rounded as autocast would.
        with plain_maths(call.output.device), torch._C.DisableTorchFunction():  # noqa: SLF001
            if copy:
                call = replace(call, output=call.output.clone())
            for edit in target.edits:
                edit(call)
        return call.output

    def _target_of(self, module: nn.Module | None) -> Target | None:
        caller = find_caller(self._paths)
        if caller is None:
            return None
        path = self._paths.get(id(module)) if module is not None else None
        path = self._paths[id(caller.module)] if path is None else path
        place = path, self._calls[path]
        self._calls[path] += 1
        target = self._targets.get(place)
        if target is not None:
            self._met.add(place)
        return target

    def check_met(self) -> None:
        """Raise if a layer that was to be changed did not come by.

        Raises:
            CaptureError: it did not, and what was measured is that of the unchanged model.
        """
        for place, target in self._targets.items():
            if place not in self._met:
                info = target.info
                raise CaptureError(
                    f"attention of {info.path or info.kind} ({info.implementation}) can be captured and not changed: "
                    "expected a call through transformers' attention interface, scaled_dot_product_attention or "
                    "nn.MultiheadAttention, and it is computed in another way (a softmax written by hand, or "
                    'flex_attention called directly). Load the model with attn_implementation="sdpa", where it has '
                    "that, or choose heads of other layers"
                )


def _check_shape(target: Target, call: AttentionCall) -> None:
    layer = target.layer
    expected = layer.n_heads, layer.n_queries, layer.n_keys
    if call.shape != expected:
        seen = (
            "output " + shape_text(call.output) if call.shape is None else "(heads, queries, keys) = " + str(call.shape)
        )
        raise CaptureError(
            f"attention of {target.info.path or target.info.kind} runs with {seen}; expected {expected}, as its map "
            "has them. Calls over windows or portions, or whose heads are mixed, cannot be changed: choose heads of "
            "other layers"
        )


CHANGES: ContextVar[Changer | None] = ContextVar("attnwidget_changes", default=None)
"""What changes calls in this thread or task; None where they stay as they are."""
