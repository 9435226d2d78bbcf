"""BertViz's neuron view: the lines of one head, and how queries and keys make its weights."""

from __future__ import annotations

from typing import Any

from attnwidget.attention import AttentionCapture
from attnwidget.compat.bertviz.sentences import by_sentence, start_of_b
from attnwidget.compat.bertviz.showing import check_action, heads_of, place_of, put_out, theme_of


def show(
    model: Any,  # noqa: ANN401 - any module
    model_type: str,
    tokenizer: Any,  # noqa: ANN401 - transformers has no types
    sentence_a: str,
    sentence_b: str | None = None,
    display_mode: str = "dark",
    layer: int | None = None,
    head: int | None = None,
    html_action: str = "view",
) -> Any:  # noqa: ANN401 - IPython has no types
    """Run a model over one or two sentences and show lines and q · k, as `bertviz.neuron_view.show` of 1.4.1 does.

    Any model of transformers will do, not four; it needs no classes of BertViz, no `output_attentions`, no eager
    attention, and stays in the mode it is in. The detail shows how the weight of the locked query and key came about,
    by component of q and k; in a page without a kernel ("return") it says that it needs one.

    Args:
        model: a model.
        model_type: what BertViz calls its kind, as "bert"; the tokenizer says the rest, and any name will do.
        tokenizer: its tokenizer, of transformers.
        sentence_a: the text, or the first of two.
        sentence_b: the second; the view then has a stack for all, and one for each of "Sentence A -> Sentence B" and
            its likes.
        display_mode: "dark" or "light".
        layer: the layer shown first; the first one if None.
        head: likewise.
        html_action: "view" shows it, "return" returns it as an IPython HTML object that needs no kernel and no network.

    Returns:
        None, or the HTML object.

    Raises:
        ValueError: a layer, head, mode or action that does not exist, or no sentence.
        TypeError: a model, tokenizer or model_type of another kind.
        CaptureError: no attention was seen in the run.
    """
    check_action(html_action)
    theme = theme_of(display_mode)
    if not isinstance(model_type, str):
        raise TypeError(f"model_type is {type(model_type).__name__}; expected the name of a kind of model, as 'bert'")
    if not isinstance(sentence_a, str) or not sentence_a:
        raise ValueError(f"sentence_a is {sentence_a!r}; expected a text")
    capture = attention_of(model, tokenizer, sentence_a, sentence_b)
    chosen = heads_of(None if head is None else [head], capture)[0]
    return put_out(
        capture,
        html_action,
        panels=["lines", "detail"],
        theme=theme,
        layer=place_of(layer, capture),
        head=chosen,
    )


def attention_of(model: Any, tokenizer: Any, sentence_a: str, sentence_b: str | None) -> AttentionCapture:  # noqa: ANN401
    """Run the model; of two sentences, a stack for all and four for who looks at whom."""
    from attnwidget.model import AttentionModel

    if not callable(tokenizer):
        raise TypeError(
            f"tokenizer is {type(tokenizer).__name__}; expected a tokenizer of transformers: "
            "transformers.AutoTokenizer.from_pretrained has one for every model that BertViz's own tokenizers were for"
        )
    watched = AttentionModel(model, tokenizer)
    capture = watched.capture((sentence_a, sentence_b) if sentence_b else sentence_a)
    stacks = list(capture.stacks.values())
    start = start_of_b(stacks[0].query_tokens[0]) if sentence_b else None
    if start is None or any(len(stack.key_tokens[0]) != len(stacks[0].query_tokens[0]) for stack in stacks):
        return capture
    return AttentionCapture(by_sentence(stacks, start), model=capture.model)
