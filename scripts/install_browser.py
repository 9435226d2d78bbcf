"""Finds or installs a browser that the browser tests can drive, and writes its path into a file.

    python scripts/install_browser.py chromium .venv/.browser
    python scripts/install_browser.py firefox .venv/.firefox

In this order: $CHROMIUM_PATH or $FIREFOX_PATH, Playwright's own if it is there, one of the system's, Playwright's
download, Debian's package. Playwright's own Firefox is a patched one: only Firefox as it is shipped will do.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserType, Error, Playwright, sync_playwright


@dataclass(frozen=True)
class Kind:
    """One of the browsers that the tests drive."""

    name: str
    launch: dict[str, Any]
    """How Playwright starts it."""
    own: bool
    """Whether the one that Playwright brings along will do."""
    system: tuple[str, ...]
    """Its commands."""
    debian: tuple[str, ...]
    """Its packages."""
    needed: bool
    """Whether nothing goes without it, on machines that are not Debian's either."""

    @property
    def variable(self) -> str:
        """The environment variable that names one."""
        return f"{self.name.upper()}_PATH"

    def type_of(self, playwright: Playwright) -> BrowserType:
        """What Playwright drives it with."""
        browser_type: BrowserType = getattr(playwright, self.name)
        return browser_type

    def launches(self, path: str) -> bool:
        """Whether a browser at this path starts and opens a page."""
        if not Path(path).exists():
            return False
        try:
            with sync_playwright() as playwright:
                browser = self.type_of(playwright).launch(executable_path=path, **self.launch)
                browser.new_page().set_content("<p>hello</p>")
                browser.close()
        except Error as error:
            print(f"{path} does not start: {error}".splitlines()[0])
            return False
        return True

    def present(self) -> list[str]:
        """Paths worth trying on this machine as it is."""
        with sync_playwright() as playwright:
            own = self.type_of(playwright).executable_path if self.own else None
        system = [shutil.which(name) for name in self.system]
        return [path for path in (os.environ.get(self.variable), own, *system) if path]

    def download(self) -> None:
        """Let Playwright fetch its own browser, where the network allows it."""
        if not self.own:
            return
        print(f"downloading Playwright's {self.name}")
        subprocess.run([sys.executable, "-m", "playwright", "install", self.name], check=False, timeout=900)

    def install_from_debian(self) -> None:
        """Install Debian's package, as root or through sudo."""
        if shutil.which("apt-get") is None:
            return
        print(f"installing {self.debian[0]} with apt-get")
        prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        packages = [*self.debian, "fonts-dejavu-core", "fonts-noto-color-emoji"]
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
            subprocess.run([*prefix, "apt-get", *command], check=False, env=environment, timeout=1200)


KINDS = {
    "chromium": Kind(
        "chromium",
        launch={"args": ["--no-sandbox", "--disable-gpu"]},
        own=True,
        system=("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
        debian=("chromium",),
        needed=True,
    ),
    "firefox": Kind(
        "firefox",
        launch={"channel": "moz-firefox"},
        own=False,
        system=("firefox-esr", "firefox"),
        debian=("firefox-esr",),
        needed=False,
    ),
}


def on_debian() -> bool:
    """Whether this machine is one on which Debian's packages can be had."""
    try:
        return platform.freedesktop_os_release().get("ID") == "debian"
    except OSError:
        return False


def main() -> None:
    """Try what is there, then install, and write down the first browser that starts."""
    kind, target = KINDS[sys.argv[1]], Path(sys.argv[2])
    for prepare in (lambda: None, kind.download, kind.install_from_debian):
        prepare()
        for path in kind.present():
            if kind.launches(path):
                target.write_text(path)
                print(f"{kind.name}: {path}")
                return
    missing = f"No {kind.name} could be found or installed. Install one and set {kind.variable} to it."
    if kind.needed or on_debian():
        sys.exit(missing)
    print(f"{missing} Tests in it are skipped.")
    target.write_text("")


if __name__ == "__main__":
    main()
