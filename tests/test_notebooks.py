"""Notebooks run from the first cell to the last, and say what their text says they say."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"

# nbclient's own clean-up
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:unclosed:ResourceWarning")


def texts(cell):
    return "".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.get("outputs", [])
    )


def run(name):
    """Run a notebook; what each of its code cells said, by the last part of the cell's id."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    return {cell["id"].rpartition("-")[2]: texts(cell) for cell in notebook.cells if cell.cell_type == "code"}


def test_any_model():
    said = run("any_model.ipynb")
    assert "by hand  q k float32, causal" in said["05"]
    assert "3 of 3 layers checked against the output of the run, largest error" in said["05"]
    assert "note: outputs equal those without capture to rounding" in said["07"]
    assert "causal, window 6, soft cap 50" in said["09"]
    assert "the sink takes" in said["09"]
    assert "hold no softmax attention and so no weights" in said["11"]
    assert "19 tokens" in said["13"]
    assert said["15"].startswith("no attention call of Linear was seen")


def test_long_context():
    said = run("long_context.ipynb")
    assert "exact: True" in said["04"]
    assert "the same from 2 queries in each row of cells; exact: False" in said["04"]
    assert "-> key 3021 'needle'" in said["05"]
    assert "1040 bytes a token at 1,024 tokens, 1040 at 16,384" in said["09"]
    assert "as bfloat16 520, of one head 520" in said["09"]
    assert "this capture would hold about" in said["09"]
    assert "layer 0 head 0: duplicate token" in said["11"]
