"""What a model of transformers returns under `output_attentions=True`, made a capture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention import AttentionCapture, CaptureError
from attnwidget.attention.arrays import is_array, to_numpy
from attnwidget.attention.from_weights import HOW_TO_GET
from attnwidget.attention.generation import Generation
from attnwidget.compat.given import Named, stacks_from
from attnwidget.compat.steps import Beams, is_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention import AttentionStack
    from attnwidget.attention.tokens import TokenNames

_ATTENTIONS = "attentions"
_LOCAL = "global_attentions"
_NO_WEIGHTS = {
    "longformer": "a window of keys around each query, and the few global tokens apart",
    "led": "a window of keys around each query in its encoder, and the few global tokens apart",
    "reformer": "buckets of hashed keys",
    "prophetnet": "several streams side by side",
}
"""Families whose `attentions` are no queries x keys."""
_NDIM = 4


def from_output(
    output: Any,  # noqa: ANN401 - a ModelOutput, a dict or a tuple
    tokens: TokenNames | Sequence[TokenNames] | None = None,
    *,
    decoder_tokens: TokenNames | Sequence[TokenNames] | None = None,
    model: str | None = None,
) -> AttentionCapture:
    """Show what a model of transformers returned under `output_attentions=True`.

    Takes the output of a forward call or of `generate(..., return_dict_in_generate=True)`, whose steps are joined to
    one map (with or without a cache, of beams and of several returned sequences too). Each kind of attention in it
    becomes a stack: "self" (`attentions`), "encoder", "decoder", "cross", and what a model calls its own, as "vision".
    Layers of another shape than the first go into stacks of their own ("self-2"), layers that are None are left out,
    and the rest keep their numbers. Capturing the model with `AttentionModel` needs none of this, no eager attention,
    and knows q and k as well.

    Args:
        output: what the model returned; or what stands in its `attentions`.
        tokens: names of the input's tokens, padding included, one list for all examples or one for each; numbered if
            None. Where an encoder-decoder ran, those of the encoder. Of generate(), all of `sequences[i]`.
        decoder_tokens: likewise, of the decoder.
        model: what to call the model.

    Returns:
        A capture of weights.

    Raises:
        CaptureError: there are no attentions in the output; or they are of a kind that is no queries x keys.
        TypeError: this is no output of a model.
        ValueError: a shape, a token count or a value that attention weights cannot have; steps of generate() that do
            not go on from one another; beams without `beam_indices`.

    Examples:
        >>> import numpy as np
        >>> weights = np.full((1, 2, 3, 3), 1 / 3)
        >>> from_output({"attentions": (weights, weights)}, ["a", "b", "c"]).weights(layer=1).shape
        (2, 3, 3)
    """
    _refuse_by_name(output)
    found = _Found(two_sided=_is_two_sided(output))
    _look(output, "", found)
    if not found.weights:
        raise CaptureError(f"{_called(output)} holds no attentions{_fields(output)}: {HOW_TO_GET}")
    given = _naming(output, found, tokens, decoder_tokens)
    beams = _beams(output, found)
    repeats = _repeats(found, output, beams)
    stacks: list[AttentionStack] = []
    for name, weights in found.weights.items():
        queries, keys = given(name)
        # What an encoder saw was computed once for all sequences that were made of it.
        once = name == "encoder"
        stacks += stacks_from(
            name, weights, queries, keys, beams=None if once else beams, repeats=repeats if once else 1
        )
    capture = AttentionCapture(stacks, model=model)
    capture.generation = _generation(output, found, capture)
    return capture


@dataclass
class _Found:
    """What an output holds.

    Attributes:
        two_sided: encoder and decoder have tokens of their own.
        weights: by the name of the stack.
    """

    two_sided: bool
    weights: dict[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> Any:  # noqa: ANN401 - tuples of tuples
        """Those of generate(), of one of the stacks; None where nothing was generated."""
        return next((weights for weights in self.weights.values() if is_steps(weights)), None)


def _look(output: Any, path: str, found: _Found) -> None:  # noqa: ANN401
    """Collect what is called attentions, also in outputs within the output."""
    if isinstance(output, Mapping):
        for key, value in output.items():
            if key.endswith(_LOCAL) or "ngram" in key:
                raise CaptureError(
                    f"{_called(output)} holds {key}: its attentions are no queries x keys, and have no place in a "
                    "heatmap of them; capture the model with AttentionModel"
                )
            if key.endswith(_ATTENTIONS):
                if value is None or (not is_array(value) and not len(value)):
                    continue  # not asked for; GPT-2 has () where there is no cross attention
                name = "-".join(filter(None, [path, key.removesuffix(_ATTENTIONS).rstrip("_")]))
                found.weights[name or "self"] = value
            elif isinstance(value, Mapping):
                _look(value, key.removesuffix("s").removesuffix("_output").removesuffix("_model"), found)
    elif is_array(output) or is_steps(output) or _is_layers(output):
        found.weights["self"] = output
    elif isinstance(output, tuple):
        _look_in_tuple(output, found)
    else:
        raise TypeError(
            f"output is {type(output).__name__}; expected what a model of transformers returns under "
            "output_attentions=True: a ModelOutput, a dict or a tuple"
        )


def _look_in_tuple(output: tuple[Any, ...], found: _Found) -> None:
    """What return_dict=False gives: nothing has a name, and attentions are told by their shape."""
    places = [place for place, value in enumerate(output) if _is_layers(value)]
    if len(places) > 1:
        raise ValueError(
            f"output is a tuple with weights at {places}, and nothing in it says which is which: call the model with "
            "return_dict=True, or pass one of them to AttentionCapture.from_weights"
        )
    for place in places:
        found.weights["self"] = output[place]


def _is_layers(value: object) -> bool:
    """Whether these are weights, a 4-D array per layer."""
    if not isinstance(value, (list, tuple)):
        return False
    arrays = [layer for layer in value if layer is not None]
    return bool(arrays) and all(is_array(layer) and len(layer.shape) == _NDIM for layer in arrays)


def _naming(
    output: Any,  # noqa: ANN401
    found: _Found,
    tokens: TokenNames | Sequence[TokenNames] | None,
    decoder_tokens: TokenNames | Sequence[TokenNames] | None,
) -> Any:  # noqa: ANN401 - a function from the name of a stack to names of queries and keys
    """Whose tokens stand along which axis."""
    if decoder_tokens is not None and not found.two_sided:
        raise ValueError(
            f"decoder_tokens were given, and {_called(output)} has no encoder and decoder, only "
            f"{', '.join(found.weights)}; pass `tokens`"
        )
    written = found.steps is not None
    inputs = Named.of(tokens, written=written and not found.two_sided)
    decoder = Named.of(decoder_tokens, written=written)

    def of(name: str) -> tuple[Named, Named | None]:
        if name == "cross":
            return (decoder, inputs) if found.two_sided else (inputs, Named())
        if name == "decoder" and found.two_sided:
            return decoder, None
        # Other modalities have tokens of their own, which nobody has named.
        return (inputs if name in {"self", "encoder", "text", "language"} else Named()), None

    return of


def _beams(output: Any, found: _Found) -> Beams | None:  # noqa: ANN401
    """Where beam search moved rows; checked to be known where it must be."""
    steps, sequences = found.steps, _of(output, "sequences")
    if steps is None or sequences is None:
        return None
    rows = next(int(layer.shape[0]) for layer in steps[0] if layer is not None)
    indices = _of(output, "beam_indices")
    if indices is not None:
        return Beams(to_numpy(indices).astype(np.intp))
    if rows != int(sequences.shape[0]):
        raise ValueError(
            f"the steps ran {rows} rows and {int(sequences.shape[0])} sequences were returned, and there are no "
            "beam_indices that say which rows are whose: call generate with return_dict_in_generate=True and "
            "output_scores=True"
        )
    return None


def _repeats(found: _Found, output: Any, beams: Beams | None) -> int:  # noqa: ANN401
    encoder, sequences = found.weights.get("encoder"), _of(output, "sequences")
    if encoder is None or sequences is None or found.steps is None:
        return 1
    count = int(sequences.shape[0]) if beams is None else len(beams.rows)
    return max(1, count // next(int(layer.shape[0]) for layer in encoder if layer is not None))


def _generation(output: Any, found: _Found, capture: AttentionCapture) -> Generation | None:  # noqa: ANN401
    steps, sequences = found.steps, _of(output, "sequences")
    if steps is None or sequences is None:
        return None
    prompt = next(int(layer.shape[2]) for layer in steps[0] if layer is not None)
    stack = capture.stacks["decoder" if "decoder" in capture.stacks else next(iter(capture.stacks))]
    ids = [
        tuple(int(number) for number in row[: len(names) + 1])
        for row, names in zip(to_numpy(sequences), stack.query_tokens, strict=True)
    ]
    return Generation((prompt,) * len(ids), tuple(ids))


def _is_two_sided(output: Any) -> bool:  # noqa: ANN401
    return any(_of(output, f"{side}_{_ATTENTIONS}") is not None for side in ("encoder", "decoder"))


def _refuse_by_name(output: object) -> None:
    name = type(output).__name__
    for family, kept in _NO_WEIGHTS.items():
        if name.lower().startswith(family):
            raise CaptureError(
                f"output is a {name}: {family.capitalize()} returns {kept}, which is no queries x keys; capture the "
                "model with AttentionModel, which says what it can show of it"
            )


def _of(output: object, key: str) -> Any:  # noqa: ANN401
    return output.get(key) if isinstance(output, Mapping) else None


def _called(output: object) -> str:
    return f"output ({type(output).__name__})"


def _fields(output: object) -> str:
    if not isinstance(output, Mapping):
        return ""
    others = [str(key) for key in output if not str(key).endswith(_ATTENTIONS)]
    return f", only {', '.join(others)}" if others else ""
