"""The tokenizer of the model that ships: one token a word, from the list of words of the small world."""

from __future__ import annotations

from typing import Any

import tokenizers
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from attnwidget.smallworld.words import NAMES, PUNCTUATION, TOWNS, VOCABULARY

SPECIAL = ("[PAD]", "[UNK]", "[BOS]")


def make_tokenizer() -> Any:  # noqa: ANN401 - transformers ships no types we use
    """A fast tokenizer: text in any case, names of people and towns capitalised, other words in lower case.

    A text begins with [BOS], which also ends what the model writes; a word that is not in the list is [UNK].
    """
    ids = {word: number for number, word in enumerate([*SPECIAL, *PUNCTUATION, *VOCABULARY])}
    made = tokenizers.Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))  # noqa: S106 - not a password
    made.normalizer = normalizers.Sequence([normalizers.Lowercase(), *(_capital(name) for name in [*NAMES, *TOWNS])])
    # Words, with what follows an apostrophe (didn't); all else is a mark of its own.
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(tokenizers.Regex(r"\w+(?:'\w+)?|[^\w\s]"), behavior="isolated"),
        ]
    )
    made.decoder = decoders.WordPiece(cleanup=True)  # a space between words, none before a comma or a full stop
    bos = ("[BOS]", ids["[BOS]"])
    made.post_processor = processors.TemplateProcessing(
        single="[BOS] $A", pair="[BOS] $A [BOS] $B", special_tokens=[bos]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="[BOS]",  # noqa: S106
        eos_token="[BOS]",  # noqa: S106
        unk_token="[UNK]",  # noqa: S106
        pad_token="[PAD]",  # noqa: S106
        model_max_length=256,
        model_input_names=["input_ids", "attention_mask"],
    )


def _capital(name: str) -> Any:  # noqa: ANN401
    """Write the first letter of a name large, and that letter alone: each token keeps its place in the text."""
    first, rest = name[0], name[1:]
    return normalizers.Replace(tokenizers.Regex(rf"\b{first.lower()}(?={rest}\b)"), first)
