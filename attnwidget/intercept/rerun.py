"""Runs a module while calls of its attention are changed; the module itself stays as it is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch.nn import functional
from torch.overrides import TorchFunctionMode

from attnwidget.intercept.changing import CHANGES, AttentionCall, Changer
from attnwidget.intercept.mode import BUSY, WatchCalls
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
            with WatchCalls(), _ChangeCalls(changer):
                yield
        finally:
            CHANGES.reset(token)
    changer.check_met()


class _ChangeCalls(TorchFunctionMode):
    """Sees what calls a kernel itself.

    Calls through transformers' interface are changed where it is looked up, and a softmax by hand where it is followed.
    """

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
            return self._changer.change(_call(func(*args, **options), *args, **options))
        if func is functional.multi_head_attention_forward:
            arguments = signature_of(func).bind(*args, **options).arguments
            token = BUSY.set(True)  # what it calls inside is no layer of its own
            try:
                return looking_up(func, _Changed(self._changer, arguments["num_heads"]))(*args, **options)
            finally:
                BUSY.reset(token)
        return func(*args, **options)


def _call(
    output: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *_: Any,  # noqa: ANN401 - the rest of what `scaled_dot_product_attention` takes
    **__: Any,  # noqa: ANN401
) -> AttentionCall:
    return AttentionCall(value, output, (query, key))


class _Changed(Inside):
    """What `F.multi_head_attention_forward` calls, its result changed before the output projection."""

    def __init__(self, changer: Changer, n_heads: int) -> None:
        super().__init__()
        self._changer, self._n_heads = changer, n_heads

    def sdpa(self, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401 - torch's signature
        """`scaled_dot_product_attention`, without weights."""
        return self._changer.change(_call(super().sdpa(*args, **kwargs), *args, **kwargs))

    def _remember(
        self, product: torch.Tensor, added: torch.Tensor | None, left: torch.Tensor, right: torch.Tensor
    ) -> torch.Tensor:
        product = super()._remember(product, added, left, right)
        if not self.confirmed or self.factors is None:
            return product
        heads = [part.reshape(-1, self._n_heads, *part.shape[1:]) for part in (*self.factors[1:], right, product)]
        query, key, value, output = heads
        call = AttentionCall(value, output, (query, key.transpose(-2, -1)))
        return self._changer.change(call).reshape(product.shape)
