"""The command lines that README and docs print: each does what it says, one after another."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["README.md", "docs/command-line.md"])
def test_every_line_runs(name, run, minilm, writer, tmp_path):
    (tmp_path / "prompt.txt").write_text("once upon a time", encoding="utf-8")
    names = {"bert-base-uncased": minilm, "gpt2": str(writer)}
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if re.search(r"(^|\| )attnwidget ", line)]
    assert len(lines) >= 4
    for line in lines:
        said, _, command = line.rpartition("| ")
        words = [names.get(word, word) for word in shlex.split(command, comments=True)[1:]]
        done = run(*words, input=" ".join(shlex.split(said)[1:]))
        assert done.exit_code == 0, f"{line}\n{done.output}"
        if "-o" in words:
            assert (tmp_path / words[words.index("-o") + 1]).stat().st_size > 500, line
