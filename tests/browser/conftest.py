from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hostrecord import keep_row
from lab import BROWSER_FLAGS, Lab
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def playwright():
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright):
    browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM_PATH"), args=BROWSER_FLAGS)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("lab"))
    shutil.copy(ROOT / "notebooks" / "quickstart.ipynb", lab.folder)
    yield lab
    lab.close()


@pytest.fixture
def page(browser, request):
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(30_000)
    outside, errors = [], []
    page.on("request", lambda sent: outside.append(sent.url) if "127.0.0.1" not in sent.url else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    if os.environ.get("KEEP_SCREENSHOTS"):
        folder = ROOT / "test-results"
        folder.mkdir(exist_ok=True)
        page.screenshot(path=folder / f"{request.node.name}.png")
    context.close()
    assert not [url for url in outside if not url.startswith(("data:", "blob:"))], (
        "the page asked the network for something"
    )
    assert not errors, errors


PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def record_host(browser, request):
    """Tell what a test ran on: `record_host("JupyterLab", version="4.6.6", packages={"ipywidgets": "8.1.9"})`.

    The row goes into test-results/hosts.json when the test has passed; hostrecord.py tells the rest.
    """
    rows = []

    def record(host, *, version, packages):
        rows.append(
            {
                "host": host,
                "version": version,
                "browser": browser.browser_type.name,
                "browser_version": browser.version,
                "packages": packages,
                "test": request.path.relative_to(ROOT).as_posix(),
            }
        )

    yield record
    if request.node.stash.get(PASSED, False):
        for row in rows:
            keep_row(row)


@pytest.fixture(scope="session")
def support():
    """Where the kernel finds our test captures."""
    return str(ROOT / "tests" / "support")
