"""Notebooks of the repository, run from the first cell to the last."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def texts(cell):
    return "".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.get("outputs", [])
    )


def run(name):
    """Run a notebook, kept without outputs; what each of its code cells said, by the last part of the cell's id."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    return {cell["id"].rpartition("-")[2]: texts(cell) for cell in notebook.cells if cell.cell_type == "code"}
