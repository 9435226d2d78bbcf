"""The table of architectures in the docs: written from the results of a sweep, and read back."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from sweep.results import CATEGORIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MEANING = {
    "captured exactly": "every layer as queries, keys and a mask, from which any weight is computed",
    "captured densely": "every layer, some of them as stored weights: nothing smaller explains them",
    "captured partly": "some modules named as not captured, the rest exactly",
    "refused": "a `CaptureError` that says why",
    "has no attention": "no softmax is multiplied with values anywhere in it",
    "not built": "no tiny model of it was run; the reason is told",
    "wrong": "weights that differ, or layers that are missing unsaid: must be empty",
}
_HEAD = "| model type | class | stacks and layers | category | compared | largest error | remarks |"
_INTRODUCTION = """\
# Architectures

Every model type of {versions}, made tiny, given random weights, and run plainly, under
`aw.capture`, and with `attn_implementation="eager"` and `output_attentions=True`. Written by `make sweep`.

**{count} model types. In {compared} of them weights were compared with the model's own, in {layers} layers; the
largest difference is {error:.1e}.**

| category | types | meaning |
|---|---|---|
{categories}

## How it is compared

- Weights of the models are random, sized so that rows look at some tokens far more than at others: a row that looks
  everywhere alike proves nothing. Where rows of some layers are flat all the same, the remarks say so.
- *outputs*: layers compared with the attentions in the model's output. *modules*: with what its attention modules
  return, where the output has none. *values*: nothing to compare with; `cap.verify()` leads from the values to the
  output of the run.
- Values agree to 1e-5. Where float32 itself is noisier, both are run in float64, and the remarks say so.
- Order and stack are compared too, and outputs with capture are those without, to the bit.
- A second pair of eyes follows every softmax into the product it is multiplied in: attention that it sees, and the
  capture neither holds nor names, counts as wrong.
- Rows of padding are left out: implementations fill them with what they like.

## Every model type
"""
_VERSIONS = re.compile(r"transformers ([\w.+]+), torch ([\w.+]+)")
_LONGEST = 260


def table(results: Iterable[Mapping[str, Any]], versions: str) -> str:
    """The page.

    Args:
        results: of a sweep.
        versions: "transformers ..., torch ...".
    """
    rows = sorted(results, key=lambda row: row["model_type"].lower())
    counts = Counter(row["category"] for row in rows)
    compared = [row for row in rows if row.get("compared")]
    words = _INTRODUCTION.format(
        versions=versions,
        count=len(rows),
        compared=len(compared),
        layers=sum(row["compared"] for row in compared),
        error=max((row["error"] or 0 for row in compared), default=0),
        categories="\n".join(f"| {name} | {counts[name]} | {_MEANING[name]} |" for name in CATEGORIES),
    )
    return "\n".join([words, _HEAD, "|---|---|---|---|---|---|---|", *map(_row, rows), ""])


def _row(row: Mapping[str, Any]) -> str:
    stacks = ", ".join(f"{name} {layers}" for name, layers in (row.get("stacks") or {}).items())
    compared = f"{row['checked_by']}, {row['compared']} layers" if row.get("compared") else row.get("checked_by", "")
    error = f"{row['error']:.1e}" if row.get("compared") else ""
    cells = (row["model_type"], row.get("model", ""), stacks, row["category"], compared, error, _remarks(row))
    return "| " + " | ".join(str(cell).replace("|", "/").replace("\n", " ") for cell in cells) + " |"


def _remarks(row: Mapping[str, Any]) -> str:
    parts = [row.get("reason", ""), *row.get("problems", []), *map(_short, row.get("notes", []))]
    if row.get("flat"):
        parts.append(f"rows of {row['flat']} layers are flat")
    text = "; ".join(part for part in dict.fromkeys(parts) if part)
    text = re.sub(r"[<>]", "", text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1].rsplit(' ', 1)[0]} …"


def _short(note: str) -> str:
    """Notes that name other stacks are told by the stacks themselves."""
    return "" if " holds the layers like the former" in note else note


def read_table(page: str) -> dict[str, dict[str, str]]:
    """Rows of the page by model type.

    Raises:
        ValueError: the page has no table.
    """
    if _HEAD not in page:
        raise ValueError("the page has no table of architectures: run make sweep")
    names = [name.strip() for name in _HEAD.strip("| ").split("|")]
    rows = {}
    for line in page.split(_HEAD)[1].splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        if len(cells) == len(names):
            rows[cells[0]] = dict(zip(names, cells, strict=True))
    return rows


def read_versions(page: str) -> tuple[str, str]:
    """Versions of transformers and torch the page was made with.

    Raises:
        ValueError: it does not say.
    """
    found = _VERSIONS.search(page)
    if found is None:
        raise ValueError("the page does not say which versions it was made with: run make sweep")
    return found[1], found[2]
