"""Route 4: `flex_attention`, seen from the one name that its uncompiled form looks up around its kernel."""

from __future__ import annotations

import functools
import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attnwidget.attention import FactoredAttention, Mask
from attnwidget.attention.recognise import recognise_bits
from attnwidget.intercept.calls import record_call, refuse_call
from attnwidget.intercept.compiled import as_it_is, saw_uncompiled
from attnwidget.intercept.recorder import ACTIVE
from attnwidget.intercept.records import FlexCall
from attnwidget.intercept.scoremod import Traced, evaluate_mask, keep_score_mod
from attnwidget.intercept.sdpa import CURRENT, as_kernel_saw, check_readable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from attnwidget.attention import Probe
    from attnwidget.intercept.keeping import Keeper

IMPLEMENTATION = "flex_attention"
_ENVIRONMENTS = ("setup_compilation_env", "_set_compilation_env")  # torch 2.7 on, and 2.5 to 2.6
_PLAIN = {"_identity", "noop_mask"}  # torch's own, for no function


def install() -> list[Callable[[], None]]:
    """Watch uncompiled calls, where torch has flex attention (2.5 on).

    `flex_attention` is a plain function that modules hold under names of their own, and where it is compiled, compiled
    code checks the names that it looks up. One name it looks up only where it is not compiled: that of the context in
    which it runs its kernel. From within, arguments and results are seen in the frame that entered it.

    Returns:
        What puts that name back.
    """
    try:
        from torch.nn.attention import flex_attention as module
    except ImportError:
        return []
    for name in _ENVIRONMENTS:
        original = getattr(module, name, None)
        if original is not None:
            setattr(module, name, _watching(original))
            return [functools.partial(setattr, module, name, original)]
    return []


def _watching(original: Callable[[], AbstractContextManager[Any]]) -> Callable[[], AbstractContextManager[Any]]:
    @functools.wraps(original)
    def environment() -> AbstractContextManager[Any]:
        return _Environment(original()) if ACTIVE.get() else original()

    return environment


class _Environment:
    """The original context; at its end the call is recorded."""

    def __init__(self, inner: AbstractContextManager[Any]) -> None:
        self._inner = inner

    def __enter__(self) -> Any:  # noqa: ANN401 - whatever the original gives
        self._put_back = as_it_is()
        try:
            return self._inner.__enter__()
        except BaseException:
            self._put_back()
            raise

    def __exit__(self, *error: Any) -> bool | None:  # noqa: ANN401, PYI036 - passed on as they come
        try:
            swallowed = self._inner.__exit__(*error)
            if error[0] is None:
                _saw(sys._getframe(1).f_locals)  # noqa: SLF001 - the documented way to the running frames
        finally:
            self._put_back()
        return swallowed


def _saw(names: Mapping[str, Any]) -> None:
    """Record an uncompiled call from the variables of `flex_attention`."""
    saw_uncompiled()
    wanted = ("query", "key", "value", "score_mod", "block_mask", "scale", "out", "lse")
    if any(name not in names for name in wanted):
        refuse_call(
            f"flex_attention of torch {torch.__version__} works in a way that is not known",
            implementation=IMPLEMENTATION,
        )
        return
    lse = names["lse"]
    # The unfused kernel counts in powers of two.
    known = isinstance(lse, torch.Tensor) and lse.numel() > 0
    _record(names, lse.detach() * math.log(2) if known else None, names["out"], fused=False)


def saw_compiled(arguments: Mapping[str, Any], result: Any) -> None:  # noqa: ANN401 - an output, or with more
    """Record a call of a compiled `flex_attention`.

    Args:
        arguments: by name.
        result: what it returned: the output, with the log of the denominators where asked for; None if unseen.
    """
    output, aside = result if isinstance(result, tuple) else (result, None)
    lse = getattr(aside, "lse", aside)
    _record(arguments, lse if isinstance(lse, torch.Tensor) else None, output, fused=True)


def _record(
    arguments: Mapping[str, Any], lse: torch.Tensor | None, output: torch.Tensor | None, *, fused: bool
) -> None:
    """As a layer, or as what ran inside a call of transformers' interface."""
    call = FlexCall(
        query=arguments["query"],
        key=arguments["key"],
        value=arguments["value"],
        score_mod=arguments.get("score_mod"),
        block_mask=arguments.get("block_mask"),
        scale=arguments.get("scale"),
        lse=lse,
        output=output,
        fused=fused,
    )
    inside = CURRENT.get()
    if inside is not None:
        inside.flexes.append(call)
    else:
        outputs = () if output is None else (output,)
        record_call(lambda keeper: from_flex(call, keeper), implementation=IMPLEMENTATION, outputs=outputs)


def from_flex(call: FlexCall, keeper: Keeper) -> FactoredAttention:
    """The attention of one call, score_mod and all, to be checked by its output.

    Args:
        call: as it was made.
        keeper: of the run.

    Raises:
        ValueError: score_mod or mask_mod are not made of operations on tensors alone.
    """
    return flex_factors(call, keeper, None if call.output is None else keeper.probe(call.value, call.output))


def flex_factors(
    call: FlexCall, keeper: Keeper, probe: Probe | None, *, sinks: torch.Tensor | None = None
) -> FactoredAttention:
    """The attention of one call.

    Args:
        call: as it was made.
        keeper: of the run.
        probe: what to check it by.
        sinks: what joined the denominators afterwards, (H,).

    Raises:
        ValueError: score_mod or mask_mod are not made of operations on tensors alone.
    """
    check_readable(call.query)
    query, key = as_kernel_saw(call.query), as_kernel_saw(call.key)
    softcap, modifier = None, None
    if call.score_mod is not None and getattr(call.score_mod, "__name__", "") not in _PLAIN:
        softcap, modifier = keep_score_mod(call.score_mod, query.device, keeper.home(query), keeper)
    return FactoredAttention(
        keeper.keep(query),
        keeper.keep(key),
        keeper.keep_lse(call.lse if sinks is None else None),
        scale=call.scale,
        softcap=softcap,
        sinks=None if sinks is None else keeper.keep(sinks.reshape(-1)),
        mask=mask_of(call.block_mask, query.shape[2], key.shape[2], keeper, fused=call.fused),
        probe=probe,
        modifier=modifier,
    )


def mask_of(block_mask: Any, n_queries: int, n_keys: int, keeper: Keeper, *, fused: bool) -> Mask | None:  # noqa: ANN401
    """What a `BlockMask` allows.

    Args:
        block_mask: or None for everything.
        n_queries: Tq.
        n_keys: Tk.
        keeper: of the run; layers with the same function on the same tensors share the mask.
        fused: blocks that are left out are not looked at, and full ones not asked about, as a compiled kernel does.
    """
    if block_mask is None:
        return None
    function = block_mask.mask_mod
    batch, heads = block_mask.kv_num_blocks.shape[:2]
    device = block_mask.kv_num_blocks.device
    blocks = _blocks(block_mask) if fused else None
    if blocks is None and getattr(function, "__name__", "") in _PLAIN:
        return None
    traced = Traced(function, scored=False, device=device, home=device, copy=keeper.copy_once)
    shape = (batch, heads, n_queries, n_keys)
    key = ("mask_mod", traced.key, shape, None if blocks is None else blocks.tobytes())
    if key not in keeper.made:
        bits = evaluate_mask(traced, shape)
        if blocks is not None:
            _apply(blocks, bits, block_mask.BLOCK_SIZE, n_keys)
        found = keeper.masks.share(recognise_bits(bits, n_queries=n_queries, n_keys=n_keys))
        keeper.made[key] = traced, found  # the first keeps alive what the key names
    mask: Mask | None = keeper.made[key][1]
    return mask


_ABSENT, _PARTIAL, _FULL = 0, 1, 2


def _blocks(block_mask: Any) -> NDArray[np.int8] | None:  # noqa: ANN401 - torch's own type
    """(B, H, rows, columns) of blocks: absent, partly masked or full; None where there is one block for everything."""
    if max(block_mask.BLOCK_SIZE) >= 1 << 30:
        return None
    kinds = np.full((*block_mask.kv_num_blocks.shape, block_mask.kv_indices.shape[-1]), _ABSENT, dtype=np.int8)
    for kind, counts, columns in (
        (_PARTIAL, block_mask.kv_num_blocks, block_mask.kv_indices),
        (_FULL, block_mask.full_kv_num_blocks, block_mask.full_kv_indices),
    ):
        if counts is None:
            continue
        numbers, places = counts.cpu().numpy(), columns.cpu().numpy()
        for place in np.ndindex(*numbers.shape):
            kinds[place][places[place][: numbers[place]]] = kind
    return kinds


def _apply(blocks: NDArray[np.int8], bits: NDArray[np.uint8], size: tuple[int, int], n_keys: int) -> None:
    """Close what absent blocks cover, open what full ones cover."""
    for place in np.ndindex(*blocks.shape[:2]):
        for row in range(blocks.shape[2]):
            rows = slice(row * size[0], (row + 1) * size[0])
            kinds = np.repeat(blocks[place][row], size[1])[:n_keys]
            opened, closed = np.packbits(kinds == _FULL), np.packbits(kinds == _ABSENT)
            bits[place][rows] = (bits[place][rows] | opened) & ~closed
