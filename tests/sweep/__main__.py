"""`PYTHONPATH=tests:. python -m sweep`: every model type, or those named, and the table in the docs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from sweep.kinds import model_types
from sweep.pool import sweep
from sweep.table import read_table, table

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Judge, write what came of it, and fail if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", help="model types; all of them if none is named")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time")
    parser.add_argument("--results", type=Path, default=ROOT / "test-results" / "sweep.json")
    parser.add_argument("--device", default="cpu", help="where models run")
    parser.add_argument("--docs", type=Path, help="the page to write; only with every type")
    options = parser.parse_args()
    began = time.monotonic()
    known = json.loads(options.results.read_text()) if options.types and options.results.exists() else {}
    for result in sweep(options.types or model_types(), workers=options.workers, device=options.device):
        known[result["model_type"]] = result
        print(_line(result), flush=True)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(dict(sorted(known.items())), indent=1))
    print(dict(Counter(result["category"] for result in known.values())), f"{time.monotonic() - began:.0f} s")
    lost: list[str] = []
    if options.docs is not None and not options.types:
        lost = _no_longer_compared(options.docs, known)
        print(f"compared before, and not any more: {', '.join(lost) or 'none'}")
        versions = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"
        options.docs.write_text(table(known.values(), versions))
    return int(bool(lost) or any(result["category"] == "wrong" for result in known.values()))


def _no_longer_compared(page: Path, results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Types whose weights the page says were compared, and are not: shapes that do not fit look like none at all."""
    before = read_table(page.read_text()) if page.exists() else {}
    return [
        name
        for name, row in before.items()
        if "layers" in row["compared"] and name in results and not results[name].get("compared")
    ]


def _line(result: dict[str, object]) -> str:
    problems = result.get("problems") or result["reason"]
    return f"{result['model_type']:40} {result['category']:18} {result.get('error')} {result.get('stacks')} {problems}"


sys.exit(main())
