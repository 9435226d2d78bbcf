"""The README's pictures can be taken again, and show something."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]


def test_the_readme_shows_pictures_that_the_script_takes(lab, browser, tmp_path):
    take = runpy.run_path(str(ROOT / "scripts" / "pictures.py"))["take"]
    readme = (ROOT / "README.md").read_text()
    for path in take(lab, browser, tmp_path):
        picture = np.asarray(Image.open(path).convert("RGB"))
        assert picture.shape[1] > 1500
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500
        kept = ROOT / "docs" / "pictures" / path.name
        assert kept.exists(), "run `make pictures`"
        assert f"docs/pictures/{path.name}" in readme
