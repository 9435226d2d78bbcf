"""Writes README's table of hosts: what the browser tests recorded, and the hosts that hold by contract only.

`make hosts` runs the tests that record first. Without a record there is nothing to write.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from hostrecord import RECORD, read_rows  # noqa: E402 - the record that the tests write
from hosttable import replaced, table  # noqa: E402


def main() -> None:
    """Put the table between its marks in README.md."""
    rows = read_rows()
    if not rows:
        sys.exit(f"{RECORD} holds no host: run `make hosts`, which runs the tests that record them")
    readme = ROOT / "README.md"
    readme.write_text(replaced(readme.read_text(encoding="utf-8"), table(rows)), encoding="utf-8")
    print(f"README.md: {len(rows)} hosts were run")


if __name__ == "__main__":
    main()
