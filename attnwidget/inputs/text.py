"""Text, and ids of unequal lengths, as one padded batch. The tokenizer is used as it is, and left so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from attnwidget.inputs.encodings import tokens_of_encoding, tokens_of_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention import Tokens


@dataclass(frozen=True)
class Example:
    """One example, not padded yet: a list per model input, and the tokens."""

    inputs: dict[str, list[int]]
    tokens: Tokens | None


def encode_text(tokenizer: Any, texts: tuple[str, ...]) -> Example:  # noqa: ANN401 - transformers ships no types we use
    """Encode one text or a pair."""
    for text in texts:
        if not text:
            raise ValueError("the text is empty; expected at least one token to look at")
        half = next((place for place, char in enumerate(text) if "\ud800" <= char <= "\udfff"), None)
        if half is not None:
            raise ValueError(
                f"character {half} of the text, {text[half]!r}, is half of a surrogate pair, which no tokenizer knows; "
                'expected text that can be written as UTF-8: text.encode("utf-16", "surrogatepass").decode("utf-16") '
                "joins the halves"
            )
    encoded = tokenizer(*texts, return_attention_mask=True)
    inputs = {name: list(encoded[name]) for name in encoded if name in tokenizer.model_input_names}
    inputs.setdefault("attention_mask", list(encoded["attention_mask"]))
    ids = list(encoded["input_ids"])
    if not ids:
        raise ValueError(f"the text {texts[0]!r} has no tokens; expected at least one to look at")
    encodings = encoded.encodings if getattr(tokenizer, "is_fast", False) else None
    if encodings:
        tokens = tokens_of_encoding(encodings[0], texts)
    else:
        tokens = tokens_of_ids(tokenizer, ids, encoded.get("token_type_ids"))
    return Example(inputs, tokens)


def example_of_ids(tokenizer: Any, ids: Sequence[int]) -> Example:  # noqa: ANN401 - may be None
    """An example from token ids; its tokens are known only with a tokenizer."""
    if not len(ids):
        raise ValueError("an example has no token ids; expected at least one")
    tokens = tokens_of_ids(tokenizer, ids) if tokenizer is not None else None
    return Example({"input_ids": list(ids), "attention_mask": [1] * len(ids)}, tokens)


def pad(examples: Sequence[Example], tokenizer: Any, *, left: bool = False) -> dict[str, torch.Tensor]:  # noqa: ANN401
    """One (B, T) tensor per input. Padded by hand: a tokenizer without a padding token cannot."""
    length = max(len(example.inputs["input_ids"]) for example in examples)
    left = left or getattr(tokenizer, "padding_side", "right") == "left"
    fill = {"input_ids": _padding_id(tokenizer), "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0) or 0}
    names = [name for name in examples[0].inputs if all(name in example.inputs for example in examples)]
    batch = {}
    for name in names:
        rows = []
        for example in examples:
            row = example.inputs[name]
            padding = [fill.get(name, 0)] * (length - len(row))
            rows.append(padding + row if left else row + padding)
        batch[name] = torch.tensor(rows)  # (B, T)
    return batch


def _padding_id(tokenizer: Any) -> int:  # noqa: ANN401 - may be None
    for name in ("pad_token_id", "eos_token_id"):
        number = getattr(tokenizer, name, None)
        if number is not None:
            return int(number[0] if isinstance(number, (list, tuple)) else number)
    return 0
