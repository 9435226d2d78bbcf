"""What was read and what was written in a run of generate()."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Generation:
    """One entry per example in every column.

    Attributes:
        prompt_lengths: how many of an example's tokens were given, as the capture counts them (padding cut off); those
            after them were generated.
        ids: every token id, the prompt's and those generated. The last one is here and not among the capture's tokens:
            a token is run through the model only to find the one after it.
        texts: what was generated, as text; None without a tokenizer.

    Examples:
        >>> Generation((2,), ((5, 6, 7, 8),), (" on and",)).ids[0][2:]
        (7, 8)
    """

    prompt_lengths: tuple[int, ...]
    ids: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...] | None = None

    def of_example(self, example: int) -> Generation:
        """The same of one example."""
        one = slice(example, example + 1)
        return Generation(self.prompt_lengths[one], self.ids[one], None if self.texts is None else self.texts[one])
