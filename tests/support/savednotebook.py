"""Notebooks as Jupyter saves them, made without a kernel: outputs that are widgets, and the state of those."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import nbformat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget import AttentionWidget

VIEW, STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"


def saved_notebook(shown: Sequence[AttentionWidget], *, markdown: str = "# A notebook") -> Any:
    """A notebook whose cells show these views, saved with the state of each."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_markdown_cell(markdown), *map(_cell, shown)]
    models = {view.model_id: _model(view) for view in shown}
    layouts = {view.layout.model_id: {"model_name": "LayoutModel", "state": view.layout.get_state()} for view in shown}
    widgets = {"state": {**layouts, **models}, "version_major": 2, "version_minor": 0}
    notebook.metadata["widgets"] = {STATE: nbformat.from_dict(widgets)}
    return notebook


def _cell(view: AttentionWidget) -> Any:
    bundle, *_ = view._repr_mimebundle_()
    return nbformat.v4.new_code_cell("view", outputs=[nbformat.v4.new_output("display_data", bundle)])


def _model(view: AttentionWidget) -> dict[str, Any]:
    state = view.get_state()
    data = base64.b64encode(state.pop("embed")).decode()
    buffers = [{"path": ["embed"], "encoding": "base64", "data": data}]
    return {"model_name": "AnyModel", "model_module": "anywidget", "state": state, "buffers": buffers}
