"""Trains the model that `aw.demo()` loads, and saves it with its tokenizer in attnwidget/smallworld/model.

    python scripts/train_demo.py    # a quarter of an hour on a core

Everything is drawn from one seed: a second run on the same machine gave the same file to the byte; another machine
rounds differently. At the end, and on the way, it measures what `attnwidget.smallworld.abilities` measures, and prints
it as the table that attnwidget/smallworld/README.md quotes.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from demo_tokenizer import make_tokenizer

import attnwidget as aw
from attnwidget.smallworld.abilities import measure
from attnwidget.smallworld.world import MIXED, document

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKENS = 1536  # of one step


@dataclass(frozen=True)
class Phase:
    """A part of the training, with optimisers of its own.

    Attributes:
        steps: how many.
        contexts: until which share of the steps, tokens a row: short ones teach sooner.
        weights: of the kinds of texts, see `document`.
        pace: share of the learning rates below.
    """

    steps: int
    contexts: tuple[tuple[float, int], ...]
    weights: tuple[float, ...] = MIXED
    pace: float = 1.0


# After the first, the right name of a gift is still a toss between the two: the others have many more gifts. The last
# goes slower, in short texts, since at full pace the heads that look at the two names keep to one each.
GIFTS = (4, 1.5, 4, 1, 1, 16)
PHASES = (
    Phase(2000, ((0.25, 32), (0.5, 64), (1.0, 128))),
    Phase(800, ((0.5, 64), (1.0, 128)), GIFTS),
    Phase(500, ((0.8, 32), (1.0, 128)), GIFTS, pace=0.4),
)
MUON, ADAMW = 4e-3, 2e-3  # learning rates at their peak
LIKING = 4.5  # size of a bias; scores go with its square
EVERY = 200  # steps from one measurement to the next
WARMUP, LAST = 100, 0.02  # steps until the peak; share of it that is left at the end


def batches(tokenizer: Any, phase: Phase, seed: int) -> Iterator[torch.Tensor]:  # noqa: ANN401 - transformers ships no types we use
    """Texts one after the other, each behind [BOS], cut into (rows, context + 1) ids.

    Each row begins with a text of its own, as each text does that the model is asked about later.
    """
    rng = random.Random(seed)  # noqa: S311 - chance that can be repeated
    for step in range(phase.steps):
        context = next(context for share, context in phase.contexts if step < share * phase.steps)
        rows = []
        for _ in range(TOKENS // context):
            row: list[int] = []
            while len(row) <= context:
                row += tokenizer(document(rng, phase.weights), verbose=False).input_ids
            rows.append(row[: context + 1])
        yield torch.tensor(rows)


def rate(step: int, steps: int) -> float:
    """The share of the peak learning rate at a step: up along a line, down along a cosine."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    through = (step - WARMUP) / max(1, steps - WARMUP)
    return LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * through))


def optimisers_of(model: Any, pace: float) -> list[torch.optim.Optimizer]:  # noqa: ANN401
    """Muon (Jordan et al. 2024) for the matrices inside the layers, AdamW for embeddings, norms and biases."""
    inside = [parameter for parameter in model.model.layers.parameters() if parameter.ndim == 2]  # noqa: PLR2004
    matrices = {id(parameter) for parameter in inside}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in matrices]
    return [
        torch.optim.Muon(inside, lr=pace * MUON, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=pace * ADAMW, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def begin(model: Any) -> None:  # noqa: ANN401
    """What training begins with: not transformers' own, from which no trial of a like length led to induction.

    Words are far apart and outweigh what the layers add to them, so that heads can tell and copy them from the start.
    And two heads of the first layer have a liking for the token before, by a query bias that is the key bias turned
    back by one position; training decides what becomes of it.
    """
    with torch.no_grad():
        torch.nn.init.normal_(model.model.embed_tokens.weight, std=0.5)
        model.model.norm.weight.fill_(0.16)  # logits of the size that they had
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.mul_(0.3)
            layer.mlp.down_proj.weight.mul_(0.3)
        attention, width = model.model.layers[0].self_attn, model.config.head_dim
        turns = model.model.rotary_emb.inv_freq[:6]  # radians a token, of the pairs that turn fastest
        for head in (0, 1):
            one, other = (slice(head * width + start, head * width + start + len(turns)) for start in (0, width // 2))
            attention.k_proj.bias[one] = LIKING
            attention.q_proj.bias[one] = LIKING * torch.cos(turns)
            attention.q_proj.bias[other] = -LIKING * torch.sin(turns)


def train(model: Any, tokenizer: Any, phase: Phase, seed: int) -> None:  # noqa: ANN401
    """Train a model in place, and print how it goes."""
    model.train()
    optimisers = optimisers_of(model, phase.pace)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, phase.steps)) for optimiser in optimisers
    ]
    start, mean = time.perf_counter(), 0.0
    for step, rows in enumerate(batches(tokenizer, phase, seed), start=1):
        logits = model(rows[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
        for schedule in schedules:
            schedule.step()
        mean = loss.item() if step == 1 else 0.98 * mean + 0.02 * loss.item()
        if step % 50 == 0:
            print(f"step {step}: loss {mean:.3f}, {(time.perf_counter() - start) / step:.2f} s a step", flush=True)
        if step % EVERY == 0:
            print(measure(aw.AttentionModel(model.eval(), tokenizer), n_texts=20).table(), flush=True)
            model.train()
    model.eval()


def save(model: Any, tokenizer: Any, folder: Path) -> None:  # noqa: ANN401
    """Write a folder that `from_pretrained` reads, in transformers 4 and 5."""
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    known = json.loads(settings.read_text())
    known["tokenizer_class"] = "PreTrainedTokenizerFast"  # the name that both know
    settings.write_text(json.dumps(known, indent=2) + "\n")


def fresh(tokenizer: Any, seed: int) -> Any:  # noqa: ANN401
    """The model before training."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=32,  # of which rotary positions leave about half to what a token is
        attention_bias=True,  # so that a query and a key can be the same for all tokens, as for the token before
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.08,  # about 1 / sqrt(width)
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = transformers.LlamaForCausalLM(config)
    begin(model)
    return model


def main() -> None:
    """Train, save after each phase, load again, measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--phase", type=int, default=0, help="begin with this phase, from what the one before it saved")
    default = Path(__file__).resolve().parents[1] / "attnwidget" / "smallworld" / "model"
    parser.add_argument("--out", type=Path, default=default)
    given = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = make_tokenizer()
    for number, phase in enumerate(PHASES[given.phase :], start=given.phase):
        if number == 0:
            model = fresh(tokenizer, given.seed)
        else:
            model = transformers.LlamaForCausalLM.from_pretrained(given.out)
        train(model, tokenizer, phase, given.seed + number)
        save(model, tokenizer, given.out)
    loaded = aw.AttentionModel.from_pretrained(given.out, auto_class=transformers.AutoModelForCausalLM)
    print(measure(loaded).table())


if __name__ == "__main__":
    main()
