"""README's table of hosts says what this run recorded. conftest.py lets it run after the tests that record."""

from pathlib import Path

import pytest
from hostrecord import read_rows
from hosttable import BY_CONTRACT, line, printed, replaced, without_browser_versions

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.browser
def test_readme_says_what_was_run(request):
    ran = {
        item.path.relative_to(ROOT).as_posix() for item in request.session.items if "record_host" in item.fixturenames
    }
    if not ran:
        pytest.skip("no test that records its host is part of this run")
    said = [said for said in printed(README).splitlines() if any(f"({test})" in said for test in ran)]
    recorded = [line(row) for row in read_rows() if row["test"] in ran]
    assert sorted(map(without_browser_versions, said)) == sorted(map(without_browser_versions, recorded)), (
        "README's table of hosts is not what was run: `make hosts` writes it"
    )


def test_the_tests_behind_what_was_not_run_are_there():
    for host, _, test in BY_CONTRACT:
        assert (ROOT / test).exists(), host
        assert f"| {host} | by contract" in printed(README)


def test_a_text_without_marks_is_refused():
    with pytest.raises(ValueError, match="there is no table to replace"):
        replaced("# A README", "table")
