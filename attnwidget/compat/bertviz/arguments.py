"""What BertViz's functions are called with, made a capture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from attnwidget.attention import AttentionCapture, AttentionStack, DenseAttention
from attnwidget.attention.tokens import Tokens, each_tokens
from attnwidget.compat.bertviz.sentences import by_sentence
from attnwidget.compat.given import Named, stacks_from
from attnwidget.compat.steps import is_steps

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Given:
    """The arguments that head_view and model_view share, as BertViz names and means them.

    Attributes:
        attention: weights of a model with one kind of attention: an array per layer, or whatever
            `AttentionCapture.from_weights` takes, layers that are None, or the steps of generate().
        tokens: their names.
        sentence_b_start: the first token of sentence B.
        prettify_tokens: decode the markers of vocabularies.
        encoder_attention: likewise, of an encoder and a decoder.
        decoder_attention: likewise.
        cross_attention: likewise, queries of the decoder and keys of the encoder.
        encoder_tokens: names.
        decoder_tokens: names.
        include_layers: layers that are shown; all if None. Each stack shows those of them it has.
        include_heads: heads that are shown; all if None.
    """

    attention: Any
    tokens: Any
    sentence_b_start: int | None
    prettify_tokens: bool
    encoder_attention: Any
    decoder_attention: Any
    cross_attention: Any
    encoder_tokens: Any
    decoder_tokens: Any
    include_layers: Sequence[int] | None
    include_heads: Sequence[int] | None = None

    def capture(self) -> AttentionCapture:
        """A capture of what was given.

        Raises:
            ValueError: arguments that are missing or do not go together; shapes, counts or indices that do not fit.
            TypeError: these are no arrays, or no tokens.
        """
        stacks = self._picked(self._stacks())
        if self.attention is not None and self.sentence_b_start is not None:
            stacks = by_sentence(stacks, self.sentence_b_start)
        return AttentionCapture(stacks)

    def _stacks(self) -> list[AttentionStack]:
        two_sided = {
            "encoder_attention": self.encoder_attention,
            "decoder_attention": self.decoder_attention,
            "cross_attention": self.cross_attention,
            "encoder_tokens": self.encoder_tokens,
            "decoder_tokens": self.decoder_tokens,
        }
        present = [name for name, value in two_sided.items() if value is not None]
        if self.attention is not None:
            if present:
                raise ValueError(
                    f"attention is given, and {', '.join(present)} too; expected either attention and tokens, or those "
                    "of an encoder and a decoder"
                )
            if self.tokens is None:
                raise ValueError("attention is given without tokens; expected one name per token")
            return stacks_from("self", self.attention, self._named(self.tokens, self.attention))
        if not any(name.endswith("attention") for name in present):
            raise ValueError(
                "there is nothing to show: pass attention, or encoder_attention, decoder_attention, cross_attention; "
                "None is what a model returns without output_attentions=True"
            )
        return [
            *self._side("encoder", self.encoder_attention, {"encoder_tokens": self.encoder_tokens}),
            *self._side("decoder", self.decoder_attention, {"decoder_tokens": self.decoder_tokens}),
            *self._side(
                "cross",
                self.cross_attention,
                {"decoder_tokens": self.decoder_tokens, "encoder_tokens": self.encoder_tokens},
            ),
        ]

    def _side(self, name: str, weights: Any, tokens: dict[str, Any]) -> list[AttentionStack]:  # noqa: ANN401
        if weights is None:
            return []
        for argument, names in tokens.items():
            if names is None:
                raise ValueError(f"{name}_attention is given without {argument}; expected one name per token")
        written = weights if name != "encoder" else None
        axes = [self._named(names, written if side == 0 else None) for side, names in enumerate(tokens.values())]
        return stacks_from(name, weights, *axes)

    def _named(self, names: Any, weights: Any) -> Named:  # noqa: ANN401
        examples = each_tokens(names)
        if not self.prettify_tokens:
            examples = tuple(_as_written(tokens) for tokens in examples)
        return Named(examples, written=is_steps(weights))

    def _picked(self, stacks: list[AttentionStack]) -> list[AttentionStack]:
        """Layers and heads that were asked for."""
        layers = _indices("include_layers", self.include_layers)
        heads = _indices("include_heads", self.include_heads)
        found = [stack for stack in (_with_layers(stack, layers) for stack in stacks) if stack is not None]
        if not found:
            there = "; ".join(f"{stack.name}: {stack.n_layers}" for stack in stacks)
            raise ValueError(f"include_layers is {layers}, and none of them exists. Layers of each stack: {there}")
        return [stack if heads is None else _with_heads(stack, heads) for stack in found]


def numbers_of(stack: AttentionStack) -> list[int]:
    """The numbers that the layers of a stack have in the model."""
    return [place if info.number is None else info.number for place, info in enumerate(stack.infos)]


def _as_written(tokens: Tokens) -> Tokens:
    gaps = tuple(" " if place else "" for place in range(len(tokens)))
    return Tokens(tokens.pieces, tokens.pieces, gaps, tokens.special, tokens.segment)


def _with_layers(stack: AttentionStack, layers: list[int] | None) -> AttentionStack | None:
    if layers is None:
        return stack
    numbers = numbers_of(stack)
    places = [numbers.index(layer) for layer in layers if layer in numbers]
    if not places:
        return None
    infos = [replace(stack.infos[place], number=numbers[place]) for place in places]
    return stack.with_layers([stack.layers[place] for place in places], infos)


def _with_heads(stack: AttentionStack, heads: list[int]) -> AttentionStack:
    if max(heads) >= stack.n_heads:
        raise ValueError(f"include_heads is {heads}; stack {stack.name!r} has heads 0 to {stack.n_heads - 1}")
    layers = [
        DenseAttention(layer.array[:, heads], layer.mask) for layer in stack.layers if isinstance(layer, DenseAttention)
    ]
    infos = [replace(info, picked=tuple(heads), n_heads=stack.n_heads) for info in stack.infos]
    return stack.with_layers(layers, infos)


def _indices(argument: str, chosen: Sequence[int] | None) -> list[int] | None:
    if chosen is None:
        return None
    found = [int(index) for index in chosen]
    if not found or min(found) < 0 or len(set(found)) < len(found):
        raise ValueError(f"{argument} is {found}; expected one or more indices from 0, each once, or None for all")
    return found
