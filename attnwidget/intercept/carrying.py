"""What is kept of a call beside its weights: values, the map its output goes into, how a target depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from attnwidget.attention import Carried, FramedAttention
from attnwidget.intercept.narrowing import key_heads, picked
from attnwidget.intercept.projecting import Mouth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention import Attention
    from attnwidget.intercept.keeping import Keeper

_NO_VALUES = (
    "it was called in a way that does not tell its values from other numbers, or dropout took part in its output"
)
_SEVERAL = (
    "it was put together from several calls, each with values of its own: of a text that was generated, capture one "
    "forward pass over the whole of it"
)
_NO_MAP = "no linear map takes what its heads put out as it is: something lies between, or another kernel took it"


class Exit(NamedTuple):
    """The tensor that the model went on with, and how what the heads put out lies in its memory.

    Attributes:
        tensor: in the graph of the run.
        version: how often it had been written to.
        shape: (B, H, Tq, dv).
        strides: of these axes.
        offset: of the first number, in numbers.
    """

    tensor: torch.Tensor
    version: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, output: torch.Tensor, candidates: Sequence[torch.Tensor]) -> Exit | None:
        """The candidate of whose memory an output (B, H, Tq, dv) is a view; None if it is a copy."""
        for tensor in candidates:
            if tensor.untyped_storage().data_ptr() == output.untyped_storage().data_ptr():
                offset = int(output.storage_offset() - tensor.storage_offset())
                return cls(tensor, tensor._version, tuple(output.shape), output.stride(), offset)  # noqa: SLF001
        return None

    @property
    def is_overwritten(self) -> bool:
        """Whether it was written to since, so that its graph is another's."""
        return bool(self.tensor._version != self.version)  # noqa: SLF001 - torch offers no other name for it

    def framed(self, gradient: torch.Tensor) -> torch.Tensor:
        """What belongs to the tensor, number by number, as (B, H, Tq, dv)."""
        laid = torch.empty_strided(
            self.tensor.shape, self.tensor.stride(), dtype=gradient.dtype, device=gradient.device
        ).copy_(gradient)
        return laid.as_strided(self.shape, self.strides, self.offset)


@dataclass(eq=False)
class Carrying:
    """What one call carries, filled while the run goes on.

    Attributes:
        keeper: of the capture, who copies.
        values: (B | 1, Hkv, Tk, dv), a copy.
        shape: (B, H, Tq), of the whole output.
        heads: the numbers of those that are kept.
        mouth: by which the map is told that takes the output.
        maps: (H * dv, D) each, of those heads that are kept.
        exit: what the model went on with, where a gradient is wanted.
        gradient: (B, H, Tq, dv).
        why: nothing is known, and why not.
        no_gradient: why there is none.
    """

    keeper: Keeper
    values: torch.Tensor | None = None
    shape: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()
    mouth: Mouth | None = None
    maps: tuple[torch.Tensor, ...] = ()
    exit: Exit | None = None
    gradient: torch.Tensor | None = None
    why: str = _NO_VALUES
    no_gradient: str = "no target was given: pass target= to model.capture"

    @classmethod
    def of(
        cls,
        met: tuple[torch.Tensor, torch.Tensor] | None,
        keeper: Keeper,
        candidates: Sequence[torch.Tensor],
        *,
        with_graph: bool,
    ) -> Carrying:
        """Copy the values of a call, and be ready for what follows.

        Args:
            met: values (B | 1, Hkv, Tk, dv) and output (B, H, Tq, dv), where they are known.
            keeper: of the capture.
            candidates: tensors that the model may go on with.
            with_graph: the call ran where gradients are recorded.

        Raises:
            LimitError: it is more than may be held.
        """
        if met is None:
            return cls(keeper)
        value, output = met
        n_heads = output.shape[1]
        heads = tuple(range(n_heads)) if keeper.terms.heads is None else tuple(keeper.terms.heads.among(n_heads))
        if len(heads) < n_heads:
            value = picked(value, key_heads(heads, n_heads, value.shape[1]))
        shape = (output.shape[0], len(heads), output.shape[2])
        made = cls(keeper, keeper.keep_factor(value), shape, heads, Mouth(output))
        if keeper.terms.gradients:
            made.exit = Exit.of(output, candidates)
            if made.exit is None:
                made.no_gradient = "what its heads put out was copied on its way to the model"
            elif not with_graph:
                made.exit, made.no_gradient = None, "it ran within torch.no_grad or under gradient checkpointing"
            elif not made.exit.tensor.requires_grad:
                # Nothing before it asks for gradients: what follows is to be derived from here on.
                made.exit.tensor.requires_grad_()
        return made

    @property
    def so_far(self) -> Carried:
        """What is kept at the moment."""
        return Carried(self.values, self.maps[0] if self.maps else None, self.gradient)

    def offer_map(self, taken: torch.Tensor, weight: torch.Tensor) -> None:
        """A linear map ran: kept if it takes what the heads put out.

        Args:
            taken: (..., D'), what went in.
            weight: (D', D).
        """
        if self.mouth is not None and self.mouth.is_met_by(taken):
            self.take_map(weight)

    def take_map(self, weight: torch.Tensor) -> None:
        """Keep a map (H * dv, D), the rows of those heads that are kept.

        Raises:
            LimitError: it is more than may be held.
        """
        size = 0 if self.mouth is None else self.mouth.width
        if self.values is None or weight.shape[0] != size:
            return
        width = self.values.shape[-1]
        by_head = weight.detach().reshape(-1, width, weight.shape[1])
        if len(self.heads) < by_head.shape[0]:
            by_head = by_head[list(self.heads)]
        self.maps = (*self.maps, self.keeper.keep_once(by_head))

    def carried_by(self, attention: Attention) -> Carried:
        """What is told of it, once the layer is known as it is shown."""
        n_keys = 0 if self.values is None else self.values.shape[2]
        shown = attention.n_examples, attention.n_heads, attention.n_queries
        why = ""
        if self.values is None:
            why = self.why
        elif isinstance(attention, FramedAttention):
            why = "it attends within windows, and its values are those of windows"
        elif shown != self.shape or n_keys != attention.n_keys:
            why = _SEVERAL
        if why:
            return Carried(no_values=why, no_projection=why, no_gradient=why)
        projection = self.maps[0] if len(self.maps) == 1 else None
        no_projection = "" if projection is not None else _NO_MAP
        if len(self.maps) > 1:
            no_projection = (
                f"{len(self.maps)} linear maps take what its heads put out, as where an adapter lies beside a map: "
                "merge the adapter into the model first"
            )
        return Carried(
            self.values,
            projection,
            self.gradient,
            no_projection=no_projection,
            no_gradient="" if self.gradient is not None else self.no_gradient,
        )
