"""Runs a module while calls of its attention are changed; the module itself stays as it is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch.nn import functional
from torch.overrides import TorchFunctionMode

from attnwidget.intercept.changing import CHANGES, Changer
from attnwidget.intercept.multihead import Inside, looking_up, signature_of
from attnwidget.intercept.sdpa import CURRENT, SDPA
from attnwidget.intercept.session import check_watchable, replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import torch
    from torch import nn

    from attnwidget.intercept.changing import Target


@contextmanager
def changing(module: nn.Module, targets: Sequence[Target]) -> Iterator[None]:
    """Within the block, one forward pass of a module runs with some of its attention changed.

    Args:
        module: what runs.
        targets: which layers, and what is done to them.

    Raises:
        CaptureError: a layer could not be changed, or Python cannot see into the module.
    """
    check_watchable(module)
    changer = Changer(module, targets)
    with replacing():
        token = CHANGES.set(changer)
        try:
            with _ChangeCalls(changer):
                yield
        finally:
            CHANGES.reset(token)
    changer.check_met()


class _ChangeCalls(TorchFunctionMode):
    """Sees what calls a kernel itself; calls through transformers' interface are changed where it is looked up."""

    def __init__(self, changer: Changer) -> None:
        super().__init__()
        self._changer = changer

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        options = kwargs or {}
        if func in SDPA and CURRENT.get() is None:
            return self._changer.change(*_factors(*args, **options), func(*args, **options))
        if func is functional.multi_head_attention_forward:
            arguments = signature_of(func).bind(*args, **options).arguments
            return looking_up(func, _Changed(self._changer, arguments["num_heads"]))(*args, **options)
        return func(*args, **options)


def _factors(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *_: Any,  # noqa: ANN401
    **__: Any,  # noqa: ANN401
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return query, key, value


class _Changed(Inside):
    """What `F.multi_head_attention_forward` calls, its result changed before the output projection."""

    def __init__(self, changer: Changer, n_heads: int) -> None:
        super().__init__()
        self._changer, self._n_heads = changer, n_heads

    def sdpa(self, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401 - torch's signature
        """`scaled_dot_product_attention`, without weights."""
        return self._changer.change(*_factors(*args, **kwargs), super().sdpa(*args, **kwargs))

    def _remember(
        self, product: torch.Tensor, added: torch.Tensor | None, left: torch.Tensor, right: torch.Tensor
    ) -> torch.Tensor:
        product = super()._remember(product, added, left, right)
        if not self.confirmed or self.factors is None:
            return product
        heads = [part.reshape(-1, self._n_heads, *part.shape[1:]) for part in (*self.factors[1:], right, product)]
        query, key, value, output = heads
        return self._changer.change(query, key.transpose(-2, -1), value, output).reshape(product.shape)
