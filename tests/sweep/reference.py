"""What the model itself says its attention was: eager, `output_attentions=True`, and what each module returned."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from sweep.inputs import parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

_NDIM = 3


@dataclass(frozen=True)
class Returned:
    """Weights that one module returned.

    Attributes:
        path: of the module, the innermost one that returned them.
        call: how many it had returned before.
        weights: (B, H, Tq, Tk), or without one of the first two.
        kind: class of the module.
    """

    path: str
    kind: str
    call: int
    weights: torch.Tensor


@dataclass(frozen=True)
class Reference:
    """Everything an eager run told.

    Attributes:
        outputs: lists of weights by their name in the output: "attentions", "vision_model_output.attentions" ...
        modules: weights by the module that returned them, in the order they ran.
    """

    outputs: dict[str, list[torch.Tensor]]
    modules: list[Returned]


def eager_reference(model: nn.Module, inputs: dict[str, Any]) -> Reference:
    """Run an eager model and keep what it says.

    Args:
        model: with attn_implementation="eager".
        inputs: of its forward.
    """
    modules: list[Returned] = []
    seen: list[torch.Tensor] = []  # kept alive, so that an address means one tensor
    calls: Counter[str] = Counter()
    handles = []

    def watch(path: str) -> Any:
        def hook(module: nn.Module, __: Any, output: Any) -> None:
            for tensor in _tensors(output) if isinstance(output, (tuple, list)) else ():
                if any(tensor is one for one in seen) or not is_weights(tensor):
                    continue
                seen.append(tensor)
                modules.append(Returned(path, type(module).__name__, calls[path], tensor))
                calls[path] += 1

        return hook

    for path, module in model.named_modules():
        handles.append(module.register_forward_hook(watch(path)))
    try:
        with torch.no_grad():
            try:
                output = run(model, inputs, attentions=True)
            except Exception:  # noqa: BLE001 - some models cannot gather their own attentions
                modules.clear()
                calls.clear()
                output = run(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return Reference(dict(named_weights(output)), modules)


def run(model: nn.Module, inputs: dict[str, Any], *, attentions: bool = False) -> Any:
    """One forward pass, always with the same random numbers."""
    torch.manual_seed(3)
    options: dict[str, Any] = {}
    if attentions:
        options["output_attentions"] = True
    try:
        return model(**inputs, **options)
    except TypeError as error:
        if not attentions or "output_attentions" not in str(error) or "output_attentions" in parameters(model):
            raise
        return run(model, inputs)


def is_weights(tensor: torch.Tensor) -> bool:
    """Whether these can be attention weights: no row sums to more than 1, and rows are not empty."""
    if tensor.ndim < _NDIM or not tensor.is_floating_point() or not tensor.numel():
        return False
    if float(tensor.min()) < -1e-6 or float(tensor.max()) > 1 + 1e-4:
        return False
    sums = tensor.sum(-1)
    return float(sums.max()) < 1 + 1e-3 and float(sums.mean()) > 0.05


def named_weights(output: Any, prefix: str = "") -> Iterator[tuple[str, list[torch.Tensor]]]:
    """Every list of attention weights in an output, by name, outputs of parts included."""
    for name, value in output.items() if isinstance(output, dict) else ():
        if "attention" in name:
            found = [tensor for tensor in _tensors(value) if tensor.ndim >= _NDIM and tensor.is_floating_point()]
            if found:
                yield f"{prefix}{name}", found
        elif isinstance(value, dict):
            yield from named_weights(value, f"{prefix}{name}.")


def all_tensors(output: Any) -> list[torch.Tensor]:
    """Every tensor in an output, in order."""
    return list(_tensors(output))


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
