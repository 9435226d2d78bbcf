"""Maps of one number per head that a view is given: what is sent of them, what is said, and what is refused."""

import json

import numpy as np
import pytest
import torch
import traitlets
from captures import make_capture
from tiny import ids, llama

import attnwidget as aw
from attnwidget.analysis import MEASURES, Ablation, Moments, SurveyTable
from attnwidget.widget.finder import ABOUT
from attnwidget.widget.live import Live

TEXT = "When Mary and John went to the store, John gave a drink to"


def ask(view, name, *, stack="self"):
    """The tables of a map as they are sent, float32 (1 or 2, L, H)."""
    (number,) = [each["id"] for each in view.maps if (each["name"], each["stack"]) == (name, stack)]
    params = {"stack": stack, "batch": 0, "map": number}
    reply = view._answerer.answer({"id": 1, "method": "map", "params": params})
    ok = reply.content["ok"]
    return np.frombuffer(reply.buffers[0], "<f4").reshape(ok["tables"], ok["layers"], ok["heads"])


def about(view, name, *, stack="self"):
    reply = view._answerer.answer({"id": 1, "method": "about", "params": {"stack": stack}})
    return reply.content["ok"]["about"][name]


def told(view, name):
    (found,) = [each for each in view.maps if each["name"] == name]
    return found


def survey_of(stack, values):
    """The table of a survey whose texts had these maps (texts, L, H)."""
    moments = Moments.none(values.shape[1:])
    for one in values:
        moments = moments.plus(Moments.one(one))
    return SurveyTable("", stack, {"induction": moments})


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, np.ndarray.tolist, lambda a: torch.tensor(a).bfloat16()])
def test_an_array_of_any_kind_is_sent_as_it_is_with_its_spread(capture, kind):
    values = np.array([[0, 1, -2, np.nan], [4, 5, 6, 7], [8, 9, 10, 0.5]])
    view = capture.show()
    view.add_map("mine", kind(values), title="my number", unit="nats", spread=kind(values / 4), about="Made by hand.")
    np.testing.assert_array_equal(ask(view, "mine"), np.stack([values, values / 4]).astype(np.float32))
    assert told(view, "mine") == {
        "id": 0, "name": "mine", "stack": "self", "title": "my number", "unit": "nats", "signed": True,
        "label": "my number", "over": "", "lacking": "not asked for",
    }  # fmt: skip
    assert about(view, "mine") == ["Made by hand."]
    view.add_map("mine", np.ones((3, 4)))
    np.testing.assert_array_equal(ask(view, "mine"), np.ones((1, 3, 4)))
    assert (told(view, "mine")["title"], told(view, "mine")["signed"]) == ("mine", False)


def test_an_ablation_an_attribution_and_a_survey_bring_their_words():
    model = aw.demo()
    cap = model.capture(TEXT)
    ablated = model.ablate(TEXT, [(0, 0), (2, 5)], progress=False)
    added = model.logit_attribution(TEXT, token=" Mary")  # noqa: S106 - a word
    survey = aw.survey(model, [TEXT, "The cat sat.", "Tom saw Anna and Tom saw Mary."], progress=False)
    view = cap.show(maps={"ablation": ablated, "logit": added, "survey": survey}, colour_by="ablation")
    np.testing.assert_array_equal(ask(view, "ablation")[0], ablated.values.astype(np.float32))
    assert np.isnan(ask(view, "ablation")).sum() == ablated.values.size - 2
    np.testing.assert_array_equal(ask(view, "logit")[0], added.heads.astype(np.float32))
    for measure in survey.mean:
        expected = np.stack([survey.mean[measure], survey.std[measure]]).astype(np.float32)
        np.testing.assert_array_equal(ask(view, f"survey:{measure}"), expected)
    words = told(view, "ablation")
    assert (words["title"], words["label"], words["signed"]) == (
        *("change of loss when ablated (zero)", "change of loss", True),
    )
    assert f"less the {ablated.baseline:.4g} of the model as it is" in about(view, "ablation")[0]
    assert told(view, "logit")["title"] == f"added to the logit of {added.token}"
    texts = survey.count["induction"].max()
    words = told(view, "survey:induction")
    assert (words["title"], words["label"], words["over"]) == (
        *(f"induction, mean of {texts} texts", "induction", f"over {texts} texts"),
    )
    assert told(view, "survey:entropy")["unit"] == "bits"
    assert "Mean ± standard deviation from text to text" in about(view, "survey:entropy")[1]
    json.dumps(view.maps, allow_nan=False)


def test_of_a_whole_model_the_layers_and_heads_that_were_kept_are_taken():
    model = llama(n_layers=4)
    with aw.capture(model, layers=[1, 3], heads=[0, 5, 6]) as cap, torch.no_grad():
        model(ids(1, 9))
    whole = np.arange(32.0).reshape(4, 8)
    view = cap.show(maps={"whole": whole, "kept": whole[:2, :3], "survey": survey_of("self", np.stack([whole] * 3))})
    expected = whole[[1, 3]][:, [0, 5, 6]]
    np.testing.assert_array_equal(ask(view, "whole")[0], expected)
    np.testing.assert_array_equal(ask(view, "kept")[0], whole[:2, :3])
    np.testing.assert_array_equal(ask(view, "survey:induction"), np.stack([expected, np.zeros((2, 3))]))
    with pytest.raises(ValueError, match="it has 3 layers x 8 heads, and stack 'self' of this capture 2 x 3"):
        view.add_map("short", whole[:3])
    with pytest.raises(ValueError, match="it has 4 layers x 7 heads"):
        view.add_map("narrow", whole[:, :7])


@pytest.mark.parametrize(
    ("name", "thing", "more", "error", "text"),
    [
        ("x", np.zeros((3, 5)), {}, ValueError, "map 'x' does not fit: it has 3 layers x 5 heads, and stack 'self' of"),
        ("x", np.zeros(4), {}, ValueError, "map 'x' has shape (4,): expected (layers, heads)"),
        (
            "x",
            [[1, 2], [3]],
            {},
            TypeError,
            "map 'x' is list [[1, 2], [3]]: expected an array (layers, heads), what `mod",
        ),
        ("x", "loss", {}, TypeError, "map 'x' is str 'loss': expected an array (layers, heads)"),
        ("", np.zeros((3, 4)), {}, TypeError, "a map is named '': expected a text that is not empty"),
        ("entropy", np.zeros((3, 4)), {}, ValueError, "map 'entropy' has the name of a measure that every view has"),
        ("pair", np.zeros((3, 4)), {}, ValueError, "map 'pair' has the name of a measure"),
        ("s:induction", np.zeros((3, 4)), {}, ValueError, "map 's:induction' has the name of another map of this view"),
        ("x", np.zeros((3, 4)), {"stack": "cross"}, ValueError, "map 'x' is of stack 'cross': this capture has 'self'"),
        (
            "x",
            np.zeros((3, 4)),
            {"spread": np.zeros((4, 3))},
            ValueError,
            "spread of map 'x' has shape (4, 3): expected",
        ),
        (
            "x",
            Ablation("decoder", "zero", "loss", 1.0, np.zeros((3, 4))),
            {},
            ValueError,
            "is of stack 'decoder': this",
        ),
        (
            "x",
            survey_of("cross", np.zeros((2, 3, 4))),
            {},
            ValueError,
            "a survey with stacks 'cross': this capture has",
        ),
        (
            "x",
            survey_of("self", np.zeros((2, 3, 4))),
            {"unit": "bits"},
            TypeError,
            "map 'x' is a survey, which has titl",
        ),
    ],
)
def test_what_is_no_map_of_these_heads_is_refused_and_changes_nothing(capture, name, thing, more, error, text):
    view = capture.show(maps={"s": survey_of("self", np.zeros((2, 3, 4)))})
    before = view.maps
    with pytest.raises(error) as raised:
        view.add_map(name, thing, **more)
    assert text in str(raised.value)
    assert view.maps == before
    with pytest.raises(KeyError, match="there is no map 'nothing': this view was given 's'"):
        view.remove_map("nothing")


def test_the_grid_takes_their_names_and_lets_go_of_them(capture):
    maps = {"x": np.ones((3, 4)), "s": survey_of("self", np.zeros((2, 3, 4)))}
    view = capture.show(maps=maps, sort="s:induction", filter=("x", -1.5), colour_by="x")
    assert view.code() == "cap.show()"  # a line cannot hold the numbers
    with pytest.raises(traitlets.TraitError, match=r"sort is 's': expected one of pair, .*, x, s:induction, or None"):
        view.sort = "s"
    view.remove_map("s")
    assert (view.sort, view.filter, view.colour_by) == (None, ("x", -1.5), "x")
    view.remove_map("x")
    assert (view.filter, view.colour_by, view.maps) == (None, None, [])


def test_each_stack_has_its_own():
    stacks = [make_capture(layers=n, heads=2).stacks["self"] for n in (2, 3)]
    for stack, name in zip(stacks, ("encoder", "decoder"), strict=True):
        stack.name = name
    view = aw.AttentionCapture(stacks).show(stack="decoder", maps={"x": np.full((3, 2), 3.0)}, sort="x")
    view.add_map("y", np.full((2, 2), 2.0), stack="encoder")
    with pytest.raises(traitlets.TraitError, match="colour_by is 'y'"):
        view.colour_by = "y"
    view.stack = "encoder"
    assert view.sort is None
    view.colour_by = "y"
    np.testing.assert_array_equal(ask(view, "y", stack="encoder"), np.full((1, 2, 2), 2.0))


def test_after_another_text_they_stay_where_they_fit_and_say_whose_they_are():
    sizes = {"one": 4, "other": 4, "large": 6}
    view = aw.AttentionWidget(
        make_capture(layers=3, heads=4),
        live=Live("one", lambda text, _: make_capture(layers=3, heads=sizes[text])),
        maps={"x": np.arange(12.0).reshape(3, 4), "s": survey_of("self", np.zeros((2, 3, 4)))},
        sort="x",
    )
    view.text = "other"
    assert view.sort == "x"
    assert about(view, "x")[-1] == "Of another run than the one shown: it was added with the text “one”."
    assert not any("another run" in paragraph for paragraph in about(view, "s:induction"))
    view.text = "large"
    assert view.sort is None
    assert told(view, "x")["why"] == "it has 3 layers x 4 heads, and stack 'self' of this capture 3 x 6"
    with pytest.raises(traitlets.TraitError, match="sort is 'x'"):
        view.sort = "x"
    view.text = "one"
    view.sort = "x"
    assert about(view, "x") == ["A map that was added in Python."]


def test_a_map_that_is_gone_is_not_an_error_of_the_view(capture):
    view = capture.show(maps={"x": np.ones((3, 4))})
    params = {"stack": "self", "batch": 0, "map": 7}
    error = view._answerer.answer({"id": 1, "method": "map", "params": params}).content["error"]
    assert error == {"code": "superseded", "message": "map 7: it is not there any more"}


def test_figures_numbers_and_pages_are_made_as_ever(capture, tmp_path):
    view = capture.show(maps={"x": np.ones((3, 4))}, sort="x", colour_by="x")
    view.to_csv(tmp_path / "head.csv")
    view.to_png(tmp_path / "grid.png", panel="grid", dpi=50)
    page = view.to_html(tmp_path / "view.html").read_text(encoding="utf-8")
    assert '"title": "x"' in page


def test_of_everything_the_grid_knows_it_is_said_what_it_cannot_show(capture):
    view = capture.show()
    names = [name for name, _, _ in view.meta["measures"]]
    assert names == ["pair", *(measure.name for measure in MEASURES)]
    for name in names:
        what, *_, caution = about(view, name)
        assert what.endswith(".")
        assert len(caution) > 40
    for measure in MEASURES:
        assert about(view, measure.name) == [measure.words, f"Source: {measure.source}.", measure.caution]
    assert "Jain and Wallace 2019" in about(view, "")[0]
    assert sum(len(text) for texts in ABOUT.values() for text in texts) < 10_000
