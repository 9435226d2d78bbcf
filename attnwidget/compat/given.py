"""Layers as people hold them: some of them None, of several shapes, or in steps; made stacks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from attnwidget.attention.arrays import is_array, to_numpy
from attnwidget.attention.from_weights import stack_from_weights
from attnwidget.attention.stack import AttentionStack
from attnwidget.attention.tokens import Tokens, each_tokens
from attnwidget.compat.steps import is_steps, join_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention.stack import Span
    from attnwidget.attention.tokens import TokenNames
    from attnwidget.compat.steps import Beams


_MATRIX = 2


@dataclass(frozen=True)
class Named:
    """Names of the tokens along one axis, as a person gave them.

    Attributes:
        examples: one list for all examples, or one for each; None: not given.
        written: the names may go on for one more: the token that was written last, and never run.
    """

    examples: tuple[Tokens, ...] | None = None
    written: bool = False

    @classmethod
    def of(cls, names: TokenNames | Sequence[TokenNames] | None, *, written: bool = False) -> Named:
        """From what a person passes."""
        return cls(None if names is None else each_tokens(names), written)

    def of_length(self, length: int) -> list[Tokens] | None:
        """The names of so many positions; as given, where there are more or fewer, for whoever checks them."""
        if self.examples is None:
            return None
        return [names[:length] if self.written and len(names) == length + 1 else names for names in self.examples]

    def fits(self, length: int) -> bool:
        """Whether there is a name for each of so many positions."""
        names = self.of_length(length)
        return names is not None and all(len(tokens) == length for tokens in names)


def stacks_from(
    name: str,
    weights: Any,  # noqa: ANN401 - any array type, a list of them, or a list of those
    queries: Named,
    keys: Named | None = None,
    *,
    beams: Beams | None = None,
    repeats: int = 1,
) -> list[AttentionStack]:
    """Make stacks of what `attentions` of a model's output may be.

    Args:
        name: of the first stack; layers of other shapes go into `name-2`, `name-3` ...
        weights: what `AttentionCapture.from_weights` takes, with None for layers that have no weights, or a tuple of
            such for each step of generate().
        queries: names of the queries.
        keys: of the keys, if they belong to another sequence.
        beams: where beam search moved rows.
        repeats: each example stands for so many returned sequences.

    Returns:
        At least one stack; each layer knows its number where some are missing.

    Raises:
        TypeError, ValueError: as `AttentionCapture.from_weights`, or steps that do not go on from one another.
    """
    stepped = is_steps(weights)
    layers = join_steps(weights, name, cross=keys is not None, beams=beams) if stepped else weights
    if isinstance(layers, tuple):
        layers = list(layers)
    groups: dict[tuple[int, ...], list[int]] = {}
    if not isinstance(layers, list) or not any(is_array(layer) for layer in layers):
        return [_stack(name, layers, queries, keys)]
    for number, layer in enumerate(layers):
        if layer is not None:
            groups.setdefault(_shape(layer), []).append(number)
    made = []
    for turn, numbers in enumerate(groups.values()):
        called = name if turn == 0 else f"{name}-{turn + 1}"
        picked = [_repeated(layers[number], repeats) for number in numbers]
        own = queries, keys
        if len(groups) > 1:  # names belong to the layers they fit
            own = _fitting(queries, picked[0].shape[-2]), None if keys is None else _fitting(keys, picked[0].shape[-1])
        stack = _stack(called, picked, *own, lengths=_lengths(beams, weights) if stepped else None)
        if len(numbers) < len(layers):
            stack = stack.with_layers(
                stack.layers,
                [replace(info, number=number) for info, number in zip(stack.infos, numbers, strict=True)],
            )
        made.append(stack)
    return made


def _stack(
    name: str,
    layers: Any,  # noqa: ANN401
    queries: Named,
    keys: Named | None,
    *,
    lengths: Sequence[int] | None = None,
) -> AttentionStack:
    """One stack; of sequences that end early, cut to their lengths."""
    sample = layers if is_array(layers) else next(filter(is_array, layers), None) if _is_list(layers) else None
    queried, looked_at = (-1, -1) if sample is None or sample.ndim < _MATRIX else _shape(sample)[-2:]
    names = queries.of_length(queried)
    others = None if keys is None else keys.of_length(looked_at)
    stack = stack_from_weights(layers, names, key_tokens=others, mask=None, name=name)
    if lengths is None:
        return stack
    spans: list[Span] = [(0, length) for length in lengths]
    return AttentionStack(
        name,
        stack.layers,
        query_tokens=stack.query_tokens,
        key_tokens=stack.key_tokens,
        query_spans=spans,
        key_spans=stack.key_spans if keys is not None else spans,
    )


def _lengths(beams: Beams | None, weights: Any) -> list[int] | None:  # noqa: ANN401
    if beams is None:
        return None
    prompt = next(int(layer.shape[2]) for layer in weights[0] if layer is not None)
    return [prompt + steps - 1 for steps in beams.lengths]


def _is_list(layers: object) -> bool:
    return isinstance(layers, (list, tuple))


def _shape(layer: Any) -> tuple[int, ...]:  # noqa: ANN401 - any array type
    return tuple(int(length) for length in layer.shape)


def _repeated(layer: Any, repeats: int) -> Any:  # noqa: ANN401 - any array type
    return layer if repeats == 1 else to_numpy(layer).repeat(repeats, axis=0)


def _fitting(names: Named, length: int) -> Named:
    return names if names.fits(length) else Named()
