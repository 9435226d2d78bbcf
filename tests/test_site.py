"""The site of the docs: built with warnings as errors, whole, and asking no other site for anything."""

from __future__ import annotations

import inspect
import re
from urllib.parse import unquote

import pytest
from site_pages import ROOT, Page, build

import attnwidget as aw
from attnwidget.widget.viewtraits import SETTABLE

SHOWN = ("AttentionModel", "AttentionCapture", "AttentionStack", "FactoredAttention", "DenseAttention", "Comparison")
OUTSIDE = re.compile(r"(?:[a-z]+:)?//", re.IGNORECASE)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def pages(site):
    found = {path: Page(path) for path in sorted(site.rglob("*.html")) if path.parent.name != "live"}
    assert len(found) > 20
    return found


def public(name):
    """Public methods and properties of a class, those of its parents in this package included."""
    members = inspect.getmembers_static(getattr(aw, name))
    parents = [base for base in getattr(aw, name).__mro__ if base.__module__.startswith("attnwidget.")]
    ours = parents[:1] if name == "Comparison" else parents  # otherwise it is a capture, as its page says
    return [
        member
        for member, value in members
        if member[0] != "_"
        and isinstance(value, (property, classmethod)) | inspect.isfunction(value)
        and any(member in vars(base) for base in ours)
    ]


def test_every_public_name_is_in_the_api(pages):
    there = set().union(*(page.names for path, page in pages.items() if path.parent.name == "api"))
    wanted = {f"attnwidget.{name}" for name in aw.__all__}
    wanted |= {f"attnwidget.{name}.{member}" for name in (*SHOWN, "AttentionWidget") for member in public(name)}
    wanted |= {f"attnwidget.AttentionWidget.{name}" for name in (*SETTABLE, "text", "run")}
    wanted |= {
        f"attnwidget.analysis.Patterns.{name}" for name in ("sorted", "similar", "to_pandas", "shapes", "errors")
    }
    assert len(wanted) > 120
    assert not sorted(wanted - there), "name them in docs/api"


def test_every_link_inside_the_site_leads_somewhere(pages, site):
    checked = 0
    for path, page in pages.items():
        for link in page.links + page.loads:
            if not link or OUTSIDE.match(link) or link.startswith(("data:", "mailto:")):
                continue
            address, _, name = link.partition("#")
            target = (path.parent / unquote(address.partition("?")[0])).resolve() if address else path
            assert target.is_file(), f"{path.relative_to(site)} leads to {link}"
            if name and target in pages:
                assert unquote(name) in pages[target].names, f"{path.relative_to(site)} leads to {link}"
            checked += 1
    assert checked > 2000


def test_no_page_asks_another_site_for_anything(pages, site):
    for path, page in pages.items():
        assert not [address for address in page.loads if OUTSIDE.match(address)], path.relative_to(site)
    for path in (*site.rglob("*.css"), *site.rglob("*.js")):
        text = path.read_text(encoding="utf-8")
        asked = re.findall(r"(?:url\(|@import\s+|fetch\(|import\()\s*[\"']?(?:https?:)?//[^\"')\s]+", text)
        assert not asked, f"{path.relative_to(site)}: {asked}"


def test_guides_lead_to_the_api_and_the_api_has_types_and_sections(site):
    guide = (site / "capturing.html").read_text(encoding="utf-8")
    assert 'href="api/capture.html#attnwidget.AttentionCapture.nbytes"' in guide
    api = (site / "api" / "capture.html").read_text(encoding="utf-8")
    assert 'href="#attnwidget.attention.Tile"' in api
    assert "Bytes held, by where they are:" in api


def test_the_gallery_holds_live_views_in_frames_that_may_only_run_scripts(pages, site):
    frames = pages[site / "gallery.html"].frames
    assert len(frames) >= 15
    for frame in frames:
        assert frame["sandbox"] == "allow-scripts"
        assert frame["title"]
        page = site / (frame["src"] or "")
        assert 50_000 < page.stat().st_size < 2_400_000, frame["src"]
        assert "connect-src" not in (text := page.read_text(encoding="utf-8"))
        assert "default-src 'none'" in text
    assert {path.name for path in (site / "live").iterdir()} == {(frame["src"] or "")[5:] for frame in frames}


def test_every_notebook_can_be_read_and_downloaded(pages, site):
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert notebooks == {path.stem for path in pages if path.parent.name == "notebooks"} - {"index"}, (
        "give it a page in docs/notebooks"
    )
    offered = {link.rpartition("/")[2] for link in pages[site / "notebooks" / "index.html"].links}
    assert {f"{name}.ipynb" for name in notebooks} <= offered
    assert "laid back onto it" in (site / "notebooks" / "any_model.html").read_text(encoding="utf-8").lower()
