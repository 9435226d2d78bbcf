"""The pictures of README and gallery can be taken again, show something, and what the gallery says they show."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]


def test_the_script_takes_every_picture_that_readme_and_gallery_show(lab, browser, tmp_path):
    script = runpy.run_path(str(ROOT / "scripts" / "pictures.py"))
    taken = script["take"](lab, browser, tmp_path)
    documents = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/gallery.md")]
    assert {path.name for path in taken} == {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
    for path in taken:
        assert any(f"pictures/{path.name}" in text for text in documents), path.name
        colours = Image.open(path).convert("RGB").getcolors()  # of 256 at most
        counts, colours = np.array([count for count, _ in colours]), np.array([colour for _, colour in colours])
        page = colours[counts.argmax()]
        assert len(colours) > 60, path.name
        hued = counts[np.ptp(colours, axis=1) > 40].sum() / counts.sum()  # weights have a hue, words and frames do not
        assert hued > 0.008, f"{path.name} shows all but no weights"
        assert (page.mean() > 128) == path.stem.endswith("-light"), path.name
