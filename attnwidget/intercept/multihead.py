"""Route 3: `F.multi_head_attention_forward`, which nn.MultiheadAttention and all that is built on it run."""

from __future__ import annotations

import inspect
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from attnwidget.attention import DenseAttention, FactoredAttention, Mask
from attnwidget.intercept.calls import record_call
from attnwidget.intercept.dropout import keep_dropped
from attnwidget.intercept.explaining import gives_weights
from attnwidget.intercept.fused import fused_path_notes
from attnwidget.intercept.sdpa import SDPA, as_kernel_saw, check_readable, run_kernel
from attnwidget.intercept.windows.framing import framed_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from attnwidget.attention import Attention
    from attnwidget.intercept.keeping import Keeper
    from attnwidget.intercept.records import KernelCall

_PER_HEAD_NDIM = 3
_SOFTMAX = functional.softmax


class Inside:
    """What ran inside one call; also stands in for the names that call looks up, and does what they do."""

    def __init__(self) -> None:
        self.kernel: KernelCall | None = None
        self.product: torch.Tensor | None = None
        self.factors: tuple[torch.Tensor | None, torch.Tensor, torch.Tensor] | None = None
        self.result: tuple[torch.Tensor, ...] = ()
        self.confirmed = False

    @property
    def outputs(self) -> tuple[torch.Tensor, ...]:
        """What the heads put out, as the call went on with it."""
        return (self.kernel.output,) if self.kernel is not None else self.result[2:]

    def sdpa(self, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401 - torch's signature
        """`scaled_dot_product_attention`, without weights."""
        output, self.kernel = run_kernel(functional.scaled_dot_product_attention, *args, **kwargs)
        return output

    def bmm(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """`torch.bmm`: the scaled queries times the keys, or the weights times the values."""
        return self._remember(torch.bmm(left, right), None, left, right)

    def baddbmm(self, added: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """`torch.baddbmm`: likewise, with the mask added."""
        return self._remember(torch.baddbmm(added, left, right), added, left, right)

    def softmax(self, scores: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401
        """`F.softmax`: of that product and nothing else."""
        self.confirmed = scores is self.product
        return functional.softmax(scores, *args, **kwargs)

    def _remember(
        self, product: torch.Tensor, added: torch.Tensor | None, left: torch.Tensor, right: torch.Tensor
    ) -> torch.Tensor:
        if self.confirmed:
            self.result = left, right, product  # weights after dropout, values and output
        else:
            self.product, self.factors = product, (added, left, right)
        return product

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - stands in for the torch package
        return getattr(torch, name)


def watched(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, alone: bool) -> Any:  # noqa: ANN401
    """Run the call, and record it.

    Args:
        func: `F.multi_head_attention_forward`.
        args: its arguments, plain tensors.
        kwargs: likewise.
        alone: no function mode is on but ours, so that without us torch may have taken its fused path.

    Returns:
        What it returns.
    """
    inside = Inside()
    result = looking_up(func, inside)(*args, **kwargs)
    arguments = signature_of(func).bind(*args, **kwargs).arguments
    extra = [
        name
        for name, made in (("[bias]", arguments["bias_k"] is not None), ("[zero]", arguments["add_zero_attn"]))
        if made
    ]
    notes = list(fused_path_notes()) if alone else []
    record_call(
        lambda keeper: framed_rows(
            _factors(inside, arguments, len(extra), keeper), arguments["query"], arguments["key"], keeper.places, notes
        ),
        implementation="eager" if arguments.get("need_weights", True) else "sdpa",
        extra_keys=tuple(extra),
        notes=notes,
        outputs=inside.outputs,
        projection=arguments["out_proj_weight"].t(),
    )
    return result


def looking_up(func: Callable[..., Any], inside: Inside) -> Callable[..., Any]:
    """The same code, with four of the names it looks up bound to watchers: nothing that others see is patched."""
    names = getattr(func, "__globals__", {})
    if not isinstance(func, FunctionType) or names.get("scaled_dot_product_attention") not in SDPA:
        return func
    copy = FunctionType(
        func.__code__,
        {
            **names,
            "torch": inside,
            "softmax": inside.softmax,
            "scaled_dot_product_attention": inside.sdpa,
            # Asked about our own mode, or that of torch's default device: it has been answered.
            "has_torch_function": lambda _: False,
        },
        func.__name__,
        func.__defaults__,
        func.__closure__,
    )
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


@cache
def signature_of(func: Callable[..., Any]) -> inspect.Signature:
    """The arguments of `F.multi_head_attention_forward`."""
    return inspect.signature(func)


def _factors(inside: Inside, arguments: Mapping[str, Any], n_extra: int, keeper: Keeper) -> Attention:
    check_readable(arguments["query"])
    heads: int = arguments["num_heads"]
    kernel = inside.kernel
    if kernel is not None:
        mask, is_causal, scale, lse = kernel.mask, kernel.is_causal, kernel.scale, kernel.lse
        query, key = kernel.query, kernel.key
        weights, value, output = kernel.dropped, kernel.value, kernel.output
    elif inside.result and inside.factors is not None:
        is_causal, scale, lse = False, 1.0, None  # the queries come scaled
        mask = inside.factors[0]
        query, key = (part.reshape(-1, heads, *part.shape[1:]) for part in inside.factors[1:])
        key = key.transpose(-2, -1)
        weights, value, output = (part.reshape(-1, heads, *part.shape[1:]) for part in inside.result)
    else:
        raise ValueError(
            f"multi_head_attention_forward of torch {torch.__version__} computed its weights in a way that is not "
            "known; expected scaled_dot_product_attention, or a product of queries and keys and its softmax"
        )
    query, key = as_kernel_saw(query), as_kernel_saw(key)
    found = _mask(mask, arguments, query, key, n_extra, keeper, is_causal=is_causal)
    dropped = arguments.get("training", True) and arguments["dropout_p"]
    if dropped and keeper.dropout:
        return keep_dropped(weights, found, keeper, keeper.probe(value, output))
    probe = None if dropped else keeper.probe(value, output)
    factored = FactoredAttention(
        keeper.keep(query), keeper.keep(key), keeper.keep_lse(lse), scale=scale, mask=found, probe=probe
    )
    if kernel is None and weights is not None and not dropped:
        keeper.settle()
        # Somebody may have put another softmax in the place of torch's.
        if not gives_weights(factored, weights, every=functional.softmax is not _SOFTMAX):
            return DenseAttention(keeper.keep(weights), found, probe)
    return factored


def _mask(
    used: torch.Tensor | None,
    arguments: Mapping[str, Any],
    query: torch.Tensor,
    key: torch.Tensor,
    n_extra: int,
    keeper: Keeper,
    *,
    is_causal: bool,
) -> Mask | None:
    """What was added, from the arguments it was made of: torch spreads a padding mask over all heads and queries."""
    n_queries, n_keys = query.shape[2], key.shape[2]
    if used is None:
        return keeper.masks.recognise(None, n_queries=n_queries, n_keys=n_keys, is_causal=is_causal)
    pairs, padding = arguments.get("attn_mask"), arguments.get("key_padding_mask")
    parts = []
    with torch.no_grad():
        if pairs is not None and pairs.ndim == _PER_HEAD_NDIM:
            # One for each head of each example: what was used is no larger than what was passed.
            parts.append(used if used.ndim > _PER_HEAD_NDIM else used.reshape(-1, query.shape[1], *used.shape[1:]))
        else:
            if pairs is not None:
                parts.append(_added(pairs, query.dtype, n_extra)[None, None])
            if padding is not None:
                parts.append(_added(padding, query.dtype, n_extra).reshape(-1, 1, 1, n_keys))
        whole = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    return keeper.masks.recognise(as_kernel_saw(whole.detach()), n_queries=n_queries, n_keys=n_keys)


def _added(mask: torch.Tensor, dtype: torch.dtype, n_extra: int) -> torch.Tensor:
    """A mask as torch adds it: True forbids, and the keys that torch appends are allowed."""
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, -torch.inf)
    return functional.pad(mask, (0, n_extra)) if n_extra else mask
