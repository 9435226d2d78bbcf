"""Where a capture goes: onto the screen, into a file, into a page.

What people write is `cap.show()`, so it stands here; the arrows of these calls point up, and each is followed only when
it is called: data loads without a widget library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from attnwidget.attention.capture import AttentionCapture


class Outlets:
    """The part of `AttentionCapture` that hands it on."""

    def show(self, **kwargs: Any) -> Any:  # noqa: ANN401 - traits check their own types
        """An `AttentionWidget` for the last line of a cell; keyword arguments set its traits (layer=3, head=5)."""
        from attnwidget.widget import AttentionWidget

        return AttentionWidget(self._capture(), **kwargs)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # noqa: ANN401 - IPython's own signature
        from attnwidget.widget import display_bundle

        return display_bundle(self._capture(), **kwargs)

    def _display_(self) -> Any:  # noqa: ANN401 - the type stands above
        """What marimo shows for a capture; it asks for this and knows no mime bundle of widgets."""
        return self.show()

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the capture into a file that `aw.load` reads: safetensors, numbers and text, no code.

        What was kept is written as it is, so a file is about as large as `nbytes`. A file that stands there is replaced
        once the new one is whole. `docs/file-format.md` describes the format. Values and gradients (`values=True`,
        `target=`) are not written.

        Args:
            path: of the file; ".safetensors" is its usual ending, and none is added.

        Returns:
            The path.

        Raises:
            CaptureError: the capture was closed.
            OSError: the file cannot be written.
            ValueError: a layer holds something that is no array: a score function of flex attention, heads kept by
                other processes, or attention worked out from another capture.
        """
        from attnwidget.saving import save

        return save(self._capture(), path)

    def to_html(self, path: str | PathLike[str], *, max_bytes: int | None = None, **traits: Any) -> Path:  # noqa: ANN401
        """Write a page with the view that `show(**traits)` gives; it needs no kernel and no network.

        Args:
            path: of the page; what stands there is replaced.
            max_bytes: the most that the weights may take in it, as text; 8 MB if None.
            **traits: of `AttentionWidget`: layer=3, head=5 ...

        Returns:
            The path.

        Raises:
            OSError: the page cannot be written.
            ValueError: max_bytes is not above 0.
            traitlets.TraitError: a trait is out of range.
        """
        view = self.show(**traits)
        try:
            written: Path = view.to_html(path, max_bytes=max_bytes)
        finally:
            view.close()
        return written

    def _capture(self) -> AttentionCapture:
        return cast("AttentionCapture", self)
