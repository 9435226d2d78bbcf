"""Puts pages in the place of widgets, in the outputs of a notebook that is converted."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

from nbconvert.preprocessors import Preprocessor

from attnwidget.export.notebook.bars import bar_text
from attnwidget.export.notebook.saved import OURS, SavedView, SavedViewError, is_ours
from attnwidget.export.page import again, fragment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbformat import NotebookNode

_VIEW, _STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
_MARK = "attnwidget-output"
_TOLD = re.compile(rf"{OURS}\(|Attention of ")
"""How the text beside a view begins; that of earlier versions was its repr."""
_PICTURE = re.compile(r"[A-Za-z0-9+/=\s]+")
_WHAT_TO_DO = (
    "Convert it with <code>jupyter nbconvert --execute --to attnwidget_html</code>, which runs the notebook first, or "
    "save it in JupyterLab with Settings › Save Widget State Automatically switched on."
)


class ViewsPreprocessor(Preprocessor):
    """Replaces each output that is a view of ours by one that needs no kernel and no network.

    Several views share one script, and what one view shows twice is linked. A view of which nothing was saved, or
    nothing that can be shown, is replaced by a sentence that says so, over its picture if it has one. Progress
    bars become text, and widgets of others stay as they are.

    Args:
        scripts: whether scripts in outputs will run; without them a view is its picture.
    """

    def __init__(self, *, scripts: bool, **kwargs: Any) -> None:  # noqa: ANN401 - traitlets' own
        super().__init__(**kwargs)
        self._scripts = scripts

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Replace the views of a notebook; see the class.

        Args:
            nb: the notebook, after it ran if it is to; changed in place.
            resources: of the conversion.

        Returns:
            The notebook, and the resources; "attnwidget" says what the page still has to load from the network.
        """
        models = _models(nb)
        names: dict[str, str] = {}
        for output in _outputs(nb):
            data = output.get("data", {})
            model_id = _model_id(data)
            if model_id is None:
                continue
            bar = bar_text(model_id, models)
            if bar is not None:
                output["data"] = {"text/plain": bar}
                continue
            if not (is_ours(models.get(model_id)) or _says_ours(data, models, model_id)):
                continue
            if not self._scripts:
                self.log.warning("Scripts are taken out of this page, so a view is its picture.")
                output["data"] = {kind: value for kind, value in data.items() if kind != _VIEW}
                continue
            try:
                shown = self._shown(model_id, models, names)
            except SavedViewError as error:
                self.log.warning("A view cannot be shown: %s", error)
                shown = _refusal(str(error), data)
            output["data"] = {"text/html": f'<div class="{_MARK}">{shown}</div>'}
        self._forget(nb, models)
        resources["attnwidget"] = self._needs(nb)
        return nb, resources

    def _shown(self, model_id: str, models: dict[str, Any], names: dict[str, str]) -> str:
        if model_id in names:
            return again(names[model_id])
        if model_id not in models:
            raise SavedViewError("the notebook was saved without it")
        view = SavedView.of(model_id, models)
        name = f"view{len(names)}"
        try:
            made = fragment(
                view.state,
                view.weights,
                words=view.words,
                summary=view.summary,
                name=name,
                of=next(iter(names.values()), ""),
            )
        except ValueError as error:
            raise SavedViewError(f"what the notebook holds of it is damaged ({error})") from error
        names[model_id] = name
        return f'<div style="{html.escape(view.style)}">{made}</div>'

    def _forget(self, nb: NotebookNode, models: dict[str, Any]) -> None:
        """The page carries no state of widgets that it does not show, nor what shows them, if they were all ours."""
        if any(_model_id(output.get("data", {})) in models for output in _outputs(nb)):
            for model_id in [model_id for model_id, model in models.items() if is_ours(model)]:
                if not any(f"IPY_MODEL_{model_id}" in str(other) for other in models.values()):
                    del models[model_id]
        else:
            nb.metadata.pop("widgets", None)

    def _needs(self, nb: NotebookNode) -> dict[str, bool]:
        texts = list(_texts(nb))
        needs = {
            "require_js": "widgets" in nb.metadata or any(re.search(r"\brequire(js)?\b", text) for text in texts),
            "mathjax": any(re.search(r"\$[^$]+\$|\\\(|\\\[|\\begin\{", text) for text in texts),
        }
        for what, why in (("require_js", "other widgets or scripts"), ("mathjax", "formulas")):
            if needs[what]:
                self.log.warning("The page loads a script from the network: the notebook has %s.", why)
        return needs


def _models(nb: NotebookNode) -> dict[str, Any]:
    """The state of every widget by its id, as the notebook holds it; empty where it is none."""
    widgets = nb.metadata.get("widgets")
    saved = widgets.get(_STATE) if isinstance(widgets, dict) else None
    models = saved.get("state") if isinstance(saved, dict) else None
    return models if isinstance(models, dict) else {}


def _outputs(nb: NotebookNode) -> Iterator[NotebookNode]:
    for cell in nb.cells:
        yield from cell.get("outputs", ())


def _model_id(data: dict[str, Any]) -> str | None:
    view = data.get(_VIEW)
    model_id = view.get("model_id") if isinstance(view, dict) else None
    return model_id if isinstance(model_id, str) else None


def _says_ours(data: dict[str, Any], models: dict[str, Any], model_id: str) -> bool:
    """Whether the text beside a widget that was not saved is that of a view."""
    return model_id not in models and _TOLD.match(str(data.get("text/plain", ""))) is not None


def _texts(nb: NotebookNode) -> Iterator[str]:
    """Whatever others put on the page that may use a script from the network."""
    for cell in nb.cells:
        if cell.cell_type != "code":
            yield cell.source
    for output in _outputs(nb):
        for kind, value in output.get("data", {}).items():
            text = "".join(value) if isinstance(value, list) else str(value)
            ours = kind == "text/html" and text.lstrip().startswith((f'<div class="{_MARK}"', '<div class="jupyter-'))
            if kind.startswith(("text/html", "text/markdown", "text/latex", "application/javascript")) and not ours:
                yield text


def _refusal(reason: str, data: dict[str, Any]) -> str:
    """What stands in the place of a view that cannot be shown, over its picture if there is one."""
    said = html.escape(str(data.get("text/plain", "")))
    picture = str(data.get("image/png", ""))
    image = f'<img alt="{said}" src="data:image/png;base64,{picture}">' if _PICTURE.fullmatch(picture) else ""
    return (
        '<div role="note" style="border: 1px solid; border-radius: 4px; padding: .6em .9em; max-width: 60em">'
        f"<p><strong>This view cannot be shown:</strong> {html.escape(reason)}.</p><p>{_WHAT_TO_DO}</p>"
        f'<p style="opacity: .75">{said}</p></div>{image}'
    )
