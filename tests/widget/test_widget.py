import gc
import threading
import weakref

import ipywidgets
import numpy as np
import pytest
import torch
import traitlets
import transformers
from captures import make_capture
from IPython.core.formatters import DisplayFormatter

from attnwidget import AttentionCapture, AttentionModel, AttentionWidget, close_all
from attnwidget.attention import AttentionStack, Tokens


def test_it_starts_with_the_traits_given(capture):
    view = capture.show(layer=2, head=3, query=1, panels=("grid", "lines"), scale="log")
    assert (view.layer, view.head, view.query, view.key) == (2, 3, 1, None)
    assert view.panels == ["grid", "lines"]
    assert view.stack == "self"


def test_ipython_shows_the_bundle_of_a_view(capture):
    view = capture.show()
    data, _ = DisplayFormatter().format(view)
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == view.model_id
    assert {"text/plain", "image/png"} <= data.keys()


def test_meta_names_model_stacks_and_tokens():
    meta = make_capture(layers=2, heads=3, queries=4, keys=5).show().meta
    (stack,) = meta["stacks"]
    assert (meta["version"], stack["name"], stack["layers"], stack["heads"]) == (2, "self", 2, 3)
    assert stack["examples"][0]["queries"]["piece"] == ["t0", "t1", "t2", "t3"]
    assert stack["examples"][0]["keys"]["piece"] == ["k0", "k1", "k2", "k3", "k4"]


def test_a_text_that_repeats_itself_travels_folded_and_unfolds_to_the_same_tokens():
    pieces = ["[CLS]", "the", "##re", "the", "[PAD]", "the", "##re", "the", "##re", "[PAD]"] * 3
    special = [piece.startswith("[") for piece in pieces]
    tokens = Tokens.from_pieces(pieces, special=special, segment=[i // 15 for i in range(30)])
    weights = np.full((1, 1, 30, 30), 1 / 30, dtype=np.float32)
    sent = AttentionCapture.from_weights(weights, tokens).show().meta["stacks"][0]["examples"][0]["queries"]
    assert len(sent["piece"]) <= 15
    assert len(sent["index"]) == 30
    for name, whole in {
        "piece": tokens.pieces,
        "text": tokens.text,
        "gap": tokens.gap,
        "special": tokens.special,
        "segment": tokens.segment,
    }.items():
        assert [sent[name][place] for place in sent["index"]] == list(whole), name


def test_a_text_of_different_tokens_has_no_index():
    (stack,) = make_capture(queries=4, keys=4).show().meta["stacks"]
    assert "index" not in stack["examples"][0]["queries"]


def test_equal_queries_and_keys_are_sent_once(capture):
    assert capture.show().meta["stacks"][0]["examples"][0]["keys"] is None


def test_a_lone_surrogate_does_not_break_the_message():
    weights = np.full((1, 1, 2, 2), 0.5, dtype=np.float32)
    view = AttentionCapture.from_weights(weights, ["\ud83d", "ok"]).show()
    assert view.meta["stacks"][0]["examples"][0]["queries"]["piece"][0] == "\\ud83d"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("layer", 3, "layer is 3: stack 'self' has layers 0 to 2"),
        ("layer", -1, "layer is -1: stack 'self' has layers 0 to 2"),
        ("head", 4, "head is 4: stack 'self' has heads 0 to 3"),
        ("query", 7, "query is 7: stack 'self' has queries 0 to 6"),
        ("key", 7, "key is 7: stack 'self' has keys 0 to 6"),
        ("batch", 1, "batch is 1: stack 'self' has examples 0 to 0"),
        ("stack", "cross", "stack is 'cross': this capture has 'self'"),
        ("panels", [], "expected one or more of grid, heatmap, lines, graph, text, detail, output, each once"),
        ("panels", ["grid", "grid"], "each once"),
        ("domain", (0.5, 0.2), r"domain is (0.5, 0.2): expected (low, high) with 0 <= low < high <= 1, or None"),
        ("scale", "cubic", "scale"),
        ("measure", "rank", "measure"),
        ("diverging", "oslo", "diverging"),
        ("threshold", 2.0, "threshold"),
        ("threshold", float("nan"), "threshold is NaN: expected a number from 0 to 1"),
        ("threshold_kind", "share", "threshold_kind"),
        ("heads", [4], "heads is [4]: expected some of the heads 0 to 3 of stack 'self', each once, or []"),
        ("heads", [1, 1], "heads is [1, 1]: expected some of the heads"),
        ("aggregate", "sum", "aggregate"),
        ("over", "all", "over"),
        ("query", True, "query is True: expected a whole number"),
    ],
)
def test_a_bad_value_is_refused_and_changes_nothing(capture, name, value, text):
    view = capture.show(layer=1)
    before = getattr(view, name)
    with pytest.raises(traitlets.TraitError) as caught:
        setattr(view, name, value)
    assert text in str(caught.value)
    assert getattr(view, name) == before


def test_a_bad_value_is_refused_at_the_start_too(capture):
    with pytest.raises(traitlets.TraitError, match="layer is 9: stack 'self' has layers 0 to 2"):
        capture.show(layer=9)


@pytest.mark.parametrize("domain", [(0, 2), (0.5, 4), (0.25, 0.5), (2, 0.5), (0.5, float("nan"))])
def test_a_domain_of_lift_is_as_far_below_chance_as_above(capture, domain):
    view = capture.show(measure="lift", domain=(0.25, 4))
    with pytest.raises(
        traitlets.TraitError, match=r"expected \(1 / c, c\) with c > 1, as far below chance as above it"
    ):
        view.domain = domain
    assert view.domain == (0.25, 4)


def test_another_measure_lets_go_of_a_domain_that_says_nothing_about_it(capture):
    view = capture.show(domain=(0, 0.5))
    view.measure = "lift"
    assert view.domain is None
    view.set_state({"domain": [1 / 3, 3]})
    assert view.domain == (1 / 3, 3)
    view.set_state({"domain": [0.1, 0.2], "measure": "weight"})
    assert (view.measure, view.domain) == ("weight", (0.1, 0.2))
    view.measure, view.domain = "lift", None
    assert (view.measure, view.domain) == ("lift", None)


def test_heads_are_in_order_and_stay_in_range_when_the_stack_changes():
    wide, narrow = make_capture(heads=4), make_capture(heads=2)
    capture = AttentionCapture()
    capture.fill([wide.stacks["self"], AttentionStack("narrow", narrow.stacks["self"].layers)])
    view = capture.show(heads=[3, 1], aggregate="mean", over="heads")
    assert view.heads == [1, 3]
    view.layer = 2
    assert view.heads == [1, 3]
    view.stack = "narrow"
    assert (view.heads, view.aggregate, view.over) == ([1], "mean", "heads")


def test_an_unknown_trait_is_refused_with_the_near_miss(capture):
    with pytest.raises(TypeError, match=r"no trait 'layers': did you mean 'layer'\?"):
        capture.show(layers=3)


def test_the_graph_is_shown_when_asked_for(capture):
    assert capture.show().panels == ["grid", "heatmap", "lines", "text"]
    view = capture.show(panels=("graph", "text"), threshold=0.8, threshold_kind="mass")
    assert (view.panels, view.threshold, view.threshold_kind) == (["graph", "text"], 0.8, "mass")


def test_query_is_heard(capture):
    view = capture.show()
    heard = []
    view.observe(lambda change: heard.append(change["new"]), "query")
    view.set_state({"query": 4})
    assert heard == [4]


def test_a_smaller_example_moves_what_no_longer_exists():
    long, short = np.full((1, 6, 6), 1 / 6, dtype=np.float32), np.full((1, 3, 3), 1 / 3, dtype=np.float32)
    padded = np.zeros((2, 1, 6, 6), dtype=np.float32)
    padded[0], padded[1, :, :3, :3] = long, short
    view = AttentionCapture.from_weights([long[None]], [list("abcdef")]).show(query=5, key=2)
    view.query = None
    assert (view.query, view.key) == (None, 2)


def deliver(view, content):
    """What ipywidgets does when a custom message arrives; returns what the view sends back."""
    sent = []
    view.send = lambda content, buffers=None: sent.append((content, buffers))
    view._handle_custom_msg(content, [])
    return sent


def test_a_message_is_answered(capture):
    view = capture.show()
    block = {"layer": 0, "head": 0, "queries": [0, 7], "keys": [0, 7]}
    ((content, buffers),) = deliver(
        view, {"id": 5, "method": "values", "params": {"stack": "self", "batch": 0, "blocks": [block]}}
    )
    assert content == {"id": 5, "ok": {"blocks": [{"height": 7, "width": 7}]}}
    np.testing.assert_array_equal(np.frombuffer(buffers[0], "<f4").reshape(7, 7), capture.weights(0, 0))


def test_messages_from_many_threads_are_all_answered(capture):
    view = capture.show()
    sent = []
    view.send = lambda content, buffers=None: sent.append(content["id"])
    block = {"layer": 0, "head": 0, "queries": [0, 7], "keys": [0, 7]}

    def ask(number):
        view._handle_custom_msg(
            {"id": number, "method": "values", "params": {"stack": "self", "batch": 0, "blocks": [block]}}, []
        )

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sent) == list(range(16))


def test_the_repr_is_one_short_line(capture):
    view = capture.show(layer=1, query=2)
    assert "layer=1, head=0, query=2, key=None" in repr(view)
    assert len(repr(view)) < 200


def test_closing_frees_the_capture():
    capture = make_capture()
    view = AttentionWidget(capture)
    alive = weakref.ref(capture)
    view.close()
    del capture
    gc.collect()
    assert alive() is None
    assert repr(view) == "AttentionWidget(closed)"


def test_outside_a_kernel_a_capture_is_shown_as_text(capture):
    assert capture._repr_mimebundle_() == {"text/plain": repr(capture)}


def test_layers_and_heads_that_were_kept_have_their_numbers_in_the_model():
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=4, n_head=4, n_embd=16, vocab_size=20)
    model = AttentionModel(transformers.GPT2Model(config).eval())
    ids = torch.arange(6)[None]
    (stack,) = model.capture(ids, layers=[1, 3], heads=[0, 2, 3]).show().meta["stacks"]
    assert (stack["layers"], stack["kept_layers"]) == (2, [1, 3])
    assert (stack["heads"], stack["kept_heads"]) == (3, [0, 2, 3])
    for first in (None, slice(0, 2)):
        (stack,) = model.capture(ids, layers=first).show().meta["stacks"]
        assert "kept_layers" not in stack, "they are numbered as in the model"
    assert "kept_heads" not in stack


def test_close_all_closes_every_view_and_frees_what_they_show():
    close_all()
    views = [make_capture().show() for _ in range(3)]
    alive = [weakref.ref(view.capture) for view in views]
    views[1].close()
    assert close_all() == 2
    gc.collect()
    assert [each() for each in alive] == [None] * 3
    assert all(view.comm is None for view in views)
    assert close_all() == 0


def test_closing_closes_the_layout_too_unless_somebody_else_made_it():
    shared = ipywidgets.Layout(width="500px")
    for layout, closed in ({}, True), ({"layout": shared}, False):
        view = AttentionWidget(make_capture(), **layout)
        view.close()
        assert (view.layout.comm is None) is closed
    shared.close()
