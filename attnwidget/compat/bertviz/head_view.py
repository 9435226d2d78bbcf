"""BertViz's head view: lines from token to token, of many heads at once."""

from __future__ import annotations

from typing import Any

from attnwidget.compat.bertviz.arguments import Given
from attnwidget.compat.bertviz.showing import check_action, heads_of, place_of, put_out


def head_view(  # noqa: PLR0917 - the signature is BertViz's
    attention: Any = None,  # noqa: ANN401 - arrays of any kind, and lists of them
    tokens: Any = None,  # noqa: ANN401 - a list of str, or one for each example
    sentence_b_start: int | None = None,
    prettify_tokens: bool = True,  # noqa: FBT001, FBT002
    layer: int | None = None,
    heads: list[int] | None = None,
    encoder_attention: Any = None,  # noqa: ANN401
    decoder_attention: Any = None,  # noqa: ANN401
    cross_attention: Any = None,  # noqa: ANN401
    encoder_tokens: Any = None,  # noqa: ANN401
    decoder_tokens: Any = None,  # noqa: ANN401
    include_layers: list[int] | None = None,
    html_action: str = "view",
) -> Any:  # noqa: ANN401 - IPython has no types
    """Show lines from token to token, as `bertviz.head_view` does; signature and meaning are those of BertViz 1.4.1.

    Beside what BertViz takes: NumPy, any float type, layers without the batch axis or in one array, layers that are
    None, several examples (the view's `batch` picks one), layers of unequal numbers in encoder and decoder, and the
    tuples per step of generate().

    Args:
        attention: weights, (1, H, T, T) per layer.
        tokens: one name per token.
        sentence_b_start: the first token of sentence B: the view then has a stack for all, and one for each of
            "Sentence A -> Sentence B" and its likes.
        prettify_tokens: decode the markers of vocabularies.
        layer: the layer shown first; the first one if None.
        heads: the heads whose lines are drawn; all if None.
        encoder_attention: weights of an encoder, with `encoder_tokens`.
        decoder_attention: weights of a decoder, with `decoder_tokens`.
        cross_attention: weights from the decoder's tokens to the encoder's.
        encoder_tokens: one name per token.
        decoder_tokens: one name per token.
        include_layers: the layers shown; all if None.
        html_action: "view" shows it, "return" returns it as an IPython HTML object that needs no kernel and no network.

    Returns:
        None, or the HTML object.

    Raises:
        ValueError: arguments that are missing or do not go together; shapes, counts or indices that do not fit.
        TypeError: these are no arrays, or no tokens.
    """
    check_action(html_action)
    capture = Given(
        attention,
        tokens,
        sentence_b_start,
        prettify_tokens,
        encoder_attention,
        decoder_attention,
        cross_attention,
        encoder_tokens,
        decoder_tokens,
        include_layers,
    ).capture()
    chosen = heads_of(heads, capture)
    return put_out(capture, html_action, panels=["lines"], layer=place_of(layer, capture), head=chosen[0], heads=chosen)
