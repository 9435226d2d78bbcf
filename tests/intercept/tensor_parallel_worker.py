"""Run by torchrun in two processes: captures of tensor-parallel models. What it finds is compared in the test."""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import transformers as tf
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from torch.nn import functional

import attnwidget as aw
from attnwidget.ranks.talking import Channel

FOLDER = Path(sys.argv[1])
INPUTS = {name: torch.from_numpy(array) for name, array in np.load(FOLDER / "inputs.npz").items()}
IDS = INPUTS["input_ids"]
FOUND: dict[str, object] = {}
ARRAYS: dict[str, np.ndarray] = {}


def load(name, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how the plan is passed changes from version to version
        return tf.LlamaModel.from_pretrained(FOLDER / name, tp_plan="auto", **options).eval()


def error_of(run):
    try:
        run()
    except BaseException as error:  # noqa: BLE001 - the test looks at it
        return f"{type(error).__name__}: {error}"
    return "none"


def grouped_queries():
    model = load("grouped")
    with torch.no_grad():
        plain = model(**INPUTS).last_hidden_state
        with aw.capture(model) as own:
            seen = model(**INPUTS).last_hidden_state
    FOUND["same output"] = torch.equal(plain, seen)
    FOUND["own notes"], FOUND["own repr"] = own.notes, repr(own)
    FOUND["own ranks"] = own.stacks["self"].infos[0].ranks
    ARRAYS["own"] = own.weights(batch=1)
    ARRAYS["output"] = seen.numpy()
    cap = aw.AttentionModel(model, name="tiny").capture(dict(INPUTS))
    with aw.gathered(cap) as whole:
        FOUND["given"] = type(whole).__name__
        if whole is not None:
            look(whole)
    if whole is not None:
        FOUND["after"] = error_of(lambda: whole.weights(0, 3))
        ARRAYS["still here"] = whole.weights(0, 0, batch=1, queries=[3])  # of this rank


def look(whole):
    """What a person does on the first rank."""
    FOUND["notes"], FOUND["repr"], FOUND["tokens"] = whole.notes, repr(whole), whole.tokens
    FOUND["infos"] = [(info.heads, info.key_heads, info.head_size) for info in whole.stacks["self"].infos]
    for batch in range(2):
        ARRAYS[f"weights {batch}"] = whole.weights(batch=batch)
        ARRAYS[f"scores {batch}"] = whole.scores(batch=batch)
        ARRAYS[f"allowed {batch}"] = whole.allowed(batch=batch)
    ARRAYS["pair"] = whole.pair(query=7, key=2, batch=1)
    ARRAYS["picked"] = whole.weights(1, 3, queries=[5, 1], keys=(0, 4), batch=1)
    details = [whole.detail(1, head, 5, 2, batch=1) for head in range(4)]
    ARRAYS["products"] = np.stack([one.products for one in details])
    FOUND["key heads"] = [one.key_head for one in details]
    for reduce in ("max", "mean"):
        ARRAYS[f"tiles {reduce}"] = np.stack(
            [whole.tile(1, head, height=3, width=4, reduce=reduce, batch=1).values for head in range(4)]
        )
    FOUND["verified"] = [whole.verify().ok, len(whole.verify().layers)]
    FOUND["bad head"] = error_of(lambda: whole.weights(0, 4))
    with ThreadPoolExecutor(6) as pool:
        asked = [(layer, head) for layer in range(2) for head in range(4)] * 4
        answers = list(pool.map(lambda place: whole.weights(*place, batch=1), asked))
    FOUND["threads"] = all(
        np.array_equal(answer, ARRAYS["weights 1"][place]) for place, answer in zip(asked, answers, strict=True)
    )


def only_what_is_looked_at_travels():
    received = []
    receive = Channel._receive

    def counting(self, rank):
        message = receive(self, rank)
        received.append(sum(part.nbytes for part in message or () if isinstance(part, np.ndarray)))
        return message

    model = load("grouped")
    cap = aw.AttentionModel(model).capture(torch.arange(400)[None] % 50)
    Channel._receive = counting
    try:
        with aw.gathered(cap) as whole:
            if whole is not None:
                whole.tile(0, 0)
                own = len(received)
                ARRAYS["long tile"] = whole.tile(0, 3, height=8, width=8).values
                FOUND["travelled"] = [own, received]
    finally:
        Channel._receive = receive


def another_rank_looks_and_factors_are_on_disk():
    cap = aw.AttentionModel(load("grouped", dtype=torch.bfloat16), store="disk").capture(dict(INPUTS))
    with aw.gathered(cap, rank=1) as whole:
        FOUND["second looks"] = whole is not None
        if whole is not None:
            ARRAYS["from the second"] = whole.weights(batch=1)
            FOUND["held"] = dict(whole.held)
    FOUND["no such rank"] = error_of(lambda: aw.gathered(cap, rank=2).__enter__())


def factors_that_were_rounded():
    cap = aw.AttentionModel(load("grouped")).capture(dict(INPUTS), dtype="bfloat16")
    with aw.gathered(cap) as whole:
        if whole is not None:
            checks = whole.verify().layers
            FOUND["rounded"] = [[check.ok, check.error, check.tolerance] for check in checks]


def an_exception_lets_the_others_go_on():
    cap = aw.AttentionModel(load("grouped")).capture(dict(INPUTS))

    def fail():
        with aw.gathered(cap) as whole:
            if whole is not None:
                raise KeyError("mine")

    FOUND["exception"] = error_of(fail)
    with aw.gathered(cap) as whole:
        FOUND["again"] = None if whole is None else list(whole.weights().shape)


def a_question_without_an_answer_is_the_last():
    cap = aw.AttentionModel(load("grouped")).capture(dict(INPUTS))
    receive = Channel._receive
    for number, error in enumerate((KeyboardInterrupt(), RuntimeError("Connection closed by peer"))):

        def interrupted(self, rank, error=error):
            receive(self, rank)
            raise error

        with aw.gathered(cap) as whole:
            if whole is not None:
                Channel._receive = interrupted
                FOUND[f"interrupted {number}"] = [error_of(lambda: whole.weights(0, 3))]
                Channel._receive = receive
                FOUND[f"interrupted {number}"].append(error_of(lambda: whole.weights(0, 2)))
    with aw.gathered(cap) as whole:
        FOUND["after interruptions"] = None if whole is None else list(whole.weights().shape)


def dropout_and_questions_without_an_answer():
    torch.manual_seed(0)
    model = load("dropping").train()
    with aw.capture(model, dropout=True) as cap:
        output = model(IDS).last_hidden_state
    FOUND["trains"] = output.requires_grad
    with aw.gathered(cap) as whole:
        if whole is not None:
            ARRAYS["dropped"] = whole.weights(batch=1)
            FOUND["no scores here"] = error_of(lambda: whole.scores(0, 0))
            FOUND["no scores there"] = error_of(lambda: whole.scores(0, 3))


def other_inputs_on_each_rank():
    model = load("grouped")
    with torch.no_grad(), aw.capture(model) as cap:
        model(IDS)
    short = aw.AttentionCapture(
        [
            aw.AttentionStack(
                "self",
                [aw.FactoredAttention(layer.q[:, :, :5], layer.k[:, :, :5]) for layer in cap.stacks["self"].layers],
                infos=cap.stacks["self"].infos,
            )
        ]
    )
    first = distributed.get_rank() == 0
    FOUND["other lengths"] = error_of(lambda: aw.gathered(cap if first else short).__enter__())
    with torch.no_grad(), aw.capture(model, list("abcdefghijkl") if first else list("lkjihgfedcba")) as named:
        model(IDS[:1])
    FOUND["other tokens"] = error_of(lambda: aw.gathered(named).__enter__())
    stack = cap.stacks["self"]
    bare = [aw.FactoredAttention(layer.q, layer.k) for layer in stack.layers]
    alone = aw.AttentionStack("self", bare, infos=[replace(info, ranks=()) for info in stack.infos])
    mixed = aw.AttentionCapture([alone, aw.AttentionStack("more", bare, infos=stack.infos)])
    FOUND["not spread, not the same"] = error_of(lambda: aw.gathered(mixed).__enter__())
    if first:
        stack.layers[0].scores = None  # what cannot be read on one rank
    FOUND["not readable"] = error_of(lambda: aw.gathered(cap).__enter__())
    if first:
        del stack.layers[0].scores
    with aw.gathered(cap) as whole:
        FOUND["after other lengths"] = whole is not None


class MultiQuery(nn.Module):
    """One key head, which every rank has, and query heads that ranks share."""

    def __init__(self):
        super().__init__()
        self.q, self.kv = nn.Linear(32, 32), nn.Linear(32, 16)

    def forward(self, x):
        q = self.q(x).unflatten(-1, (-1, 8)).transpose(1, 2)
        k, v = self.kv(x).unflatten(-1, (2, 1, 8)).permute(2, 0, 3, 1, 4)
        return functional.scaled_dot_product_attention(q, k.expand_as(q), v.expand_as(q))


def one_key_head_on_every_rank(mesh):
    torch.manual_seed(0)
    module = MultiQuery()
    x = torch.randn(1, 6, 32)
    with torch.no_grad():
        k = module.kv(x)[0, :, :8]
        ARRAYS["multi-query wanted"] = torch.softmax(
            module.q(x)[0].unflatten(-1, (4, 8)).transpose(0, 1) @ k.T / 8**0.5, -1
        ).numpy()
        parallelize_module(module, mesh, {"q": ColwiseParallel()})
        with aw.capture(module) as cap:
            module(x)
    with aw.gathered(cap) as whole:
        if whole is not None:
            ARRAYS["multi-query"] = whole.weights(0)


def heads_that_every_rank_has():
    torch.manual_seed(0)
    model = tf.GPT2Model(tf.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2)).eval()
    cap = aw.AttentionModel(model).capture(IDS[:1])
    with aw.gathered(cap) as whole:
        FOUND["not spread"] = [cap.notes, whole is cap, whole is None]


def tensors_that_are_not_local(mesh):
    module = MultiQuery()
    x = torch.randn(1, 6, 32)
    parallelize_module(module, mesh, {"q": ColwiseParallel(use_local_output=False)})

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x):
            q = self.inner.q(x).unflatten(-1, (4, 8)).transpose(1, 2)
            return functional.scaled_dot_product_attention(q, q, q).to_local()

    outer = Whole()
    with torch.no_grad():
        plain = outer(x)
        seen = []

        def run():
            with aw.capture(outer):
                seen.append(outer(x))

        FOUND["dtensor"] = error_of(run)
    FOUND["dtensor output"] = torch.equal(plain, seen[0])


def main():
    grouped_queries()
    mesh = init_device_mesh("cpu", (2,))
    only_what_is_looked_at_travels()
    another_rank_looks_and_factors_are_on_disk()
    factors_that_were_rounded()
    an_exception_lets_the_others_go_on()
    a_question_without_an_answer_is_the_last()
    dropout_and_questions_without_an_answer()
    other_inputs_on_each_rank()
    one_key_head_on_every_rank(mesh)
    heads_that_every_rank_has()
    tensors_that_are_not_local(mesh)


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        rank = distributed.get_rank() if distributed.is_initialized() else 0
        (FOLDER / f"found{rank}.json").write_text(json.dumps(FOUND))
        np.savez(FOLDER / f"arrays{rank}.npz", **ARRAYS)
    distributed.destroy_process_group()
