from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hostrecord import keep_row
from lab import BROWSER_FLAGS, Lab
from playwright.sync_api import sync_playwright
from watchedpage import watched_page

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
    with watched_page(browser) as watched:
        yield watched.page
        if os.environ.get("KEEP_SCREENSHOTS"):
            folder = ROOT / "test-results"
            folder.mkdir(exist_ok=True)
            watched.page.screenshot(path=folder / f"{request.node.name}.png")
    assert not watched.outside, "the page asked the network for something"
    assert not watched.errors, watched.errors


def pytest_collection_modifyitems(items):
    """Mark the tests of files that record their host, and let those that read the record come last."""
    recording = {item.path for item in items if "record_host" in item.fixturenames}
    for item in items:
        if item.path in recording or item.path.name == "test_hosts_table.py":
            item.add_marker("host")
    items.sort(key=lambda item: item.path.name == "test_hosts_table.py")


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
