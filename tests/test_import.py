"""Importing the package is quick and loads nothing heavy; every public name is there when asked for."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import attnwidget as aw

HEAVY = ("torch", "transformers", "ipywidgets", "anywidget", "IPython", "traitlets")


def loaded_after(code):
    script = f"import sys, time, json; start = time.perf_counter(); {code}; took = time.perf_counter() - start; "
    script += f"print(json.dumps([took, [name for name in {HEAVY} if name in sys.modules]]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_import_is_light():
    fastest = min(loaded_after("import attnwidget")[0] for _ in range(3))
    assert fastest < 0.5
    assert loaded_after("import attnwidget")[1] == []


def test_arrays_need_no_torch():
    code = (
        "import numpy as np, attnwidget as aw; "
        "cap = aw.AttentionCapture.from_weights(np.full((1, 2, 3, 3), 1 / 3)); cap.tile(0, 0); "
        "repr(cap); aw.AttentionStack"
    )
    assert loaded_after(code)[1] == []


def test_public_names():
    assert dir(aw) == sorted(aw.__all__)
    for name in aw.__all__:
        assert getattr(aw, name) is not None
    with pytest.raises(
        AttributeError, match="module 'attnwidget' has no attribute 'nothing': it offers AttentionCapture"
    ):
        _ = aw.nothing
