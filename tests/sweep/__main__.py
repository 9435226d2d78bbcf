"""`PYTHONPATH=tests:. python -m sweep [types]`: the sweep as a command."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from sweep.kinds import model_types
from sweep.pool import sweep


def main() -> None:
    """Judge the types named, or all of them, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", help="model types; all of them if none is named")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--results", type=Path, default=Path("test-results/sweep.json"))
    options = parser.parse_args()
    known = json.loads(options.results.read_text()) if options.types and options.results.exists() else {}
    for result in sweep(options.types or model_types(), workers=options.workers):
        known[result["model_type"]] = result
        print(f"{result['model_type']:32} {result['category']:18} {result.get('error')} {result.get('stacks')} {result['reason'][:150]} {result.get('problems')} {result.get('seconds')}", flush=True)
    options.results.parent.mkdir(exist_ok=True)
    options.results.write_text(json.dumps(dict(sorted(known.items())), indent=1))
    print(Counter(result["category"] for result in known.values()))


main()
