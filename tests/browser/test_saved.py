"""What a JupyterLab notebook holds of its views after it was saved with widget state, and run again."""

from __future__ import annotations

import json

import nbformat
import pytest

STATE = "application/vnd.jupyter.widget-state+json"
PICTURE = "image/png"
SAVING = {"saveState": True}


@pytest.fixture
def saving_lab(lab):
    """JupyterLab with "save widget state" switched on."""
    setting = lab.folder.parent / "settings" / "@jupyter-widgets" / "jupyterlab-manager" / "plugin.jupyterlab-settings"
    setting.parent.mkdir(parents=True, exist_ok=True)
    setting.write_text(json.dumps({"saveState": True}))
    yield lab
    setting.unlink()


@pytest.fixture
def notebook(saving_lab, page, support, request):
    """Two cells, the second one showing a view."""
    name = saving_lab.write(
        f"{request.node.name}.ipynb",
        [
            f"import sys; sys.path.insert(0, {support!r})\nfrom captures import make_capture",
            "make_capture(4, 4, 20).show(layer=2, head=1, query=3)",
        ],
    )
    notebook = saving_lab.open(page, name)
    notebook.run_all()
    notebook.ready()
    return notebook


def saved(lab, notebook, request):
    notebook.save()
    notebook.page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")
    return nbformat.read(lab.folder / f"{request.node.name}.ipynb", as_version=4)


def test_a_cell_that_runs_again_leaves_nothing_in_the_file(saving_lab, notebook, request):
    first = saved(saving_lab, notebook, request)
    for _ in range(3):
        notebook.run_cell(1)
        notebook.ready()
    again = saved(saving_lab, notebook, request)
    states = [each.metadata["widgets"][STATE]["state"].values() for each in (first, again)]
    assert [sorted(model["model_name"] for model in each) for each in states] == [["AnyModel", "LayoutModel"]] * 2
    assert "image/png" in again.cells[1].outputs[0].data
    assert notebook.evaluate("__import__('attnwidget').close_all()") == 1
    notebook.views().wait_for(state="detached")


def test_a_saved_notebook_shows_what_it_showed_to_a_kernel_that_knows_nothing_of_it(saving_lab, notebook, request):
    saved(saving_lab, notebook, request)
    page = notebook.page
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.goto("about:blank")
    saving_lab.open(page, f"{request.node.name}.ipynb")
    view = notebook.ready()
    view.and_(page.locator('[data-status="static"]')).wait_for()
    assert "layer 2 head 1" in view.inner_text()
    assert "query 3" in view.inner_text()
