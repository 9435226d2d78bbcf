"""Other measures in the place of weights: what a view shows of them, and what the page is told and sent."""

import dataclasses
import gc
import json
import weakref
import zlib

import numpy as np
import pytest
import tiny
import torch
from traitlets import TraitError

import attnwidget as aw
from attnwidget.analysis import PAIR_MEASURES
from attnwidget.analysis.measured import LENSES, measured
from attnwidget.widget.codes import decode
from attnwidget.widget.requests import Answerer

TOKENS = 9


@pytest.fixture(scope="module")
def capture():
    model = aw.AttentionModel(tiny.llama())
    ids = torch.arange(1, TOKENS + 1)[None]
    return model.capture(ids, values=True, target=lambda output: output.logits[0, -1, 3])


def expected(capture, name, layer, head):
    """By the public question."""
    alone = {} if PAIR_MEASURES[name].per == "layer" else {"head": head}
    return capture.measure(name, layer, **alone)


def sent(view, method, **params):
    reply = view._answerer.answer({"id": 1, "method": method, "params": {"stack": "self", "batch": 0, **params}})
    assert "ok" in reply.content, reply.content
    return reply


@pytest.mark.parametrize("name", LENSES)
def test_the_page_gets_the_numbers_of_the_measure(capture, name):
    view = capture.show(measure=name, layer=2)
    (stack,) = view.meta["stacks"]
    reading = view._shown().reading
    assert stack["measure"]["unit"] == reading.unit
    assert stack["measure"]["words"] == f"{PAIR_MEASURES[name].title} ({PAIR_MEASURES[name].short_source})"
    assert stack["measure"]["caution"] == PAIR_MEASURES[name].caution
    assert stack["measure"].get("signed", False) == PAIR_MEASURES[name].signed
    head = 0 if PAIR_MEASURES[name].per == "layer" else 3
    assert stack["heads"] == (1 if PAIR_MEASURES[name].per == "layer" else 8)
    numbers = expected(capture, name, 2, head)
    allowed = np.tri(TOKENS, dtype=bool)
    block = {"layer": 2, "head": head, "queries": [0, TOKENS], "keys": [0, TOKENS]}
    reply = sent(view, "values", blocks=[block])
    shares = np.frombuffer(reply.buffers[0], "<f4").reshape(TOKENS, TOKENS)
    assert (np.isnan(shares) == ~allowed).all()
    largest = np.abs(numbers[allowed]).max()
    np.testing.assert_allclose(reading.numbers(shares)[allowed], numbers[allowed], rtol=5e-6, atol=1e-9 * reading.unit)
    item = {**block, "height": TOKENS, "width": TOKENS, "reduce": "max", "dtype": "u16"}
    codes = np.frombuffer(sent(view, "tiles", tiles=[item]).buffers[0], "<u2").reshape(TOKENS, TOKENS)
    assert ((codes == 0) == ~allowed).all()
    drawn = np.where(codes == 2, 0, decode(codes)) if not reading.signed else decode(codes)
    np.testing.assert_allclose(
        reading.numbers(drawn)[allowed], numbers[allowed], rtol=1.2e-3, atol=1e-3 * largest + 2e-7 * reading.unit
    )
    view.head = head
    np.testing.assert_allclose(view.numbers().values[allowed], numbers[allowed], rtol=5e-6, atol=1e-9 * reading.unit)
    view.close()


def test_of_several_signed_numbers_the_one_of_largest_size_is_drawn(capture):
    view = capture.show(measure="gradient")
    reading = view._shown().reading
    numbers = np.where(np.tri(TOKENS, dtype=bool), capture.measure("gradient", 1, 2), np.nan)
    item = {"layer": 1, "head": 2, "queries": [0, TOKENS], "keys": [0, TOKENS], "height": 3, "width": 3}
    codes = np.frombuffer(sent(view, "tiles", tiles=[{**item, "reduce": "max", "dtype": "u16"}]).buffers[0], "<u2")
    blocks = numbers.reshape(3, 3, 3, 3).swapaxes(1, 2).reshape(9, 9)
    for code, block in zip(codes, blocks, strict=True):
        known = block[~np.isnan(block)]
        if not len(known):
            assert code == 0
            continue
        largest = known[np.abs(known).argmax()]
        assert reading.numbers(decode(np.array([code])))[0] == pytest.approx(largest, rel=2e-3, abs=1e-6)
    assert (numbers < 0).any()
    assert (numbers > 0).any()


def stored_codes(view, layer, head, tokens):
    """The codes of a whole head that came with the view."""
    raw = zlib.decompress(view.embed)
    length = int.from_bytes(raw[:4], "little")
    tiles = json.loads(raw[4 : 4 + length])["tiles"]
    tile = next(one for one in tiles if (one["layer"], one["head"], one["dtype"]) == (layer, head, "u16"))
    start = 4 + length + tile["offset"]
    return np.frombuffer(raw, "<u2", tokens * tokens, start).reshape(tokens, tokens)


def test_what_a_saved_notebook_holds_is_the_measure(capture):
    view = capture.show(measure="value-weighted", layer=1, head=1)
    codes = stored_codes(view, 1, 1, TOKENS)
    lower = np.tri(TOKENS, dtype=bool)
    numbers = view._shown().reading.numbers(np.where(codes == 2, 0, decode(codes)))
    np.testing.assert_allclose(numbers[lower], capture.measure("value-weighted", 1, 1)[lower], rtol=1e-3, atol=1e-7)


def test_a_measure_comes_and_goes_with_the_trait(capture):
    view = capture.show(layer=1, head=3, domain=(0.1, 0.5))
    before = view.meta["capture"]
    view.measure = "rollout"
    assert (view.head, view.meta["stacks"][0]["heads"], view.domain) == (0, 1, (0.1, 0.5))
    assert view.meta["capture"] == before + 1
    view.measure = "gradient"
    assert (view.head, view.domain) == (3, None)
    view.measure = "weight"
    assert view.head == 3
    assert "measure" not in view.meta["stacks"][0]
    assert view.meta["capture"] == before + 3
    view.measure = "rollout"
    view.set_state({"measure": "weight", "head": 6})
    assert view.head == 6, "one that is chosen together with the measure stays"


def test_heads_are_told_apart_by_their_weights_whatever_is_shown(capture):
    plain, other = capture.show(), capture.show(measure="gradient")
    first, second = (sent(view, "patterns") for view in (plain, other))
    assert first.content == second.content
    assert first.buffers == second.buffers


def test_the_detail_of_a_pair_is_that_of_its_weight_whatever_is_shown(capture):
    shown = sent(capture.show(measure="gradient", layer=2), "detail", layer=2, head=3, query=7, key=2)
    plain = sent(capture.show(layer=2), "detail", layer=2, head=3, query=7, key=2)
    assert shown.content["ok"] == plain.content["ok"]
    assert shown.buffers == plain.buffers
    view = capture.show(measure="rollout", layer=2)
    pair = {"stack": "self", "batch": 0, "layer": 2, "head": 0, "query": 7, "key": 2}
    reply = view._answerer.answer({"id": 1, "method": "detail", "params": pair})
    assert reply.content["error"]["message"] == (
        "attention rollout belongs to layers; scores, q and k belong to one head"
    )


def test_figures_and_pages_call_a_layer_a_layer_and_nothing_nothing(capture, tmp_path):
    signed = capture.show(measure="gradient", layer=2, head=3)
    written = signed.to_svg(tmp_path / "signed.svg").read_text(encoding="utf-8")
    assert ">0</text>" in written
    assert " to " in written.partition("range of this head")[2][:30]
    view = capture.show(measure="rollout", layer=2)
    written = view.to_svg(tmp_path / "whole.svg").read_text(encoding="utf-8")
    assert "· layer 2<" in written
    assert "range of this layer 0 – " in written
    page = view.static()
    assert page.embedded.words.startswith("Stored in this page, of 4 layers: ")
    assert "x 1 heads" not in page.summary


def test_layers_as_a_whole_have_no_heads_to_tell_apart(capture):
    view = capture.show(
        colour_by="entropy", sort="previous", filter=("sink", 0.1), like=(1, 2), maps={"one": np.eye(4, 8)}
    )
    view.measure = "rollout"
    assert (view.colour_by, view.sort, view.filter, view.like) == (None, None, None, None)
    assert view.meta["measures"] == [["pair", "locked pair", ""]]
    assert view.maps[0]["why"] == "what is shown belongs to layers, and has no heads"
    view.sort = "pair"
    with pytest.raises(TraitError, match="colour_by is 'entropy': expected one of pair, or None"):
        view.colour_by = "entropy"
    reply = view._answerer.answer({"id": 1, "method": "patterns", "params": {"stack": "self", "batch": 0}})
    assert reply.content["error"]["message"] == "attention rollout belongs to layers: there are no heads to measure"
    view.measure = "weight"
    assert "why" not in view.maps[0]
    view.colour_by = "one"


@pytest.mark.parametrize(
    ("options", "name", "words"),
    [
        (
            {},
            "value-weighted",
            "needs the values of the run, which stack 'self' does not hold: capture with values=True",
        ),
        ({}, "gradient", "needs the gradient of the run, which stack 'self' does not hold: capture with target="),
        ({"layers": [1, 2]}, "rollout", "needs every head of every layer from the first on"),
    ],
)
def test_a_measure_that_there_is_not_is_refused_and_says_why(options, name, words):
    view = aw.AttentionModel(tiny.llama()).capture(torch.arange(1, 6)[None], **options).show()
    with pytest.raises(TraitError, match=f"^measure is '{name}': .*{words}"):
        view.measure = name
    assert view.measure == "weight"
    told = {each[0]: each for each in view.meta["pair_measures"]}
    assert words in told[name][3]
    assert told["weight"][3] == ""
    assert [each[0] for each in view.meta["pair_measures"]] == list(PAIR_MEASURES)
    assert "Vaswani et al. 2017" in told["score"][2]


def test_what_would_take_a_view_too_long_is_refused():
    long = aw.AttentionCapture.from_weights([torch.eye(96).expand(1, 2, 96, 96)] * 3)
    words = "every pair of 96 tokens is estimated to take 25 s, and a view waits 10 at most: look at a shorter text"
    with pytest.raises(TraitError, match=words):
        long.show(measure="flow")
    with pytest.raises(TraitError, match="scores need q and k, and this layer holds weights only"):
        long.show(measure="score")
    longer = aw.AttentionCapture.from_weights([np.broadcast_to(np.float32(1 / 9000), (1, 1, 9000, 9000))])
    words = "'rollout' of 9,000 tokens takes 308 MB for all layers, and a view at most 256"
    with pytest.raises(ValueError, match=words):
        measured(longer, "rollout", stack="self")


def test_another_stack_without_the_measure_shows_weights():
    model = aw.AttentionModel(tiny.bart())
    ids = torch.arange(1, 7)[None]
    capture = model.capture({"input_ids": ids, "decoder_input_ids": ids[:, :4]})
    view = capture.show(stack="encoder", measure="rollout")
    view.stack = "decoder"
    assert view.measure == "rollout"
    assert "measure" in next(one for one in view.meta["stacks"] if one["name"] == "decoder")
    assert "measure" not in next(one for one in view.meta["stacks"] if one["name"] == "encoder")
    view.stack = "cross"
    assert view.measure == "weight"
    assert not any("measure" in one for one in view.meta["stacks"])


def test_rows_without_some_keys_that_have_no_such_measure_are_weights(capture):
    view = capture.show(measure="value-weighted")
    view.hidden_keys = [0]
    assert (view.measure, view.hidden_keys) == ("weight", [0])
    why = {each[0]: each[3] for each in view.meta["pair_measures"]}
    assert "capture with values=True" in why["value-weighted"]
    view.measure = "rollout"
    numbers = capture.without_keys([0]).measure("rollout", 1)
    np.testing.assert_allclose(view._shown().layers[1].weights(0, slice(0, 1), slice(0, 9), slice(0, 9))[0], numbers)


def test_domains_are_in_the_numbers_of_the_measure(capture):
    assert capture.show(measure="gradient", domain=(-0.2, 0.2)).domain == (-0.2, 0.2)
    assert capture.show(measure="value-weighted", domain=(0, 30)).domain == (0, 30)
    with pytest.raises(TraitError, match=r"expected \(-c, c\) with c > 0, as far below 0 as above it, or None"):
        capture.show(measure="score", domain=(0, 1))
    with pytest.raises(TraitError, match=r"expected \(low, high\) with 0 <= low < high <= 1, or None"):
        capture.show(measure="rollout", domain=(0, 3))


def test_rows_of_a_measure_are_not_added_up(capture):
    view = capture.show(measure="gradient")
    params = {"stack": "self", "batch": 0, "layer": 0, "head": 0, "window": [0, 9, 0, 9], "height": 9, "width": 9}
    params |= {"queries": [0, 9], "keys": [0, 9]}
    error = view._answerer.answer({"id": 1, "method": "marginals", "params": params}).content["error"]
    assert error["message"] == "rows of gradient × attention are no distribution: there is nothing to add up"


def test_the_mean_of_signed_heads_is_that_of_their_numbers(capture):
    view = capture.show(measure="gradient")
    item = {"aggregate": "mean", "layers": [1], "heads": [0, 2], "queries": [0, TOKENS], "keys": [0, TOKENS]}
    shares = np.frombuffer(sent(view, "values", blocks=[item]).buffers[0], "<f4").reshape(TOKENS, TOKENS)
    lower = np.tri(TOKENS, dtype=bool)
    mean = capture.measure("gradient", 1)[[0, 2]].mean(axis=0)
    np.testing.assert_allclose(view._shown().reading.numbers(shares)[lower], mean[lower], rtol=1e-4, atol=1e-8)
    worst = capture.aggregate("max", layers=[1], heads=[0, 2])
    assert worst.weights(0, 0).min() >= 0


def test_closing_frees_what_was_worked_out(capture):
    answerer = Answerer(capture)
    answerer.close()
    view = capture.show(measure="rollout")
    view.close()
    assert view._lenses is None


def test_a_measure_that_is_not_shown_any_more_is_let_go_of(capture):
    view = capture.show(measure="rollout")
    view.numbers()
    shown = weakref.ref(view._shown())
    view.measure = "weight"
    gc.collect()
    assert shown() is None


def test_layers_as_one_are_those_of_the_measure(capture):
    view = capture.show(measure="rollout", aggregate="mean", over="layers")
    numbers = capture.measure("rollout")
    lower = np.tri(TOKENS, dtype=bool)
    np.testing.assert_allclose(view.numbers().values[lower], numbers.mean(axis=0)[lower], rtol=1e-6)
    assert "mean of all 4 layers" in view.numbers().about
    view.aggregate = None
    assert "· self · layer 0 · queries" in view.numbers().about


@pytest.mark.parametrize("lost", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["value-weighted", "gradient"])
def test_what_overflowed_says_nothing_about_the_other_numbers(capture, name, lost):
    stack = capture.example(0).stacks["self"]
    values = stack.carried[0].values.clone()
    values[0, 0, 4] = lost
    whole = capture.show(measure=name)._shown().reading.unit
    stack = stack.with_layers(stack.layers)
    stack.carried = [
        dataclasses.replace(capture.stacks["self"].carried[0], values=values),
        *capture.stacks["self"].carried[1:],
    ]
    made = measured(aw.AttentionCapture([stack]), name, stack="self").stacks["self"]
    assert 0.5 * whole < made.reading.unit <= whole
    numbers = made.layers[0].weights(0, slice(0, 1), slice(0, TOKENS), slice(0, TOKENS))[0]
    back = made.reading.numbers(made.reading.shares(numbers))
    np.testing.assert_allclose(back[8, :4], capture.measure(name, 0, 0)[8, :4], rtol=1e-5)
    assert not np.isfinite(back[8, 4])


def test_rollout_of_a_model_that_overflowed_is_not_called_masked():
    model = tiny.llama()
    with torch.no_grad():
        model.model.layers[1].self_attn.q_proj.weight *= 1e38
    with pytest.warns(aw.AttentionWarning, match="not numbers"):
        view = aw.AttentionModel(model).capture(torch.arange(1, 7)[None]).show(measure="rollout", layer=1)
    block = {"layer": 1, "head": 0, "queries": [4, 5], "keys": [0, 5]}
    assert (np.frombuffer(sent(view, "values", blocks=[block]).buffers[0], "<f4") == -1).all()


def test_a_state_that_is_refused_is_taken_back_from_the_page(capture):
    view = capture.show(head=3)
    told = []
    view.send_state = lambda key=None: told.append(key)
    with pytest.raises(TraitError, match="head is 5: stack 'self' has heads 0 to 0"):
        view.set_state({"measure": "rollout", "head": 5})
    assert (view.measure, view.head) == ("weight", 3)
    assert {"measure", "head"} in [set(keys) for keys in told if keys is not None]


def test_a_live_view_measures_every_text():
    view = aw.demo().show("Mary gave the ball to", values=True, measure="value-weighted")
    view.text = "John took the drink"
    assert (view.run["state"], view.measure) == ("idle", "value-weighted")
    assert view.meta["stacks"][0]["measure"]["words"].startswith("length of the value-weighted vector")


def test_a_text_that_ran_while_another_measure_was_chosen_is_shown_by_that_one():
    model = aw.demo()
    view = model.show("Mary gave the ball to", values=True)
    made = view._made("John took the drink", lambda: False)  # of the page's run, in its thread
    view.measure = "value-weighted"
    view._show_text("John took the drink", made, 0.1)
    tokens = len(view.capture.tokens)
    numbers = view._shown().reading.numbers(decode(stored_codes(view, 0, 0, tokens)))
    lower = np.tri(tokens, dtype=bool)
    np.testing.assert_allclose(
        numbers[lower], view.capture.measure("value-weighted", 0, 0)[lower], rtol=1e-3, atol=1e-7
    )


def test_a_text_that_has_no_such_measure_is_shown_by_its_weights():
    view = aw.demo().show("Mary gave the ball to", measure="flow")
    view.text = "Mary gave the ball to John . " * 12
    assert (view.measure, view.run["state"]) == ("weight", "idle")
    assert "measure" not in view.meta["stacks"][0]
    tokens = len(view.capture.tokens)
    assert len(view.meta["stacks"][0]["examples"][0]["queries"]["index"]) == tokens
    lower = np.tri(tokens, dtype=bool)
    np.testing.assert_allclose(view.numbers().values[lower], view.capture.weights(0, 0)[lower], rtol=1e-6)


def test_lift_is_of_weights_alone(capture):
    view = capture.show(measure="gradient")
    block = {"layer": 0, "head": 0, "queries": [0, 1], "keys": [0, 1]}
    params = {"stack": "self", "batch": 0, "measure": "lift", "blocks": [block]}
    error = view._answerer.answer({"id": 1, "method": "values", "params": params}).content["error"]
    assert error == {"code": "invalid", "message": "lift is of weights, and this view shows the gradient × attention"}


def test_scores_of_pairs_that_the_mask_forbids_do_not_count_in_a_mean(capture):
    made = measured(capture, "score", stack="self")
    mean = made.aggregate("mean").weights(0, 0)
    assert (mean[~np.tri(TOKENS, dtype=bool)] == 0).all()
    allowed = np.tri(TOKENS, dtype=bool)
    np.testing.assert_allclose(mean[allowed], capture.scores().mean(axis=(0, 1))[allowed], rtol=1e-4, atol=1e-5)


def test_the_text_in_the_place_of_a_view_says_what_it_shows(capture):
    view = capture.show(measure="rollout", layer=2)
    told = view._preview()["text/plain"]
    assert "Shown: self, layer 2, attention rollout (Abnar and Zuidema 2020). Run the cell again" in told
