"""Compares a capture with what the model itself returned, layer by layer: values, shape, order, stack."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from attnwidget import AttentionCapture
    from sweep.reference import Reference, Returned

TOLERANCE = 1e-5
_NDIM = 4


@dataclass
class Layer:
    """One captured layer.

    Attributes:
        stack: name of its stack.
        number: its place in the stack.
        path: of the module.
        call: how often that module had called before.
        attention: the layer itself; windows as the model ran them, not in the frame of the whole sequence.
        error: largest difference to the reference, None while not compared.
        flatness: 1 where every row looks everywhere alike, 0 where each looks at one key.
    """

    stack: str
    number: int
    path: str
    call: int
    attention: Any
    error: float | None = None
    flatness: float = 0.0


@dataclass
class Comparison:
    """What came of it.

    Attributes:
        layers: captured ones.
        matched: captured layer by place in the reference's modules.
        by_output: captured layers by the name of the output that holds their weights.
        missing: what the reference has and the capture has not.
        problems: what else does not agree, in words.
    """

    layers: list[Layer]
    matched: dict[int, Layer] = field(default_factory=dict)
    by_output: dict[str, list[Layer | None]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def error(self) -> float:
        """The largest one."""
        return max((layer.error for layer in self.layers if layer.error is not None), default=0.0)

    @property
    def compared(self) -> int:
        """Layers that had something to be compared with."""
        return sum(layer.error is not None for layer in self.layers)


def captured_layers(cap: AttentionCapture) -> list[Layer]:
    """Every layer of every stack."""
    return [
        Layer(
            name,
            number,
            stack.infos[number].path,
            stack.infos[number].call,
            getattr(attention, "windows", attention),
        )
        for name, stack in cap.stacks.items()
        for number, attention in enumerate(stack.layers)
    ]


def compare(cap: AttentionCapture, reference: Reference, padding: NDArray[np.bool_] | None = None) -> Comparison:
    """Find the captured layer for everything the reference has, and compare them.

    Args:
        cap: of the model.
        reference: of the same model with eager attention.
        padding: (B, T), tokens whose rows mean nothing: implementations fill them with what they like, and the layers
            after them look from there.

    Returns:
        Layers with errors, and problems: layers missing, in another order, in a stack of another name.
    """
    result = Comparison(captured_layers(cap))
    for place, returned in enumerate(reference.modules):
        layer = _closest(result.layers, returned)
        if layer is not None:
            result.matched[place] = layer
            _measure(layer, returned.weights, padding)
    for name, tensors in reference.outputs.items():
        result.by_output[name] = [_of_output(tensor, reference, result, padding) for tensor in tensors]
    listed = [tensor for tensors in reference.outputs.values() for tensor in tensors]
    for place, returned in enumerate(reference.modules):
        if "att" in returned.kind.lower() and place not in result.matched and not any(returned.weights is tensor for tensor in listed):
            result.missing.append(f"weights of {returned.path} {tuple(returned.weights.shape)}")
    for name, layers in result.by_output.items():
        lost = [number for number, layer in enumerate(layers) if layer is None]
        if lost:
            result.missing.append(f"{len(lost)} of {len(layers)} {name}")
        result.problems.extend(_order(name, layers, set(cap.stacks)))
    return result


def _closest(layers: list[Layer], returned: Returned) -> Layer | None:
    found = [
        (distance, layer.call, number, layer)
        for number, layer in enumerate(layers)
        if layer.error is None
        and (distance := _distance(layer.path, returned.path)) is not None
        and _shaped(returned.weights, layer) is not None
    ]
    return min(found, key=lambda entry: entry[:3])[3] if found else None


def _distance(path: str, other: str) -> int | None:
    """How many modules lie between two, if one is inside the other."""
    one, two = path.split(".") if path else [], other.split(".") if other else []
    common = min(len(one), len(two))
    return abs(len(one) - len(two)) if one[:common] == two[:common] else None


def _shaped(weights: torch.Tensor, layer: Layer) -> NDArray[np.float64] | None:
    """(B, H, Tq, Tk) of the captured layer, if these weights have as many of each; one head where they are a mean."""
    attention = layer.attention
    shape = (attention.n_examples, attention.n_heads, attention.n_queries, attention.n_keys)
    if tuple(weights.shape) == shape:
        return weights.double().numpy()
    if tuple(weights.shape) == (shape[0], *shape[2:]):  # nn.MultiheadAttention returns the mean of its heads
        return weights.double()[:, None].numpy()
    if weights.ndim == _NDIM or weights.numel() != np.prod(shape) or tuple(weights.shape[-2:]) != shape[-2:]:
        return None
    return weights.double().reshape(shape).numpy()


def _measure(layer: Layer, tensor: torch.Tensor, padding: NDArray[np.bool_] | None) -> None:
    expected = _shaped(tensor, layer)
    assert expected is not None
    attention = layer.attention
    if padding is not None and padding.shape != (attention.n_examples, attention.n_queries):
        padding = None
    heads, queries, keys = (slice(0, n) for n in (attention.n_heads, attention.n_queries, attention.n_keys))
    worst, flat = 0.0, 0.0
    for example in range(attention.n_examples):
        weights = attention.weights(example, heads, queries, keys)
        allowed = np.broadcast_to(attention.allowed(example, heads, queries, keys), weights.shape)
        wanted = expected[example]
        if len(wanted) < len(weights):
            weights, allowed = weights.mean(0, keepdims=True), allowed[:1]
        # Where nothing may be seen sdpa has zeros and eager spreads the row evenly: these rows are padding.
        blind = ~allowed.any(-1) & (np.ptp(wanted, axis=-1) < TOLERANCE)
        if padding is not None:
            blind |= padding[example]
        error = np.where(blind[..., None], 0, np.abs(weights - wanted))
        worst = max(worst, float(np.nan_to_num(error, nan=np.inf).max(initial=0)))
        flat = max(flat, _flatness(wanted, allowed))
    layer.error, layer.flatness = worst, flat


def _flatness(weights: NDArray[np.float64], allowed: NDArray[np.bool_]) -> float:
    """1 less the mean distance of rows from looking everywhere alike, over rows that have a choice."""
    count = allowed.sum(-1)
    rows = count > 1
    if not rows.any():
        return 0.0
    even = np.where(allowed, 1 / np.maximum(count, 1)[..., None], 0)
    distance = 0.5 * np.abs(weights - even).sum(-1)[rows] / (1 - 1 / count[rows])
    return float(1 - distance.mean())


def _of_output(
    tensor: torch.Tensor, reference: Reference, result: Comparison, padding: NDArray[np.bool_] | None
) -> Layer | None:
    for place, returned in enumerate(reference.modules):
        if returned.weights is tensor:
            return result.matched.get(place)
    # The model made another tensor of it: the layer is known by its values.
    for layer in result.layers:
        if layer.error is not None or _shaped(tensor, layer) is None:
            continue
        _measure(layer, tensor, padding)
        if layer.error is not None and layer.error <= 10 * TOLERANCE:
            return layer
        layer.error = None
    return None


def _order(name: str, layers: list[Layer | None], stacks: set[str]) -> list[str]:
    problems = []
    places: dict[str, list[int]] = {}
    for layer in layers:
        if layer is not None:
            places.setdefault(layer.stack, []).append(layer.number)
    problems.extend(
        f"order: {name} are layers {numbers} of stack {stack!r}"
        for stack, numbers in places.items()
        if numbers != sorted(numbers)
    )
    problems.extend(
        f"stack: {name} are in stack {stack!r}" for stack in places if not _may_hold(stack, name, stacks)
    )
    return problems


def _may_hold(stack: str, name: str, stacks: set[str]) -> bool:
    """Whether a stack of this name may hold what the output calls `name`."""
    *parts, last = name.split(".")
    sides = {"cross_attentions": "cross", "encoder_attentions": "encoder", "decoder_attentions": "decoder"}
    if last in sides:
        return sides[last] in stack
    for tower, words in (("vision", ("vision", "image")), ("audio", ("audio",)), ("text", ("text", "language"))):
        if any(word in part for part in (*parts, last) for word in words) and any(tower in one for one in stacks):
            return tower in stack
    return last != "attentions" or "cross" not in stack
