"""A view as a page that needs no kernel and no network."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from attnwidget.export.embedding import Embedded, embed_page

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from attnwidget.attention import AttentionCapture, AttentionStack
    from attnwidget.export.shown import Shown

MAX_BYTES = 8_000_000
"""Of weights in a page, unless somebody says otherwise."""
_HERE = Path(__file__).parent
_STATIC = _HERE.parent / "widget" / "static"
_OVERHEAD = 4 / 3
"""Bytes as base64, which text can hold."""


class StaticView:
    """A view without a kernel: shown by the last line of a cell, and by whatever is made of that cell later.

    Attributes:
        html: all of it, weights and script included.
        embedded: what is stored of the capture, and what is left out.
        summary: what the capture is, in a sentence.
    """

    def __init__(self, html: str, embedded: Embedded, summary: str) -> None:
        self.html = html
        self.embedded = embedded
        self.summary = summary

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"StaticView({len(self.html.encode()) / 1e6:.1f} MB: {self.embedded.words})"


def static_view(
    shown: Shown,
    state: Mapping[str, Any],
    *,
    max_bytes: int = MAX_BYTES,
    told: Callable[[int, int], None] | None = None,
) -> StaticView:
    """Make a view that needs nothing but a browser.

    Args:
        shown: what the view shows.
        state: the traits of the view, `meta` among them.
        max_bytes: the most that the weights may take, as they are stored in the page.
        told: called with how many heads are done, and how many there are.

    Raises:
        ValueError: max_bytes is not above 0.
        FileNotFoundError: the front end has not been built.
    """
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes <= 0:
        raise ValueError(f"max_bytes is {max_bytes!r}; expected a number of bytes above 0")
    embedded = embed_page(shown, int(max_bytes / _OVERHEAD), told)
    summary = summary_of(shown.capture)
    return StaticView(fragment(state, embedded.data, words=embedded.words, summary=summary), embedded, summary)


def fragment(
    state: Mapping[str, Any], weights: bytes, *, words: str, summary: str, name: str = "", of: str = ""
) -> str:
    """A view as a piece of HTML that needs nothing around it.

    Args:
        state: the traits of the view, `meta` among them.
        weights: the `embed` trait.
        words: what is stored and what is not, as people read it under the view.
        summary: what it shows, for readers that run no script.
        name: what others on the page call it by; "" where it stands alone.
        of: the name of a view before it that brings the scripts; "": it brings them itself.

    Raises:
        ValueError: the state is not what JSON can say.
        FileNotFoundError: the front end has not been built.
    """
    return _template("fragment.html").substitute(
        name=html.escape(name),
        words=html.escape(words),
        summary=html.escape(summary),
        # "<" would end the script that holds it, were the text "</script>".
        state=json.dumps(dict(state), allow_nan=False).replace("<", "\\u003c"),
        weights=base64.b64encode(weights).decode(),
        of=html.escape(of),
        bundle="" if of else (_STATIC / "widget.js").read_text(encoding="utf-8"),
        # What a kernel would send: of a page that is passed on, figures and numbers are saved as well.
        module="" if of else (_STATIC / "kernel.js").read_text(encoding="utf-8"),
    )


def again(name: str) -> str:
    """A piece of HTML that shows once more the view of this name, which stands before it on the page."""
    return _template("again.html").substitute(name=html.escape(name))


def _template(file: str) -> Template:
    return Template((_HERE / file).read_text(encoding="utf-8"))


def write_page(path: str | os.PathLike[str], view: StaticView) -> Path:
    """Write one page that holds a view.

    Raises:
        OSError: the file cannot be written.
    """
    target = Path(path).expanduser()
    target.write_text(
        _template("page.html").substitute(title=html.escape(view.summary), fragment=view.html), encoding="utf-8"
    )
    return target


def summary_of(capture: AttentionCapture) -> str:
    """What a capture is, in a sentence: model, stacks, heads, tokens."""
    stacks = "; ".join(
        f"{name}: {stack.n_layers} layers{_across(stack)}, {stack.size_text()}"
        for name, stack in capture.stacks.items()
    )
    return f"Attention of {capture.model}. {stacks}."


def _across(stack: AttentionStack) -> str:
    whole = stack.reading is not None and not stack.reading.per_head
    return "" if whole else f" x {stack.n_heads} heads"
