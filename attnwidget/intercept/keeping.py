"""What a capture takes from a run and keeps: copies of factors, masks met before, and what is left to check them by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from attnwidget.attention import Mask, MaskMemo, Probe, combine_masks, without_bias
from attnwidget.attention.memo import TensorMemo, key_of
from attnwidget.intercept.along import along, rows_of
from attnwidget.intercept.narrowing import HeadsModifier, key_heads, mask_of_heads, picked
from attnwidget.intercept.store import MEMORY, Store
from attnwidget.intercept.terms import Terms
from attnwidget.intercept.windows.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from attnwidget.attention.modifier import ScoreModifier

OVERFLOW = (
    "some queries or keys are larger than float16 holds (65504): those are kept as bfloat16, which is as small and "
    "rounds 8 times as coarsely"
)


class Keeper:
    """Handed to whoever builds an attention while a run is watched.

    Args:
        terms: what is to be kept, and where; everything, on the device where it is, if None.

    Attributes:
        terms: as given.
        store: where what is kept goes.
        dropout: weights are wanted as they are after dropout, where there is any.
        notes: what the capture should tell of what was kept.
        masks: masks met before in this run.
        made: what routes made of other things in this run, by keys of their own.
        keep_once: as `keep`, with one copy for all layers that ask for a tensor with the same values.
        copy_once: likewise, with copies that stay on the device, for what is only needed while the run lasts.
        places: places of windows met before in this run.
        met: values (B | 1, Hkv, Tk, dv) and output (B, H, Tq, dv) that the last attention could be checked by, where
            values are to be kept.
    """

    def __init__(self, terms: Terms | None = None) -> None:
        self.met: tuple[torch.Tensor, torch.Tensor] | None = None
        self.terms = terms or Terms()
        self.store = Store(self.terms.store)
        self.dropout = self.terms.dropout
        self.notes: dict[str, None] = {}
        self.clear()

    @property
    def key(self) -> Hashable:
        """Keepers with equal keys keep the same things in the same place."""
        terms = self.terms
        heads = terms.heads and terms.heads.text
        return self.store.key, terms.dropout, terms.dtype, heads, terms.layers is None, terms.values, terms.gradients

    def forget(self) -> None:
        """Let go of what is only needed while the run lasts."""
        self.clear()
        self.store.close()

    def settle(self) -> None:
        """Wait until all that was kept can be read: copies from a device to memory are made while the model runs on."""
        self.store.settle()

    def clear(self) -> None:
        """Let go of what layers share while the run lasts."""
        self.masks = MaskMemo()
        self.made: dict[Hashable, Any] = {}
        self.keep_once = _Once(self.keep)
        self.copy_once = _Once(lambda tensor: tensor.detach().clone())
        self.places = Places()
        self._combined: dict[tuple[int, ...], tuple[list[Mask], Mask]] = {}
        self._unbiased: dict[int, tuple[Mask, Mask | None]] = {}
        self._large_biases: dict[tuple[int, ...], Mask] = {}
        self._of_heads: dict[tuple[int, tuple[int, ...]], tuple[Any, Any]] = {}

    def begin(self) -> None:
        """Another pass begins: what layers share, they share within one."""
        places = self.places
        self.clear()
        self.places = places

    def combine(self, masks: Iterable[Mask | None]) -> Mask | None:
        """One mask for all of them, the same for the same ones, so that layers share it."""
        found = [mask for mask in masks if mask is not None]
        if len(found) <= 1:
            return found[0] if found else None
        key = tuple(id(mask) for mask in found)
        if key not in self._combined:
            self._combined[key] = found, combine_masks(found)
        return self._combined[key][1]

    def without_bias(self, mask: Mask) -> Mask | None:
        """Which pairs a mask allows, the same for the same one."""
        if id(mask) not in self._unbiased:
            self._unbiased[id(mask)] = mask, without_bias(mask)
        return self._unbiased[id(mask)][1]

    def is_shared_bias(self, mask: Mask) -> bool:
        """Whether no other bias of this size has been met: one per layer would cost as much as the weights."""
        assert mask.bias is not None  # noqa: S101 - the caller has looked; this is for the type checker
        return self._large_biases.setdefault(mask.bias.shape, mask) is mask

    def mask_of_heads(self, mask: Mask | None, heads: tuple[int, ...]) -> Mask | None:
        """A mask for some heads, the same for the same one, so that layers share it."""
        if mask is None:
            return None
        key = id(mask), heads
        if key not in self._of_heads:  # with what it was made of, so that no other gets the place it is known by
            self._of_heads[key] = mask, mask_of_heads(mask, heads)
        found: Mask = self._of_heads[key][1]
        return found

    def modifier_of_heads(self, modifier: ScoreModifier | None, heads: tuple[int, ...]) -> ScoreModifier | None:
        """A function of scores for some heads, the same for the same one."""
        if modifier is None:
            return None
        key = id(modifier), heads
        if key not in self._of_heads:
            self._of_heads[key] = modifier, HeadsModifier(modifier, heads)
        made: ScoreModifier = self._of_heads[key][1]
        return made

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy with a storage of its own: later writes cannot reach it, and it keeps nothing larger alive."""
        return self.store.keep(tensor)

    def home(self, tensor: torch.Tensor) -> torch.device:
        """Where a copy of a tensor is, or will be."""
        return tensor.device if self.store.leaves(tensor) else MEMORY

    def keep_factor(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of queries, keys or weights, in the type that was asked for."""
        dtype = self.terms.dtype
        if dtype is None or tensor.dtype == dtype or not tensor.is_floating_point():
            return self.store.keep(tensor)
        self.store.count(tensor.numel() * dtype.itemsize, tensor.device)
        small = tensor.detach().to(dtype, memory_format=torch.contiguous_format)
        if torch.finfo(dtype).max < torch.finfo(tensor.dtype).max and _overflows(tensor, small):
            self.notes[OVERFLOW] = None
            small = tensor.detach().to(torch.bfloat16, memory_format=torch.contiguous_format)
        return self.store.move(small)

    def keep_lse(self, lse: torch.Tensor | None) -> torch.Tensor | None:
        """The kernel's own result needs no copy if it stays where it is, alone in its storage; (B, H, Tq) float32."""
        if lse is None:
            return None
        lse = lse.detach().float()
        if is_alone(lse) and self.store.leaves(lse):
            self.store.count(lse.nbytes, lse.device)
            return lse
        return self.store.keep(lse)

    def probe(self, value: torch.Tensor, output: torch.Tensor) -> Probe | None:
        """What is needed to check weights against the output later.

        Args:
            value: (B | 1, Hkv, Tk, dv).
            output: (B, H, Tq, dv), before heads are merged.

        Returns:
            None where there is nothing to check by: values without tokens or size.
        """
        self._meet(value, output)
        probe = self._probe(value, output)
        self.count_probe(probe)
        return probe

    def _meet(self, value: torch.Tensor, output: torch.Tensor) -> None:
        if self.terms.values:
            self.met = value.detach(), output.detach()

    def count_probe(self, probe: Probe | None) -> None:
        """Count what a probe holds."""
        if probe is not None:
            self.store.count(probe.nbytes, probe.values.device)

    def _probe(self, value: torch.Tensor, output: torch.Tensor) -> Probe | None:
        if not (value.numel() and output.numel()):
            return None
        value, output = value.detach(), output.detach()
        rows = rows_of(output.shape[2])
        if torch.is_autocast_enabled(value.device.type):
            with torch.autocast(value.device.type, enabled=False):
                values, outputs = along(value), along(output[:, :, rows])
        else:
            values, outputs = along(value), along(output[:, :, rows])
        return Probe(self.store.aside(values), rows, self.store.aside(outputs), torch.finfo(output.dtype).eps)


class Lender(Keeper):
    """Hands tensors on as they are, for calls of which only a part will be kept, by whoever asked.

    Args:
        keeper: of the capture, whose memos are used.
        probes: make probes at once; else remember what they could be made from.

    Attributes:
        value: (B | 1, Hkv, Tk, dv), what a probe would be made from; None if none was.
        output: (B, H, Tq, dv).
    """

    def __init__(self, keeper: Keeper, *, probes: bool = False) -> None:
        self.__dict__.update(keeper.__dict__)
        self._probes = probes
        self.value: torch.Tensor | None = None
        self.output: torch.Tensor | None = None

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor itself."""
        return tensor.detach()

    def keep_lse(self, lse: torch.Tensor | None) -> torch.Tensor | None:
        """The tensor itself, as float32."""
        return None if lse is None else lse.detach().float()

    def probe(self, value: torch.Tensor, output: torch.Tensor) -> Probe | None:
        """Made, or remembered what it could be made from."""
        self._meet(value, output)
        if self._probes:
            return self._probe(value, output)  # counted where it is kept
        self.value, self.output = value.detach(), output.detach()
        return None

    def pick_heads(self, heads: Sequence[int]) -> None:
        """Go on with some heads of what was remembered."""
        if self.value is not None and self.output is not None:
            self.value = picked(self.value, key_heads(heads, self.output.shape[1], self.value.shape[1]))
            self.output = picked(self.output, heads)


class _Once:
    """Copies, one for all tensors with the same values as far as that can be seen."""

    def __init__(self, copy: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._copy = copy
        self._known: TensorMemo[torch.Tensor] = TensorMemo()
        self._alike: dict[Hashable, list[torch.Tensor]] = {}

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        key = key_of(tensor)
        known = None if key is None else self._known.get(key)
        if known is not None:
            return known[0]
        met = self._alike.setdefault((tuple(tensor.shape), tensor.dtype, tensor.device), [])
        # Copies elsewhere may still be on their way.
        found = next((copy for copy in met if copy.device == tensor.device and torch.equal(copy, tensor)), None)
        if found is None:
            found = self._copy(tensor)
            met.append(found)
        if key is not None:
            self._known.put(key, tensor, found)
        return found


def _overflows(tensor: torch.Tensor, small: torch.Tensor) -> bool:
    """Whether finite numbers became infinite in a smaller type."""
    finite = small.isfinite()
    return not bool(finite.all()) and bool((tensor.isfinite() & ~finite).any())


def is_alone(tensor: torch.Tensor) -> bool:
    """Whether a tensor keeps nothing else in memory."""
    return bool(tensor.untyped_storage().nbytes() == tensor.nbytes)
