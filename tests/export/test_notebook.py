"""A notebook as one page: views in the place of widgets, and a sentence in the place of what cannot be shown."""

from __future__ import annotations

import base64
import copy
import json
import logging
import re

import nbformat
import pytest
from captures import make_capture
from savednotebook import STATE, VIEW, saved_notebook

from attnwidget.export.notebook import NotebookExporter

# nbconvert's own
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")

TO_DO = "Convert it with jupyter nbconvert --execute --to attnwidget_html"


def converted(notebook, **options):
    body, _ = NotebookExporter(**options).from_notebook_node(notebook)
    return body


def states_in(body):
    return [json.loads(found) for found in re.findall(r'<script type="application/json">(.*?)</script>', body)]


def asked_of_the_network(body):
    return re.findall(r"""(?:src|href)=["']((?:https?:)?//[^"']+)""", body)


def told(body):
    """What stands in the place of views that cannot be shown."""
    notes = re.findall(r'<div role="note".*?</div>', body, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]*>", " ", note).split()) for note in notes]


def models_of(notebook):
    return notebook.metadata.widgets[STATE]["state"]


@pytest.fixture
def views():
    views = [make_capture(seed=seed, queries=60).show(layer=seed, head=3, query=5, scale="log") for seed in (1, 2)]
    yield views
    for view in views:
        view.close()


def test_views_stand_where_the_widgets_stood_as_they_were_saved(views):
    views[0].layout.width = "640px"
    body = converted(saved_notebook([*views, views[0]]))
    assert [(state["layer"], state["head"], state["query"], state["scale"]) for state in states_in(body)] == [
        (1, 3, 5, "log"),
        (2, 3, 5, "log"),
    ]
    stored = re.findall(r'<script type="text/plain">(.*?)</script>', body, re.DOTALL)
    assert [base64.b64decode(part) for part in (stored[0], stored[3])] == [view.embed for view in views]
    assert [len(part) > 10_000 for part in (stored[1], stored[4])] == [True, False], "the script is there once"
    assert body.count("""querySelector('[data-attnwidget="view0"]').widget""") == 1, "the third view is the first"
    assert "of 12 heads in stack self, 12 in full. More needs a running kernel." in body
    assert '<div style="width: 640px">' in body
    assert asked_of_the_network(body) == []
    assert VIEW not in body
    assert STATE not in body


def test_what_others_need_from_the_network_stays(views, caplog):
    notebook = saved_notebook(views[:1], markdown="Weights are $\\exp(s - l)$.")
    models_of(notebook)["slider"] = {"model_name": "FloatSliderModel", "state": {"value": 0.5}}
    data = {VIEW: {"model_id": "slider"}, "text/plain": "FloatSlider(value=0.5)"}
    notebook.cells.append(nbformat.v4.new_code_cell("s", outputs=[nbformat.v4.new_output("display_data", data)]))
    with caplog.at_level(logging.WARNING):
        body = converted(notebook)
    addresses = " ".join(asked_of_the_network(body))
    assert "require" in addresses
    assert "mathjax" in addresses.lower()
    kept = json.loads(re.search(rf'<script type="{re.escape(STATE)}">(.*?)</script>', body, re.DOTALL).group(1))
    assert views[0].model_id not in kept["state"]
    assert "slider" in kept["state"]
    assert len(states_in(body)) == 1
    assert "loads a script from the network: the notebook has other widgets or scripts." in caplog.text
    assert "loads a script from the network: the notebook has formulas." in caplog.text


def test_a_progress_bar_is_a_line_of_text(views):
    notebook = saved_notebook(views[:1])
    parts = {"left": ("HTMLModel", "Loading weights: 100%"), "bar": ("FloatProgressModel", 7.0)}
    parts["right"] = ("HTMLModel", "&nbsp;7/7 [00:00&lt;00:00]")
    models = models_of(notebook)
    models |= {name: {"model_name": kind, "state": {"value": value}} for name, (kind, value) in parts.items()}
    models["box"] = {"model_name": "HBoxModel", "state": {"children": [f"IPY_MODEL_{name}" for name in parts]}}
    output = nbformat.v4.new_output("display_data", {VIEW: {"model_id": "box"}, "text/plain": "Loading weights: 0%"})
    notebook.cells.append(nbformat.v4.new_code_cell("load", outputs=[output]))
    body = converted(notebook)
    assert "Loading weights: 100% 7/7 [00:00&lt;00:00]" in body
    assert asked_of_the_network(body) == []


def test_what_was_not_saved_is_said_over_its_picture(views):
    notebook = saved_notebook(views[:1])
    picture = notebook.cells[1].outputs[0].data["image/png"]
    del notebook.metadata["widgets"]
    body = converted(notebook)
    (note,) = told(body)
    assert note.startswith(f"This view cannot be shown: the notebook was saved without it. {TO_DO} , which runs")
    assert "save it in JupyterLab with Settings › Save Widget State Automatically switched on" in note
    assert "Attention of attention. self: 3 layers x 4 heads, 60 tokens." in note
    assert f'src="data:image/png;base64,{picture}"' in body
    assert asked_of_the_network(body) == []
    other = copy.deepcopy(notebook)
    other.cells[1].outputs[0].data = {VIEW: {"model_id": "x"}, "text/plain": "AttentionWidget(<b>bert</b>, layer=1)"}
    (note,) = told(converted(other))
    assert note.endswith("AttentionWidget(&lt;b&gt;bert&lt;/b&gt;, layer=1)")


def damage(path, value):
    def done(model):
        place = model
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return done


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (damage(["state", "meta", "version"], 1), "it was saved by another version of attnwidget (of protocol 1, and"),
        (damage(["state", "meta"], None), "what the notebook holds of it is damaged (TypeError"),
        (damage(["state", "meta", "stacks"], []), "what the notebook holds of it is damaged (KeyError: 'self')"),
        (damage(["state", "layer"], 9), "what the notebook holds of it is damaged (ValueError: layer is 9 of 3)"),
        (damage(["state", "head"], "<script>"), "what the notebook holds of it is damaged (TypeError"),
        (damage(["state", "threshold"], float("nan")), "what the notebook holds of it is damaged (Out of range"),
        (damage(["buffers"], []), "the notebook holds none of its weights"),
        (
            damage(["buffers", 0, "data"], "???"),
            "what the notebook holds of it is damaged (ValueError: its weights are no",
        ),
        (damage(["buffers", 0, "data"], "AAAA"), "what the notebook holds of it is damaged (error: Error -3"),
    ],
)
def test_what_is_damaged_is_said_and_the_next_view_is_shown(views, change, said):
    notebook = saved_notebook(views)
    change(models_of(notebook)[views[0].model_id])
    body = converted(notebook)
    (note,) = told(body)
    assert note.startswith(f"This view cannot be shown: {said}")
    assert TO_DO in note
    (state,) = states_in(body)
    assert state["layer"] == 2
    stored = re.findall(r'<script type="text/plain">(.*?)</script>', body, re.DOTALL)
    assert len(stored[1]) > 10_000, "the view that is there brings the script"


@pytest.mark.parametrize("widgets", [{}, {STATE: []}, {STATE: {"state": 5}}])
def test_a_notebook_whose_state_is_none_is_still_a_page(views, widgets):
    notebook = saved_notebook(views[:1])
    notebook.metadata["widgets"] = widgets
    (note,) = told(converted(notebook))
    assert "the notebook was saved without it" in note


def test_where_scripts_are_taken_out_a_view_is_its_picture(views):
    notebook = saved_notebook(views[:1])
    body = converted(notebook, sanitize_html=True)
    assert f'src="data:image/png;base64,{notebook.cells[1].outputs[0].data["image/png"].strip()}' in body
    assert states_in(body) == []
    assert asked_of_the_network(body) == []


def test_nothing_in_a_notebook_ends_its_place_on_the_page(views):
    notebook = saved_notebook(views[:1])
    models = models_of(notebook)
    model = models[views[0].model_id]
    model["state"]["meta"]["model"] = "</script><b>bold</b>"
    models[views[0].layout.model_id]["state"]["width"] = '1px" onclick="alert(1)'
    body = converted(notebook)
    assert "<b>bold</b>" not in body
    assert "alert(1)" not in body
    assert states_in(body)[0]["meta"]["model"] == "</script><b>bold</b>"


def test_a_static_view_in_a_notebook_asks_for_nothing(views):
    html = views[0].static(max_bytes=100_000)._repr_html_()
    notebook = nbformat.v4.new_notebook()
    output = nbformat.v4.new_output("execute_result", {"text/html": html, "text/plain": "StaticView(...)"})
    notebook.cells = [nbformat.v4.new_code_cell("view.static()", outputs=[output])]
    body = converted(notebook)
    assert asked_of_the_network(body) == []
    assert len(states_in(body)) == 1
