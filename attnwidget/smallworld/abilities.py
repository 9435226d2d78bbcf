"""What a small causal language model can do, and which of its heads do it: measured, not looked at.

For the model that ships, and for any other that knows the words of the small world.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch

from attnwidget.smallworld.world import Gift, chant, gift, present

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from attnwidget.model import AttentionModel

_PASS = 25  # words of one pass of a chant


@dataclass(frozen=True)
class Abilities:
    """Means over texts that the model has not read.

    Attributes:
        n_texts: chants measured, and as many gifts, and presents.
        previous: (L, H), share of the weight on the token before, in chants of 25 random words.
        induction: (L, H), share on the token after the same token earlier, over the second pass of these chants.
        first_pass: loss on the words of the first pass but its first, in nats a word.
        second_pass: the same on those of the second pass.
        gifts: share of gifts where the most probable next word is the name of who receives.
        presents: the same of presents.
        to_receiver: (L, H), the weight from the last token of a present's prompt to that name.
        to_others: (L, H), and to all other names.
    """

    n_texts: int
    previous: NDArray[np.float64]
    induction: NDArray[np.float64]
    first_pass: float
    second_pass: float
    gifts: float
    presents: float
    to_receiver: NDArray[np.float64]
    to_others: NDArray[np.float64]

    @property
    def mover(self) -> tuple[int, int]:
        """Layer and head that look most at the right name, and least at the others."""
        return _best(self.to_receiver - self.to_others)

    def table(self) -> str:
        """The figures as a table of Markdown."""
        before, after, mover = _best(self.previous), _best(self.induction), self.mover
        rows = (
            ("on the token before, random words", _head(before), f"{self.previous[before]:.2f}"),
            (
                "on the token after the same one earlier, random words again",
                _head(after),
                f"{self.induction[after]:.2f}",
            ),
            ("loss on random words", "", f"{self.first_pass:.2f} nats a word"),
            ("loss on the same words again", "", f"{self.second_pass:.2f} nats a word"),
            ("right name at the end of a gift", "", f"{self.gifts:.0%}"),
            ("right name at the end of a present", "", f"{self.presents:.0%}"),
            ("from the end of a present to the right name", _head(mover), f"{self.to_receiver[mover]:.2f}"),
            ("and to all other names", _head(mover), f"{self.to_others[mover]:.2f}"),
        )
        lines = ["| measured | head | |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
        return "\n".join(lines)


def measure(model: AttentionModel, n_texts: int = 50, seed: int = 0) -> Abilities:
    """Ask a model that knows the small world's words what it can do.

    Args:
        model: a causal language model of transformers with a tokenizer that makes one token of each word, behind one
            first token.
        n_texts: how many chants, and how many gifts.
        seed: of the texts.

    Returns:
        The figures.
    """
    rng = Random(f"abilities {seed}")  # noqa: S311 - chance that can be repeated
    previous, induction, losses = [], [], []
    for _ in range(n_texts):
        text = chant(rng, _PASS)
        patterns = model.capture(text, progress=False).patterns()
        previous.append(patterns["previous"])
        induction.append(patterns["induction"])
        losses.append(_losses(model, text))
    first, second = np.mean(losses, axis=0)[1:_PASS], np.mean(losses, axis=0)[_PASS + 1 :]
    gifts = [_said(model, given) for given in (gift(rng, "held out") for _ in range(n_texts))]
    presents, receiver, others = [], [], []
    for _ in range(n_texts):
        given = present(rng, "held out")
        cap = model.capture(given.prompt, progress=False)
        last = cap.weights(queries=[len(cap.tokens) - 1])[:, :, 0]  # (L, H, keys)
        receiver.append(last[..., _places(cap.tokens, (given.receiver,))].sum(-1))
        others.append(last[..., _places(cap.tokens, given.others)].sum(-1))
        presents.append(_said(model, given))
    return Abilities(
        n_texts,
        np.mean(previous, axis=0),
        np.mean(induction, axis=0),
        float(first.mean()),
        float(second.mean()),
        float(np.mean(gifts)),
        float(np.mean(presents)),
        np.mean(receiver, axis=0, dtype=np.float64),
        np.mean(others, axis=0, dtype=np.float64),
    )


def _said(model: AttentionModel, given: Gift) -> bool:
    """The most probable next word is the right name."""
    said = int(_logits(model, given.prompt)[-1].argmax())
    return bool(said == model.tokenizer.convert_tokens_to_ids(given.receiver))


def _logits(model: AttentionModel, text: str) -> torch.Tensor:
    """(T, vocabulary)."""
    ids = model.tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        logits: torch.Tensor = model.model(ids).logits[0]
    return logits


def _losses(model: AttentionModel, text: str) -> NDArray[np.float64]:
    """(T - 1,), in nats: of each word but the first token, given all before it."""
    ids = model.tokenizer(text, return_tensors="pt").input_ids[0, 1:]
    losses = torch.nn.functional.cross_entropy(_logits(model, text)[:-1], ids, reduction="none")
    return losses.double().numpy()


def _places(tokens: Sequence[str], names: Sequence[str]) -> list[int]:
    return [place for place, token in enumerate(tokens) if token in names]


def _best(values: NDArray[np.float64]) -> tuple[int, int]:
    layer, head = divmod(int(values.argmax()), values.shape[1])
    return layer, head


def _head(place: tuple[int, int]) -> str:
    layer, head = place
    return f"layer {layer} head {head}"
