"""What is marimo's own: cells that run again, when something is locked and not when it is hovered."""

from contextlib import closing

import pytest
from heatmap import click, hover, leave
from marimoapp import Marimo
from watchedpage import watched_page

pytestmark = pytest.mark.browser

CELLS = [
    """
from captures import make_capture
from attnwidget.widget.widget import _OPEN as open_views
""",
    """
reactive = mo.ui.anywidget(make_capture(layers=2, heads=3, queries=8).show())
reactive
""",
    """
used = mo.Html(f"<b class='used'>{reactive.value['query']}</b>")
runs = globals().get("runs_before", 0) + 1
globals()["runs_before"] = runs
used
""",
]


@pytest.fixture
def document(browser, tmp_path):
    with closing(Marimo(tmp_path)) as server, watched_page(browser) as watched:
        yield server.open(watched.page, server.write("reactive", CELLS))
    assert not watched.errors


def test_a_lock_runs_the_cells_that_use_the_view_and_a_hover_does_not(document):
    view, used = document.ready(), document.page.locator(".used")
    before = document.evaluate("runs_before")
    for query in range(5):
        hover(view, query, 6 - query)
    leave(view)
    document.page.wait_for_timeout(500)
    assert document.evaluate("runs_before") == before
    click(view, 4, 2)
    used.filter(has_text="4").wait_for()
    assert document.evaluate("runs_before") > before
    assert document.evaluate("reactive.query") == 4


def test_a_cell_that_runs_again_leaves_one_view_and_frees_the_old_one(document):
    document.ready()
    first = document.evaluate("reactive.widget.model_id")
    document.run_cell(1)
    for _ in range(50):
        if document.evaluate("reactive.widget.model_id") != first:
            break
    document.ready()
    (left,) = document.evaluate("[view.model_id for view in open_views]")
    assert left != first
