"""Tensor-parallel models: two processes share the heads, and the first sees all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as tf

import attnwidget as aw

pytest.importorskip("transformers.distributed", reason="this version of transformers shards no models on the CPU")
if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("this build of torch has no gloo to talk over", allow_module_level=True)

SIZE = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
GENERATOR = torch.Generator().manual_seed(0)
INPUTS = {"input_ids": torch.randint(2, 50, (2, 12), generator=GENERATOR), "attention_mask": torch.ones(2, 12).long()}
INPUTS["attention_mask"][0, :3] = 0


def llama(**options):
    torch.manual_seed(0)
    return tf.LlamaModel(tf.LlamaConfig(**SIZE, num_key_value_heads=2, **options)).eval()


class Ran:
    """What the two processes left."""

    def __init__(self, folder):
        self.found = [json.loads((folder / f"found{rank}.json").read_text()) for rank in (0, 1)]
        self.arrays = [dict(np.load(folder / f"arrays{rank}.npz")) for rank in (0, 1)]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    llama().save_pretrained(folder / "grouped")
    llama(attention_dropout=0.3).save_pretrained(folder / "dropping")
    np.savez(folder / "inputs.npz", **{name: tensor.numpy() for name, tensor in INPUTS.items()})
    worker = Path(__file__).parent / "tensor_parallel_worker.py"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, str(worker), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Ran(folder)


@pytest.fixture(scope="module")
def wanted():
    """The unsharded model's own weights, (L, B, H, T, T)."""
    eager = llama()
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        return torch.stack(eager(**INPUTS, output_attentions=True).attentions).numpy()


def test_every_rank_keeps_its_heads(ran, wanted):
    for rank in (0, 1):
        found, arrays = ran.found[rank], ran.arrays[rank]
        assert found["same output"]
        assert found["own ranks"] == [0, 1]
        note = (
            f"heads are spread over ranks 0, 1, and this capture holds part {rank} of 2, counted from head 0: "
            "`with aw.gathered(cap) as whole:`, run by all of them, shows all heads on the first"
        )
        assert found["own notes"] == [note]
        assert "note: heads are spread over ranks 0, 1" in found["own repr"]
        np.testing.assert_allclose(arrays["own"], wanted[:, 1, 2 * rank : 2 * rank + 2], atol=1e-6)


def test_the_first_rank_sees_all_heads_in_order(ran, wanted):
    found, arrays = ran.found[0], ran.arrays[0]
    assert [one["given"] for one in ran.found] == ["AttentionCapture", "NoneType"]
    np.testing.assert_allclose(arrays["weights 0"], wanted[:, 0, :, 3:, 3:], atol=1e-6)
    np.testing.assert_allclose(arrays["weights 1"], wanted[:, 1], atol=1e-6)
    np.testing.assert_allclose(arrays["pair"], wanted[:, 1, :, 7, 2], atol=1e-6)
    np.testing.assert_allclose(arrays["picked"], wanted[1, 1, 3][[5, 1], :4], atol=1e-6)
    alone = aw.AttentionModel(llama(), name="tiny").capture(dict(INPUTS))
    details = [alone.detail(1, head, 5, 2, batch=1) for head in range(4)]
    np.testing.assert_allclose(arrays["products"], [one.products for one in details], atol=1e-5)
    assert found["key heads"] == [one.key_head for one in details]
    np.testing.assert_allclose(arrays["scores 1"], alone.scores(batch=1), atol=1e-5)
    for batch in (0, 1):
        np.testing.assert_array_equal(arrays[f"allowed {batch}"], alone.allowed(batch=batch))
    for reduce in ("max", "mean"):
        tiles = [alone.tile(1, head, height=3, width=4, reduce=reduce, batch=1).values for head in range(4)]
        np.testing.assert_allclose(arrays[f"tiles {reduce}"], np.stack(tiles), atol=1e-6)
    assert found["infos"] == [[4, 2, 8]] * 2
    assert found["verified"] == [True, 2]
    assert found["notes"] == []
    assert found["tokens"] == alone.tokens
    assert "2 layers x 4 heads, 2 examples of 9 to 12 tokens" in found["repr"]
    assert "q k float32, causal, padding, over 2 ranks" in found["repr"]
    assert found["threads"]
    assert found["bad head"] == "IndexError: head 4 does not exist: stack 'self' has heads 0 to 3"


def test_rounded_factors_are_checked_by_what_rounding_explains_on_all_ranks(ran):
    alone = aw.AttentionModel(llama()).capture(dict(INPUTS), dtype="bfloat16").verify().layers
    assert len(ran.found[0]["rounded"]) == len(alone) == 2
    for (ok, error, tolerance), check in zip(ran.found[0]["rounded"], alone, strict=True):
        assert ok
        assert error == pytest.approx(check.error, rel=0.3)
        assert tolerance == pytest.approx(check.tolerance, rel=1e-3)


def test_after_the_block_the_other_ranks_are_gone_and_what_is_here_is_not(ran, wanted):
    assert ran.found[0]["after"] == (
        "CaptureError: the other ranks have gone on: ask within the `with aw.gathered(cap)` block, while they wait"
    )
    np.testing.assert_allclose(ran.arrays[0]["still here"], wanted[0, 1, 0, 3:4], atol=1e-6)


def test_only_what_is_looked_at_travels(ran):
    own, received = ran.found[0]["travelled"]
    assert own == 0, "a head of this rank asks nobody"
    assert received == [8 * 8 * 4], "of 400 x 400 weights, the 8 x 8 cells"
    alone = aw.AttentionModel(llama()).capture(torch.arange(400)[None] % 50)
    wanted = alone.tile(0, 3, height=8, width=8).values
    np.testing.assert_allclose(ran.arrays[0]["long tile"], wanted, atol=1e-6)


def test_another_rank_may_look_from_disk(ran, wanted):
    assert [one["second looks"] for one in ran.found] == [False, True]
    np.testing.assert_allclose(ran.arrays[1]["from the second"], wanted[:, 1], atol=0.02)
    assert ran.found[1]["held"]["disk"] > 0
    for found in ran.found:
        assert found["no such rank"] == "ValueError: rank is 2; expected one of those that share the heads: 0, 1"


def test_an_exception_where_one_looks_lets_the_others_go_on(ran):
    assert [one["exception"] for one in ran.found] == ["KeyError: 'mine'", "none"]
    assert [one["again"] for one in ran.found] == [[2, 4, 9, 9], None]


def test_after_a_question_without_an_answer_none_is_asked_until_the_block_is_opened_again(ran):
    for number, error in enumerate(("KeyboardInterrupt", "RuntimeError: Connection closed by peer")):
        first, later = ran.found[0][f"interrupted {number}"]
        text = "CaptureError: a question to rank 1 got no answer (" + error
        assert first.startswith(text if number else "KeyboardInterrupt")
        assert later.startswith(text)
        assert later.endswith("might get the wrong one: leave the block, and open it again on all ranks")
    assert [one["after interruptions"] for one in ran.found] == [[2, 4, 9, 9], None]


def test_training_with_dropout_and_questions_without_an_answer(ran):
    assert all(one["trains"] for one in ran.found)
    dropped = ran.arrays[0]["dropped"]
    assert dropped.shape == (2, 4, 12, 12)
    with torch.no_grad():
        eager = llama()
        eager.set_attn_implementation("eager")
        first = eager(INPUTS["input_ids"], output_attentions=True).attentions[0][1].numpy()
    left = dropped[0] != 0
    np.testing.assert_allclose(dropped[0][left] * 0.7, first[left], atol=1e-6)
    text = "ValueError: scores need q and k, and this layer holds weights only"
    assert ran.found[0]["no scores here"].startswith(text)
    assert ran.found[0]["no scores there"].startswith(text)
    assert ran.found[0]["no scores there"].endswith("(on rank 1)")


def test_captures_of_different_runs_are_refused_on_every_rank(ran):
    texts = [one["other lengths"] for one in ran.found]
    assert texts[0] == texts[1]
    assert texts[0] == (
        "CaptureError: (examples, queries, keys) of layer 0 of stack 'self' are (2, 5, 5) on rank 1 and (2, 12, 12) on "
        "rank 0; expected captures of the same run of the same model on all ranks"
    )
    texts = [one["other tokens"] for one in ran.found]
    assert texts[0] == texts[1]
    assert "tokens of stack 'self' begin with ('l', 'k', 'j', 'i', 'h') on rank 1 and ('a', 'b', 'c', 'd'," in texts[0]
    texts = [one["not spread, not the same"] for one in ran.found]
    assert texts[0] == texts[1]
    assert "layer 0 of stack 'self' is not spread over ranks, as far as its parameters tell, and computed" in texts[0]
    texts = [one["not readable"] for one in ran.found]
    assert (
        texts[0]
        == texts[1]
        == ("CaptureError: rank 0 cannot read its capture (TypeError: 'NoneType' object is not callable)")
    )
    assert [one["after other lengths"] for one in ran.found] == [True, False]


def test_a_key_head_that_every_rank_has(ran):
    np.testing.assert_allclose(ran.arrays[0]["multi-query"], ran.arrays[0]["multi-query wanted"], atol=1e-6)


def test_heads_that_every_rank_has_are_whole_already(ran):
    assert [one["not spread"] for one in ran.found] == [[[], True, False], [[], False, True]]


def test_tensors_that_are_not_local_are_refused(ran):
    for found in ran.found:
        assert found["dtensor output"]
        assert "its tensors are DTensors, spread over ranks by a rule of their own" in found["dtensor"]


def test_without_torchrun_the_capture_is_whole():
    cap = aw.AttentionModel(llama()).capture(dict(INPUTS))
    with aw.gathered(cap) as whole:
        assert whole is cap
    assert cap.notes == ()
