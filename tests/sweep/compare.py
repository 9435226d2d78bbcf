"""Compares a capture with what the model itself returned, layer by layer: values, shape, order, stack."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.lenses import KEYS, PLAIN, SEGMENT, Match, best_match
from sweep.reference import is_weights

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from attnwidget import AttentionCapture
    from sweep.reference import Reference, Returned

TOLERANCE = 1e-5
_CLOSE = 1e-4
"""Nearer than this, a match is no accident: what remains is noise of float32, which is looked into on its own."""


@dataclass
class Layer:
    """One captured layer.

    Attributes:
        stack: name of its stack.
        number: its place in the stack.
        path: of the module.
        call: how often that module had called before.
        attention: the layer itself; windows as the model ran them, not in the frame of the whole sequence.
        padding: (B, T), tokens whose rows mean nothing.
        match: how far it is from the reference, None while not compared.
    """

    stack: str
    number: int
    path: str
    call: int
    attention: Any
    padding: NDArray[np.bool_] | None = None
    match: Match | None = None

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """(B, H, Tq, Tk)."""
        return np.stack(
            [self.attention.weights(example, *self._all) for example in range(self.attention.n_examples)]
        ).astype(np.float64)

    @cached_property
    def allowed(self) -> NDArray[np.bool_]:
        """(B, H, Tq, Tk)."""
        examples = range(self.attention.n_examples)
        shape = self.weights.shape[1:]
        return np.stack([np.broadcast_to(self.attention.allowed(one, *self._all), shape) for one in examples])

    @property
    def _all(self) -> tuple[slice, slice, slice]:
        return tuple(slice(0, n) for n in (self.attention.n_heads, self.attention.n_queries, self.attention.n_keys))

    @cached_property
    def skipped(self) -> NDArray[np.bool_]:
        """(B, H, Tq): rows of padding, and rows that see nothing, which sdpa fills with zeros and eager evenly."""
        skipped = ~self.allowed.any(-1)
        if self.padding is not None and self.padding.shape == (skipped.shape[0], skipped.shape[2]):
            skipped = skipped | self.padding[:, None, :]
        return skipped

    @cached_property
    def flatness(self) -> float:
        """1 where every row looks everywhere alike, 0 where each looks at one key; over rows that have a choice."""
        count = self.allowed.sum(-1)
        rows = count > 1
        if not rows.any():
            return 0.0
        even = np.where(self.allowed, 1 / np.maximum(count, 1)[..., None], 0)
        distance = 0.5 * np.abs(self.weights - even).sum(-1)[rows] / (1 - 1 / count[rows])
        return float(1 - distance.mean())

    def look(self, given: torch.Tensor) -> Match | None:
        """Compare with weights that the model handed out; None if no shape fits."""
        return best_match(self.weights, given.double().cpu().numpy(), self.skipped, _CLOSE)


@dataclass
class Comparison:
    """What came of it.

    Attributes:
        layers: captured ones.
        matched: captured layer by place in the reference's modules.
        by_output: captured layers by the name of the output that holds their weights.
        missing: what the reference has and the capture has not.
        odd: outputs that hold no weights, whatever they are called.
        problems: what else does not agree, in words.
    """

    layers: list[Layer]
    matched: dict[int, Layer] = field(default_factory=dict)
    by_output: dict[str, list[Layer | None]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def error(self) -> float:
        """The largest one."""
        return max((layer.match.error for layer in self.layers if layer.match is not None), default=0.0)

    @property
    def compared(self) -> list[Layer]:
        """Layers that had something to be compared with."""
        return [layer for layer in self.layers if layer.match is not None]

    @property
    def lenses(self) -> list[str]:
        """Other ways than the plain one in which the model handed out its weights."""
        return sorted({layer.match.lens for layer in self.compared if layer.match is not None} - {PLAIN})


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
    result = Comparison(_captured(cap, padding))
    for place, returned in enumerate(reference.modules):
        layer = _closest(result.layers, returned)
        match = None if layer is None else layer.look(returned.weights)
        if layer is not None and match is not None:
            result.matched[place] = layer
            # One of several sequences in the row: the worst of them counts.
            layer.match = match if layer.match is None else max(layer.match, match, key=lambda one: one.error)
    for name, tensors in reference.outputs.items():
        found: list[Layer | None] = []
        for tensor in tensors:
            found.append(_of_output(tensor, reference, result, found))
        result.by_output[name] = found
        lost = [tensor for tensor, layer in zip(tensors, found, strict=True) if layer is None]
        if lost and not any(is_weights(tensor) for tensor in lost):
            result.odd.append(f"{len(lost)} of {len(found)} {name}")
        elif lost:
            result.missing.append(f"{len(lost)} of {len(found)} {name}")
        result.problems.extend(_order(name, found, set(cap.stacks)))
    listed = {id(tensor) for tensors in reference.outputs.values() for tensor in tensors}
    result.missing.extend(
        f"weights of {returned.path} {tuple(returned.weights.shape)}"
        for place, returned in enumerate(reference.modules)
        if place not in result.matched and id(returned.weights) not in listed and "att" in returned.kind.lower()
    )
    return result


def _captured(cap: AttentionCapture, padding: NDArray[np.bool_] | None) -> list[Layer]:
    return [
        Layer(
            name,
            number,
            stack.infos[number].path,
            stack.infos[number].call,
            getattr(attention, "windows", attention),
            padding,
        )
        for name, stack in cap.stacks.items()
        for number, attention in enumerate(stack.layers)
    ]


def _closest(layers: list[Layer], returned: Returned) -> Layer | None:
    found = []
    for number, layer in enumerate(layers):
        distance = _distance(layer.path, returned.path)
        match = None if distance is None else layer.look(returned.weights)
        if match is not None and (layer.match is None or match.lens == SEGMENT == layer.match.lens):
            found.append((distance, layer.call, number, layer))
    return min(found, key=lambda entry: entry[:3])[3] if found else None


def _distance(path: str, other: str) -> int | None:
    """How many modules lie between two, if one is inside the other."""
    one, two = path.split(".") if path else [], other.split(".") if other else []
    common = min(len(one), len(two))
    return abs(len(one) - len(two)) if one[:common] == two[:common] else None


def _of_output(
    tensor: torch.Tensor, reference: Reference, result: Comparison, taken: list[Layer | None]
) -> Layer | None:
    for place, returned in enumerate(reference.modules):
        if returned.weights is tensor and place in result.matched:
            return result.matched[place]
    # The model made another tensor of it: the layer is known by its values.
    for layer in result.layers:
        match = layer.look(tensor)
        if any(layer is other for other in taken) and (match is None or match.lens != SEGMENT):
            continue
        if match is not None and match.error <= _CLOSE:
            layer.match = layer.match or match
            return layer
    return None


def _order(name: str, layers: list[Layer | None], stacks: set[str]) -> list[str]:
    places: dict[str, list[int]] = {}
    for layer in layers:
        if layer is not None:
            places.setdefault(layer.stack, []).append(layer.number)
    problems = [
        f"order: {name} are layers {numbers} of stack {stack!r}"
        for stack, numbers in places.items()
        if list(dict.fromkeys(numbers)) != sorted(set(numbers))
    ]
    for layer in filter(None, layers):
        if not _may_hold(layer, name, stacks):
            problems.append(f"stack: {name} are in stack {layer.stack!r}")
            break
    return problems


def _may_hold(layer: Layer, name: str, stacks: set[str]) -> bool:
    """Whether a stack of this name may hold what the output calls `name`."""
    *parts, last = name.split(".")
    if layer.match is not None and layer.match.lens in KEYS:  # one softmax over the keys of both sides
        return True
    sides = {"cross_attentions": "cross", "encoder_attentions": "encoder", "decoder_attentions": "decoder"}
    if last in sides:
        # Where the other side has no attention that could be told apart, there are no sides.
        return sides[last] in layer.stack or not any(side in stack for side in sides.values() for stack in stacks)
    for tower, words in (("vision", ("vision", "image")), ("audio", ("audio",)), ("text", ("text", "language"))):
        if any(word in part for part in (*parts, last) for word in words) and any(tower in one for one in stacks):
            return tower in layer.stack
    return "cross" not in layer.stack or "cross" in layer.path.lower()
