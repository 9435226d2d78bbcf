"""What a small causal language model can do, and which of its heads do it: measured, not looked at.

For the model that ships, and for any other that knows the words of the small world.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attnwidget.smallworld.world import chant, gift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.model import AttentionModel

_PASS = 25  # words of one pass of a chant


@dataclass(frozen=True)
class Abilities:
    """Means over texts that the model has not read.

    Attributes:
        n_texts: chants measured, and as many gifts.
        previous: (L, H), share of the weight on the token before, in chants of 25 random words sung twice.
        induction: (L, H), share on the token after the same token earlier, over the second pass of these chants.
        first_pass: loss on the words of the first pass but its first, in nats a word.
        second_pass: the same on those of the second pass.
        accuracy: share of gifts where the most probable next word is the name of who receives.
        to_receiver: (L, H), the weight from the last token of a gift's prompt to that name.
        to_giver: (L, H), and to the other name, both times it stands there.
    """

    n_texts: int
    previous: NDArray[np.float64]
    induction: NDArray[np.float64]
    first_pass: float
    second_pass: float
    accuracy: float
    to_receiver: NDArray[np.float64]
    to_giver: NDArray[np.float64]

    @property
    def mover(self) -> tuple[int, int]:
        """Layer and head that look most at the right name, and least at the other."""
        return _best(self.to_receiver - self.to_giver)

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
            ("right name at the end of a gift, two names never met before", "", f"{self.accuracy:.1%}"),
            ("from the end of a gift to the right name", _head(mover), f"{self.to_receiver[mover]:.2f}"),
            ("and to the other name, which stands there twice", _head(mover), f"{self.to_giver[mover]:.2f}"),
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
    right, receiver, giver = [], [], []
    for _ in range(n_texts):
        given = gift(rng, "held out")
        cap = model.capture(given.prompt, progress=False)
        last = cap.weights(queries=[len(cap.tokens) - 1])[:, :, 0]  # (L, H, keys)
        receiver.append(last[..., _places(cap.tokens, given.receiver)].sum(-1))
        giver.append(last[..., _places(cap.tokens, given.giver)].sum(-1))
        right.append(
            model.tokenizer.convert_ids_to_tokens(int(_logits(model, given.prompt)[-1].argmax())) == given.receiver
        )
    return Abilities(
        n_texts,
        np.mean(previous, axis=0),
        np.mean(induction, axis=0),
        float(first.mean()),
        float(second.mean()),
        float(np.mean(right)),
        np.mean(receiver, axis=0, dtype=np.float64),
        np.mean(giver, axis=0, dtype=np.float64),
    )


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


def _places(tokens: Any, name: str) -> list[int]:  # noqa: ANN401 - a list of str
    return [place for place, token in enumerate(tokens) if token == name]


def _best(values: NDArray[np.float64]) -> tuple[int, int]:
    layer, head = divmod(int(values.argmax()), values.shape[1])
    return layer, head


def _head(place: tuple[int, int]) -> str:
    layer, head = place
    return f"layer {layer} head {head}"
