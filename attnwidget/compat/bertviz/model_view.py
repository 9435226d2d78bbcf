"""BertViz's model view: every head of every layer, small."""

from __future__ import annotations

from typing import Any

from attnwidget.compat.bertviz.arguments import Given
from attnwidget.compat.bertviz.showing import check_action, put_out, theme_of


def model_view(  # noqa: PLR0917 - the signature is BertViz's
    attention: Any = None,  # noqa: ANN401 - arrays of any kind, and lists of them
    tokens: Any = None,  # noqa: ANN401 - a list of str, or one for each example
    sentence_b_start: int | None = None,
    prettify_tokens: bool = True,  # noqa: FBT001, FBT002
    display_mode: str = "dark",
    encoder_attention: Any = None,  # noqa: ANN401
    decoder_attention: Any = None,  # noqa: ANN401
    cross_attention: Any = None,  # noqa: ANN401
    encoder_tokens: Any = None,  # noqa: ANN401
    decoder_tokens: Any = None,  # noqa: ANN401
    include_layers: list[int] | None = None,
    include_heads: list[int] | None = None,
    html_action: str = "view",
) -> Any:  # noqa: ANN401 - IPython has no types
    """Show every head of every layer, as `bertviz.model_view` does; signature and meaning are those of BertViz 1.4.1.

    A click on a head shows its lines beside the grid, where BertViz opens them over it. What is taken beside what
    BertViz takes is told at `head_view`.

    Args:
        attention: weights, (1, H, T, T) per layer.
        tokens: one name per token.
        sentence_b_start: the first token of sentence B, as for `head_view`.
        prettify_tokens: decode the markers of vocabularies.
        display_mode: "dark" or "light".
        encoder_attention: weights of an encoder, with `encoder_tokens`.
        decoder_attention: weights of a decoder, with `decoder_tokens`.
        cross_attention: weights from the decoder's tokens to the encoder's.
        encoder_tokens: one name per token.
        decoder_tokens: one name per token.
        include_layers: the layers shown; all if None.
        include_heads: the heads shown; all if None.
        html_action: "view" shows it, "return" returns it as an IPython HTML object that needs no kernel and no network.

    Returns:
        None, or the HTML object.

    Raises:
        ValueError: arguments that are missing or do not go together; shapes, counts or indices that do not fit.
        TypeError: these are no arrays, or no tokens.
    """
    check_action(html_action)
    theme = theme_of(display_mode)
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
        include_heads,
    ).capture()
    return put_out(capture, html_action, panels=["grid", "lines"], theme=theme)
