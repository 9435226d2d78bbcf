"""Finds or installs a Chromium that the browser tests can drive, and writes its path into the file given.

In this order: $CHROMIUM_PATH, Playwright's own if it is there, one of the system's, Playwright's download, Debian's
package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu"]
SYSTEM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def launches(path: str) -> bool:
    """Whether a browser at this path starts and opens a page."""
    if not Path(path).exists():
        return False
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
            browser.new_page().set_content("<p>hello</p>")
            browser.close()
    except Error as error:
        print(f"{path} does not start: {error}".splitlines()[0])
        return False
    return True


def present() -> list[str]:
    """Paths worth trying on this machine as it is."""
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    system = [shutil.which(name) for name in SYSTEM_NAMES]
    return [path for path in (os.environ.get("CHROMIUM_PATH"), own, *system) if path]


def download() -> None:
    """Let Playwright fetch its own browser, where the network allows it."""
    print("downloading Playwright's Chromium")
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False, timeout=900)


def install_from_debian() -> None:
    """Install Debian's package, as root or through sudo."""
    if shutil.which("apt-get") is None:
        return
    print("installing Debian's chromium")
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    packages = ["chromium", "fonts-dejavu-core", "fonts-noto-color-emoji"]
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        subprocess.run([*prefix, "apt-get", *command], check=False, env=environment, timeout=1200)


def main() -> None:
    """Try what is there, then install, and write down the first browser that starts."""
    for prepare in (lambda: None, download, install_from_debian):
        prepare()
        for path in present():
            if launches(path):
                Path(sys.argv[1]).write_text(path)
                print(f"browser: {path}")
                return
    sys.exit("No Chromium could be found or installed. Install one and set CHROMIUM_PATH to it.")


if __name__ == "__main__":
    main()
