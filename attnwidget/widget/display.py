"""What a notebook shows for a capture on the last line of a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnwidget.widget.cells import cell_widgets
from attnwidget.widget.widget import AttentionWidget

if TYPE_CHECKING:
    from attnwidget.attention import AttentionCapture


def display_bundle(capture: AttentionCapture, **kwargs: Any) -> Any:  # noqa: ANN401 - IPython's own signature
    """Make a widget for a capture and return its mime bundle.

    Args:
        capture: what is shown.
        **kwargs: `include` and `exclude`, as IPython passes them.

    Returns:
        The widget's mime bundle inside a notebook kernel; elsewhere, where no widget can live, the capture's table.
    """
    if cell_widgets() is None:
        return {"text/plain": repr(capture)}
    return AttentionWidget(capture)._repr_mimebundle_(**kwargs)
