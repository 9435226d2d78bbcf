"""Words and hidden keys in the view: traits, what is sent again, and what is answered."""

import json
import struct
import zlib

import numpy as np
import pytest
import traitlets
from captures import make_capture, softmax
from ipykernel.comm import Comm

from attnwidget import AttentionCapture
from attnwidget.attention import Tokens
from attnwidget.widget.protocol import CODE_MASKED

PIECES = ["[CLS]", "un", "##believ", "##able", "cat", "[SEP]"]
STARTS = [0, 1, 4, 5]


@pytest.fixture
def cap():
    weights = softmax(np.random.default_rng(0).normal(size=(2, 2, 6, 6)) * 2).astype(np.float32)
    special = [piece.startswith("[") for piece in PIECES]
    return AttentionCapture.from_weights(weights, Tokens.from_pieces(PIECES, special=special))


def ask(view, layer=0, head=0, size=6, **more):
    block = {"layer": layer, "head": head, "queries": [0, size], "keys": [0, size]}
    params = {"stack": "self", "batch": 0, "blocks": [block]}
    reply = view._answerer.answer({"id": 1, "method": "values", "params": params, **more})
    if "error" in reply.content:
        return reply.content["error"]["code"]
    return np.frombuffer(reply.buffers[0], "<f4").reshape(size, size)


def first_embedded(view):
    raw = zlib.decompress(view.embed)
    (length,) = struct.unpack("<I", raw[:4])
    tile = json.loads(raw[4 : 4 + length])["tiles"][0]
    codes = np.frombuffer(raw[4 + length :], "<u2", tile["height"] * tile["width"])
    return codes.reshape(tile["height"], tile["width"])


def test_hidden_keys_are_left_out_of_answers_and_of_what_is_embedded(cap):
    view = cap.show(layer=1)
    assert (view.hidden_keys, view.words) == ([], False)
    assert view.meta["capture"] == 0
    view.hidden_keys = [5, 0]
    assert view.hidden_keys == [0, 5]
    expected = cap.without_keys([0, 5])
    np.testing.assert_array_equal(
        ask(view, 1, 1), np.where(expected.allowed(1, 1), expected.weights(1, 1), np.nan).astype(np.float32)
    )
    codes = first_embedded(view)
    assert (codes[:, [0, 5]] == CODE_MASKED).all()
    assert (codes[:, 1:5] != CODE_MASKED).all()
    assert view.meta["stacks"][0]["examples"][0]["hidden"] == [[0, "[CLS]"], [5, "[SEP]"]]
    view.hidden_keys = []
    np.testing.assert_array_equal(ask(view, 1, 1), cap.weights(1, 1))
    assert "hidden" not in view.meta["stacks"][0]["examples"][0]


def test_words_are_shown_and_what_is_locked_stays_locked(cap):
    view = cap.show(query=3, key=5, window=(0, 2, 0, 2))
    view.words = True
    assert (view.query, view.key, view.window) == (1, 3, None)
    example = view.meta["stacks"][0]["examples"][0]
    assert view.meta["words"] is True
    assert example["queries"]["text"] == ["[CLS]", "unbelievable", "cat", "[SEP]"]
    assert example["key_starts"] == [*STARTS, 6]
    np.testing.assert_array_equal(ask(view, size=4), cap.in_words().weights(0, 0))
    assert first_embedded(view).shape == (4, 4)
    with pytest.raises(traitlets.TraitError, match="query is 4: stack 'self' has queries 0 to 3"):
        view.query = 4
    view.query = 2
    view.words = False
    assert (view.query, view.key) == (4, 5)
    assert "words" not in view.meta
    assert ask(view).shape == (6, 6)


def test_hidden_tokens_stay_tokens_while_words_are_shown(cap):
    view = cap.show(words=True, hidden_keys=[1, 5])
    assert view.hidden_keys == [1, 5]
    expected = cap.without_keys([1, 5]).in_words()
    found = ask(view, size=4)
    np.testing.assert_array_equal(found, np.where(expected.allowed(0, 0), expected.weights(0, 0), np.nan))
    assert np.isnan(found[:, 3]).all()
    assert not np.isnan(found[:, 1]).any(), "two tokens of the word are left"
    assert view.meta["stacks"][0]["examples"][0]["hidden"] == [[1, "un"], [5, "[SEP]"]]


def test_what_was_asked_of_an_earlier_state_is_refused(cap):
    view = cap.show()
    assert isinstance(ask(view, capture=0), np.ndarray)
    view.hidden_keys = [0]
    assert view.meta["capture"] == 1
    assert ask(view, capture=0) == "superseded"
    assert np.isnan(ask(view, capture=1)[:, 0]).all()
    view.words = True
    assert view.meta["capture"] == 2
    assert ask(view, capture=1) == "superseded"


def test_the_page_hears_of_it_in_one_message(cap):
    sent = []

    class Heard(Comm):
        kernel = object()  # ipywidgets 7 sends nothing without one

        def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
            if msg_type == "comm_msg":
                sent.append({*data["state"], *(path[0] for path in data.get("buffer_paths", []))})

    view = cap.show(query=3)
    view.comm = Heard(show_warning=False)  # deprecated, and all that ipywidgets 7 takes
    view.words = True
    view.hidden_keys = [0]
    assert [keys for keys in sent if "meta" in keys] == [{"meta", "embed", "query"}, {"meta", "embed"}]


@pytest.mark.parametrize("value", [[6], [-1], [0, 0], [True]])
def test_wrong_keys_are_refused(cap, value):
    view = cap.show(hidden_keys=[2])
    with pytest.raises(traitlets.TraitError) as caught:
        view.hidden_keys = value
    assert str(caught.value) == (f"hidden_keys is {value}: expected keys of stack 'self', 0 to 5, each at most once")
    assert view.hidden_keys == [2]
    assert view.meta["stacks"][0]["examples"][0]["hidden"] == [[2, "##believ".removeprefix("##")]]
    with pytest.raises(traitlets.TraitError, match="expected keys of stack 'self', 0 to 5"):
        cap.show(hidden_keys=value)


def test_closing_the_capture_closes_what_is_shown_of_it(cap):
    view = cap.show(words=True, hidden_keys=[0])
    cap.close()
    assert ask(view, size=4) == "closed"
    view.close()


def test_a_closed_capture_leaves_the_traits_free(cap):
    view = cap.show()
    cap.close()
    view.words = True
    assert ask(view) == "closed"


def test_another_stack_has_other_keys_and_hides_none_of_them():
    one, two = make_capture(queries=6), make_capture(layers=1, heads=2, queries=3, keys=4)
    cross = two.stacks["self"]
    cross.name = "cross"
    view = AttentionCapture([one.stacks["self"], cross]).show(hidden_keys=[5], layer=2)
    view.stack = "cross"
    assert (view.hidden_keys, view.layer) == ([], 0)
    assert all("hidden" not in example for stack in view.meta["stacks"] for example in stack["examples"])


def test_a_head_longer_than_its_picture_names_its_sinks_with_the_strips():
    scores = np.random.default_rng(0).normal(size=(1, 2, 600, 600))
    scores[:, 1, :, 7] += 9
    view = AttentionCapture.from_weights(softmax(scores).astype(np.float32)).show()

    def strips(head, last=600):
        place = {"stack": "self", "batch": 0, "layer": 0, "head": head, "height": 9, "width": 9}
        params = {**place, "queries": [0, last], "keys": [0, 600]}
        return view._answerer.answer({"id": 1, "method": "marginals", "params": params}).content["ok"]

    assert strips(0)["sinks"] == []
    ((key, share),) = strips(1)["sinks"]
    assert key == 7
    assert share == pytest.approx(softmax(scores)[0, 1, :, 7].mean(), abs=0.02)
    assert "sinks" not in strips(1, last=599)
    view.hidden_keys = [7]
    assert strips(1)["sinks"] == []
