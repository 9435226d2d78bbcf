"""Which fonts write the tokens of any language, of those that are here."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BASE = "DejaVu Sans"
"""Comes with matplotlib: figures look the same everywhere."""
_OTHERS = (
    "Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "Hiragino Sans", "PingFang SC",
    "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "WenQuanYi Zen Hei", "Noto Sans Arabic", "Noto Sans Hebrew",
    "Noto Sans Devanagari", "Noto Sans Thai", "Segoe UI Symbol", "Segoe UI Emoji", "Noto Emoji", "Symbola",
    "Arial Unicode MS",
)  # fmt: skip


def families() -> list[str]:
    """Fonts to look for a character in, one after another."""
    from matplotlib.font_manager import fontManager

    here = set(fontManager.get_font_names())
    return [_BASE, *(name for name in _OTHERS if name in here), "sans-serif"]


@contextmanager
def one_warning_for_glyphs(*, drawn: bool) -> Iterator[None]:
    """Instead of a warning per character and size, one that says which characters no font here has.

    Args:
        drawn: whether characters are drawn here; where text stays text, whoever shows it has fonts of their own.
    """
    missing: dict[str, None] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for one in caught:
        text = str(one.message)
        if text.startswith("Glyph "):
            missing[chr(int(text.split()[1]))] = None
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    if missing and drawn:
        warnings.warn(
            f"no font here has the characters {' '.join(missing)}: they are drawn as boxes. Install a font that has "
            "them (the Noto fonts, for example), or write SVG, where they stay text.",
            UserWarning,
            stacklevel=5,
        )
