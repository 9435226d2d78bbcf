"""What went into and came out of each module, at one token: enough to follow the residual stream by value."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


@dataclass(frozen=True, eq=False)
class Row:
    """One token in one module.

    Attributes:
        before: (d,) float64, of the module's first argument.
        after: (d',) float64, of its result, or of the first part of that.
    """

    before: torch.Tensor
    after: torch.Tensor


@contextmanager
def watching_rows(model: nn.Module, n_tokens: int, place: int) -> Iterator[dict[str, Row]]:
    """Within the block, note this row of each module that turns (1, T, d) or (T, d) into the like; hooks go after it.

    Args:
        model: what runs.
        n_tokens: T.
        place: of the token.

    Yields:
        Rows by the path of the module; of a module that runs several times, the last.
    """
    rows: dict[str, Row] = {}
    handles = []

    def row_of(value: Any) -> torch.Tensor | None:  # noqa: ANN401
        value = value[0] if isinstance(value, (tuple, list)) and value else value
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return None
        if tuple(value.shape[:-1]) not in {(1, n_tokens), (n_tokens,)}:
            return None
        return value.reshape(n_tokens, -1)[place].detach().double().cpu()

    def hook_of(path: str) -> Any:  # noqa: ANN401
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:  # noqa: ANN401
            before = row_of(args[0] if args else kwargs.get("hidden_states"))
            after = row_of(result)
            if before is not None and after is not None:
                rows[path] = Row(before, after)

        return hook

    try:
        for path, module in model.named_modules():
            handles.append(module.register_forward_hook(hook_of(path), with_kwargs=True))
        yield rows
    finally:
        for handle in handles:
            handle.remove()
