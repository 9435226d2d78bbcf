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
        attention: the layer itself.
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
        problems: what does not agree, in words.
    """

    layers: list[Layer]
    matched: dict[int, Layer] = field(default_factory=dict)
    by_output: dict[str, list[Layer | None]] = field(default_factory=dict)
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
        Layer(name, number, stack.infos[number].path, stack.infos[number].call, attention)
        for name, stack in cap.stacks.items()
        for number, attention in enumerate(stack.layers)
    ]


def compare(cap: AttentionCapture, reference: Reference) -> Comparison:
    """Find the captured layer for everything the reference has, and compare them.

    Args:
        cap: of the model.
        reference: of the same model with eager attention.

    Returns:
        Layers with errors, and problems: layers missing, in another order, in a stack of another name.
    """
    result = Comparison(captured_layers(cap))
    for place, returned in enumerate(reference.modules):
        layer = _closest(result.layers, returned)
        if layer is not None:
            result.matched[place] = layer
            _measure(layer, _shaped(returned.weights, layer))
    for name, tensors in reference.outputs.items():
        result.by_output[name] = [_of_output(tensor, reference, result) for tensor in tensors]
    listed = [tensor for tensors in reference.outputs.values() for tensor in tensors]
    for place, returned in enumerate(reference.modules):
        if place not in result.matched and not any(returned.weights is tensor for tensor in listed):
            result.problems.append(f"missing: weights of {returned.path} {tuple(returned.weights.shape)}")
    for name, layers in result.by_output.items():
        result.problems.extend(_order(name, layers))
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
    """(B, H, Tq, Tk) of the captured layer, if these weights have as many of each."""
    attention = layer.attention
    shape = (attention.n_examples, attention.n_heads, attention.n_queries, attention.n_keys)
    if tuple(weights.shape) == shape:
        return weights.double().numpy()
    if weights.ndim == _NDIM or weights.numel() != np.prod(shape) or tuple(weights.shape[-2:]) != shape[-2:]:
        return None
    return weights.double().reshape(shape).numpy()


def _measure(layer: Layer, expected: NDArray[np.float64] | None) -> None:
    assert expected is not None
    attention = layer.attention
    heads, queries, keys = (slice(0, n) for n in (attention.n_heads, attention.n_queries, attention.n_keys))
    worst, flat = 0.0, 0.0
    for example in range(attention.n_examples):
        allowed = np.broadcast_to(attention.allowed(example, heads, queries, keys), expected.shape[1:])
        weights = attention.weights(example, heads, queries, keys)
        wanted = expected[example]
        # Where nothing may be seen sdpa has zeros and eager spreads the row evenly: these rows are padding.
        blind = ~allowed.any(-1) & (np.ptp(wanted, axis=-1) < TOLERANCE)
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


def _of_output(tensor: torch.Tensor, reference: Reference, result: Comparison) -> Layer | None:
    for place, returned in enumerate(reference.modules):
        if returned.weights is tensor:
            return result.matched.get(place)
    # The model made another tensor of it: the layer is known by its values.
    for layer in result.layers:
        expected = _shaped(tensor, layer)
        if expected is None or layer.error is not None:
            continue
        _measure(layer, expected)
        if layer.error is not None and layer.error <= 10 * TOLERANCE:
            return layer
        layer.error = None
    return None


def _order(name: str, layers: list[Layer | None]) -> list[str]:
    problems = []
    lost = [number for number, layer in enumerate(layers) if layer is None]
    if lost:
        problems.append(f"missing: {name}[{', '.join(map(str, lost))}] of {len(layers)}")
    places: dict[str, list[int]] = {}
    for layer in layers:
        if layer is not None:
            places.setdefault(layer.stack, []).append(layer.number)
    problems.extend(
        f"order: {name} are layers {numbers} of stack {stack!r}"
        for stack, numbers in places.items()
        if numbers != sorted(numbers)
    )
    word = _expected(name)
    problems.extend(f"stack: {name} are in stack {stack!r}" for stack in places if not word(stack))
    return problems


def _expected(name: str) -> Any:  # noqa: ANN401 - a test of a stack's name
    *parts, last = name.split(".")
    if "cross" in last:
        return lambda stack: "cross" in stack
    if last.startswith("encoder"):
        return lambda stack: "encoder" in stack
    if last.startswith("decoder"):
        return lambda stack: "decoder" in stack
    for tower, words in (("vision", ("vision", "image")), ("audio", ("audio",)), ("text", ("text", "language"))):
        if any(word in part for part in (*parts, last) for word in words):
            return lambda stack: tower in stack
    return lambda stack: "cross" not in stack
