"""Caches of TransformerLens: patterns, and queries and keys where they explain the pattern."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from attnwidget.attention import AttentionCapture, AttentionStack, CaptureError
from attnwidget.attention.arrays import is_tensor
from attnwidget.attention.from_weights import stack_from_weights
from attnwidget.attention.stack import LayerInfo
from attnwidget.attention.tokens import Tokens, each_tokens
from attnwidget.compat.given import Named
from attnwidget.compat.lensfactors import Terms, explained, factors_alone, weights_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention.protocol import Attention
    from attnwidget.attention.tokens import TokenNames

_HOOK = re.compile(
    r"(?:^|\.)(?P<side>blocks|encoder|encoder_blocks|decoder|decoder_blocks)\.(?P<number>\d+)\."
    r"(?P<part>attn|self_attn|cross_attn)\.hook_(?P<hook>pattern|attn_scores|rot_q|rot_k|q|k)$"
)


def from_transformer_lens(
    cache: Any,  # noqa: ANN401 - an ActivationCache, or any mapping
    tokens: TokenNames | Sequence[TokenNames] | None = None,
    *,
    decoder_tokens: TokenNames | Sequence[TokenNames] | None = None,
    causal: bool | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    model: str | None = None,
) -> AttentionCapture:
    """Show the attention in a cache of TransformerLens, as `run_with_cache` returns it.

    A layer is shown by its `hook_pattern`: these are the weights, also where a hook has changed them. Where `hook_q`
    and `hook_k` (or `hook_rot_q` and `hook_rot_k`) are there too and give the same weights to 1e-4, the layer is kept
    as queries and keys instead, which take less and have scores and q · k detail. A layer with queries and keys and no
    pattern is worked out from them, under the mask and scale that the model's config names, or `causal` and `scale`
    here; nothing can check it, and the capture's notes say so. With neither, `hook_attn_scores` serves. Layers that the
    cache leaves out (`names_filter`) are left out; the others keep their numbers.

    Args:
        cache: an `ActivationCache`, with or without a batch axis, or any mapping with such names:
            `blocks.{layer}.attn.hook_pattern` (B, H, Tq, Tk), `...hook_q` (B, Tq, H, d), `...hook_k` (B, Tk, Hkv, d).
        tokens: names of the tokens, as `model.to_str_tokens(prompt)` gives them; one list for all examples, or one for
            each; numbered if None. Where an encoder-decoder ran, those of the encoder.
        decoder_tokens: likewise, of the decoder.
        causal: whether queries see only keys up to their own; needed only for layers without pattern in a cache whose
            model is not known.
        scale: what q · k is multiplied with; 1 / sqrt(d) if None and the model's config has no other.
        softcap: of the scores; that of the model's config if None.
        model: what to call the model; as its config does if None.

    Returns:
        A capture with a stack "self", or "encoder", "decoder" and "cross".

    Raises:
        CaptureError: the cache holds no attention.
        TypeError: this is no mapping.
        ValueError: shapes or tokens that do not fit; layers that cannot be worked out from queries and keys.
    """
    if not (hasattr(cache, "items") and hasattr(cache, "keys")):
        raise TypeError(
            f"cache is {type(cache).__name__}; expected an ActivationCache, the second thing that "
            "run_with_cache returns"
        )
    terms = Terms.of(getattr(getattr(cache, "model", None), "cfg", None), causal, scale, softcap)
    found = _hooks(cache)
    two_sided = "encoder" in found or "cross" in found
    if decoder_tokens is not None and not two_sided:
        raise ValueError("decoder_tokens were given, and the cache is of no encoder and decoder; pass `tokens`")
    inputs, outputs = _names(tokens), _names(decoder_tokens)
    stacks, notes = [], []
    for name, layers in found.items():
        queries = outputs if two_sided and name != "encoder" else inputs
        stack, alone = _stack(name, layers, queries, inputs if name == "cross" else None, terms)
        stacks.append(stack)
        if alone:
            notes.append(
                f"layers {', '.join(map(str, alone))} of stack {name!r} are worked out from queries and keys, "
                f"{terms.words}: the cache holds no pattern to check them by"
            )
    capture = AttentionCapture(model=model or terms.model)
    capture.fill(stacks, notes=notes)
    return capture


@dataclass
class _Hooked:
    """What a cache holds of one layer.

    Attributes:
        path: of the module, as the cache writes it.
        hooks: by the name of the hook.
    """

    path: str
    hooks: dict[str, Any] = field(default_factory=dict)


def _hooks(cache: Any) -> dict[str, dict[int, _Hooked]]:  # noqa: ANN401
    """Layers by stack and number."""
    found: dict[str, dict[int, _Hooked]] = {}
    for name, value in cache.items():
        match = _HOOK.search(str(name))
        if match is None:
            continue
        if not is_tensor(value):
            raise TypeError(f"{name} is {type(value).__name__}; expected a torch tensor")
        side = match["side"].removesuffix("_blocks")
        stack = "cross" if match["part"] == "cross_attn" else "self" if side == "blocks" else side
        layers = found.setdefault(stack, {})
        layer = layers.setdefault(int(match["number"]), _Hooked(str(name).rpartition(".")[0]))
        layer.hooks[match["hook"]] = value.detach()
    usable = {}
    for stack, layers in found.items():
        shown = {number: layers[number] for number in sorted(layers) if _usable(layers[number])}
        if shown:
            usable[stack] = shown
    if not usable:
        names = [str(name) for name in cache]
        raise CaptureError(
            f"the cache holds {len(names)} activations ({', '.join(names[:3])} ...) and none of attention; expected "
            "blocks.{layer}.attn.hook_pattern, or hook_q and hook_k: run_with_cache(..., names_filter=lambda name: "
            'name.endswith("hook_pattern"))'
        )
    return usable


def _usable(layer: _Hooked) -> bool:
    return bool(layer.hooks.keys() & {"pattern", "attn_scores"}) or any(
        layer.hooks.keys() >= pair for pair in ({"q", "k"}, {"rot_q", "rot_k"})
    )


def _stack(
    name: str, layers: dict[int, _Hooked], queries: Named, keys: Named | None, terms: Terms
) -> tuple[AttentionStack, list[int]]:
    """A stack, and the numbers of the layers that nothing checks."""
    weights = {number: weights_of(layer.hooks, layer.path) for number, layer in layers.items()}
    known = {number: found for number, found in weights.items() if found is not None}
    built: dict[int, Attention] = {}
    if known:
        dense = stack_from_weights(list(known.values()), None, key_tokens=None, mask=None, name=name)
        for number, layer in zip(known, dense.layers, strict=True):
            built[number] = explained(layer, layers[number].hooks, terms) or layer
    alone = [number for number in layers if number not in known]
    for number in alone:
        built[number] = factors_alone(layers[number].hooks, layers[number].path, terms, cross=name == "cross")
    picked = [built[number] for number in layers]
    everything = list(layers) == list(range(len(layers)))
    infos = [
        LayerInfo(layer.path, implementation="TransformerLens", number=None if everything else number)
        for number, layer in layers.items()
    ]
    first = picked[0]
    looked_at = queries if keys is None and first.n_keys == first.n_queries else keys or _fitting(queries, first.n_keys)
    if keys is None and first.n_keys != first.n_queries:
        queries = _fitting(queries, first.n_queries)  # a cut of positions, or keys of an earlier cache
    stack = AttentionStack(
        name,
        picked,
        query_tokens=_examples(queries, first.n_queries, first.n_examples),
        key_tokens=_examples(looked_at, first.n_keys, first.n_examples),
        infos=infos,
    )
    return stack, alone


def _fitting(names: Named, length: int) -> Named:
    return names if names.fits(length) else Named()


def _examples(names: Named, length: int, n_examples: int) -> list[Tokens]:
    given = names.of_length(length) or [Tokens.numbered(length)]
    return given * n_examples if len(given) == 1 else given


def _names(tokens: TokenNames | Sequence[TokenNames] | None) -> Named:
    if tokens is None:
        return Named()
    return Named(tuple(_with_gaps(names) for names in each_tokens(tokens)))


def _with_gaps(names: Tokens) -> Tokens:
    """What to_str_tokens gives has the spaces of the text in it."""
    if not any(piece[:1] == " " and piece.strip(" ") for piece in names.pieces):
        return names
    text = tuple(piece.lstrip(" ") or piece for piece in names.pieces)
    gap = tuple(piece[: len(piece) - len(shown)] for piece, shown in zip(names.pieces, text, strict=True))
    return Tokens(names.pieces, text, gap, names.special, names.segment)
