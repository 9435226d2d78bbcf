"""Builds the front end into the package, when there is something to build and the means to do it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLE = Path("attnwidget/widget/static/widget.js")
SOURCES = ("js/src", "js/scripts", "package.json", "package-lock.json")


class FrontEndBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Makes sure that the wheel, the sdist and an editable install carry an up-to-date bundle.

    An sdist carries the bundle, so building from it never needs Node. From a checkout the bundle is built with npm
    where it is missing or older than its sources.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the bundle if it is missing or stale.

        Args:
            version: the build target's version, not used here.
            build_data: hatchling's build data, not changed here.

        Raises:
            RuntimeError: there is no bundle and no npm to build it with.
        """
        del version, build_data
        root = Path(self.root)
        bundle = root / BUNDLE
        from_sdist = (root / "PKG-INFO").exists()
        if bundle.exists() and (from_sdist or bundle.stat().st_mtime >= _newest(root)):
            return
        npm = shutil.which("npm")
        if npm is None:
            if bundle.exists():
                self.app.display_warning(
                    f"{BUNDLE} is older than its sources and npm was not found: packing it as it is"
                )
                return
            raise RuntimeError(
                f"{BUNDLE} is missing and npm was not found to build it. Install Node 20 or newer and try again, "
                "or install a released wheel or sdist of attnwidget, which carry the bundle."
            )
        if not (root / "node_modules").exists():
            subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=root, check=True)
        subprocess.run([npm, "run", "build"], cwd=root, check=True)


def _newest(root: Path) -> float:
    files = (path for source in SOURCES for path in _files(root / source))
    return max((path.stat().st_mtime for path in files), default=0.0)


def _files(path: Path) -> list[Path]:
    return [child for child in path.rglob("*") if child.is_file()] if path.is_dir() else [path] * path.exists()
