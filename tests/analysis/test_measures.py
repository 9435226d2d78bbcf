"""`cap.measure`: every name answers as its definition says, or says what is missing."""

import numpy as np
import pytest
import tiny
import torch
import transformers as tf
from captures import make_capture
from torch import nn
from torch.nn import functional

import attnwidget as aw
from attnwidget.analysis import PAIR_MEASURES
from attnwidget.attention import AttentionStack, LiftAttention

IDS = tiny.ids(1, 6)


class Block(nn.Module):
    """One head of attention, and what `forward` of a test makes of its output."""

    def __init__(self, after):
        super().__init__()
        torch.manual_seed(0)
        self.out, self.low, self.after = nn.Linear(8, 8), nn.Linear(8, 2), after

    def forward(self, x):
        heads = x[:, None]
        return self.after(self, functional.scaled_dot_product_attention(heads, heads, heads)[:, 0])


def watch(after):
    module = Block(after)
    with torch.no_grad(), aw.capture(module, values=True) as cap:
        module(torch.randn(1, 4, 8))
    return cap


def test_every_measure_has_its_shape_and_says_what_it_is():
    cap = aw.AttentionModel(tiny.llama()).capture(IDS, target=lambda output: output.logits[0, -1, 4])
    for name, measure in PAIR_MEASURES.items():
        assert all((measure.title, measure.formula, measure.range, measure.source, measure.caution))
        heads = (8,) if measure.per == "head" else ()
        assert cap.measure(name).shape == (4, *heads, 6, 6)
        assert cap.measure(name, 2, queries=[5], keys=(0, 2)).shape == (*heads, 1, 2)
        found = cap.measure(name, 2)
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        if measure.per == "head":
            np.testing.assert_allclose(cap.measure(name, 2, 5), found[5], rtol=1e-5)
            np.testing.assert_allclose(cap.measure(name, head=5)[2], found[5], rtol=1e-5)
        else:
            with pytest.raises(ValueError, match=f"measure '{name}' belongs to a layer as a whole, and head 5 was"):
                cap.measure(name, 2, 5)


def test_weights_scores_and_lift_are_what_their_methods_say():
    cap = aw.AttentionModel(tiny.gpt2()).capture(IDS)
    np.testing.assert_array_equal(cap.measure("weight", 1, 2), cap.weights(1, 2))
    np.testing.assert_array_equal(cap.measure("score", 1), cap.scores(1))
    np.testing.assert_array_equal(cap.measure("lift", queries=[4]), cap.lift(queries=[4]))
    stack = cap.stacks["self"]
    own = LiftAttention(stack.layers[1], stack.key_spans).weights(0, slice(2, 3), slice(0, 6), slice(0, 6))[0]
    np.testing.assert_allclose(cap.lift(1, 2), own * 6, rtol=1e-6)


def test_measures_of_words_and_without_keys_are_those_of_the_weights_shown():
    cap = make_capture(2, 2, 5).without_keys([0])
    mixed = cap.weights(0).mean(axis=0) + np.eye(5)
    np.testing.assert_allclose(cap.measure("rollout", 0), mixed / mixed.sum(axis=1, keepdims=True), atol=1e-6)


def test_what_does_not_exist_is_named():
    cap = make_capture()
    with pytest.raises(
        KeyError, match=r"there is no measure 'norms': there are 'weight', 'score', 'lift', 'value-weig"
    ):
        cap.measure("norms")
    with pytest.raises(IndexError, match="layer 3 does not exist: stack 'self' has layers 0 to 2"):
        cap.measure("rollout", 3)
    with pytest.raises(ValueError, match="carried has 1 entries and stack 'self' has 3 layers; expected one per layer"):
        AttentionStack("self", cap.stacks["self"].layers, carried=[None])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("value-weighted", "needs the values of the run, which stack 'self' does not hold: capture with values=True"),
        ("value-weighted-layer", "needs the values of the run"),
        ("gradient", "needs the gradient of the run, which stack 'self' does not hold: capture with target=a function"),
    ],
)
def test_a_capture_without_values_says_how_to_have_them(name, words, tmp_path):
    cap = aw.AttentionModel(tiny.gpt2()).capture(IDS)
    valued = aw.AttentionModel(tiny.gpt2()).capture(IDS, values=True)
    for one in (make_capture(), cap, valued.without_keys([0]), aw.load(valued.save(tmp_path / "run"))):
        with pytest.raises(aw.CaptureError, match=words):
            one.measure(name, 0)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (lambda self, x: self.out(torch.tanh(x)), "no linear map takes what its heads put out as it is"),
        (
            lambda self, x: self.out(x) + functional.pad(self.low(x), (0, 6)),
            "2 linear maps take what its heads put out",
        ),
    ],
)
def test_an_output_that_goes_elsewhere_has_no_projection(after, words):
    cap = watch(after)
    with pytest.raises(aw.CaptureError, match=f"needs the projection of layer 0 of stack 'self', not known.*{words}"):
        cap.measure("value-weighted", 0)
    assert watch(lambda self, x: self.out(x)).measure("value-weighted", 0).shape == (1, 4, 4)


def test_generated_texts_and_windows_say_why_they_have_no_values():
    model = tiny.gpt2()
    with torch.no_grad(), aw.capture(model, values=True) as cap:
        model.generate(IDS, max_new_tokens=3, do_sample=False, pad_token_id=0)
    with pytest.raises(
        aw.CaptureError, match="put together from several calls, each with values of its own: of a text that was"
    ):
        cap.measure("value-weighted", 0)
    torch.manual_seed(0)
    config = tf.SwinConfig(
        image_size=16, patch_size=2, num_channels=1, embed_dim=8, depths=[2], num_heads=[2], window_size=4
    )
    cap = aw.AttentionModel(tf.SwinModel(config).eval()).capture(torch.randn(1, 1, 16, 16), values=True)
    with pytest.raises(aw.CaptureError, match="attends within windows, and its values are those of windows"):
        cap.measure("value-weighted", 0)
    with pytest.raises(aw.CaptureError, match=r"no target was given: pass target= to model.capture"):
        aw.AttentionModel(model).capture(IDS, values=True).measure("gradient", 0)
