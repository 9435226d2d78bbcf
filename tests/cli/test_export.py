"""`attnwidget export`: what it writes is what Python writes, and what it cannot do leaves nothing behind."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios

import numpy as np
import pytest
from captures import make_capture

import attnwidget as aw
from attnwidget.export.figure import save_figure

TEXT = "The animal was too tired."


def state_in(page):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page.read_text("utf-8")).group(1))


def error_of(result, code=1):
    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    return line


def test_a_page_of_a_model(run, minilm, tmp_path):
    done = run("export", minilm, "--text", TEXT, "-o", "page.html", "--layer", 3, "--head", 5)
    assert done.exit_code == 0, done.output
    assert re.match(r"page\.html: \d+\.\d kB\. Stored in this page, of 72 heads: 72 in full", done.stdout)
    assert done.stderr == ""
    state = state_in(tmp_path / "page.html")
    assert (state["layer"], state["head"]) == (3, 5)
    assert state["meta"]["stacks"][0]["examples"][0]["queries"]["text"][1:3] == ["The", "animal"]
    assert list(tmp_path.iterdir()) == [tmp_path / "page.html"]


def test_a_capture_has_the_numbers_that_python_has_and_goes_on_to_a_page(process, run, minilm, tmp_path):
    text = f"{TEXT}\n".encode()
    done = process(
        "export", minilm, "--input", "-", "--pair", "Why?", "--layers", "1,3-4", "-o", "c.safetensors", input=text
    )
    assert (done.returncode, done.stderr) == (0, b"")
    cap = aw.load(tmp_path / "c.safetensors")
    expected = aw.AttentionModel.from_pretrained(minilm).capture((TEXT, "Why?"), layers=[1, 3, 4])
    np.testing.assert_allclose(cap.weights(), expected.weights(), atol=1e-6)
    assert run("export", "c.safetensors", "-o", "c.html", "--layer", 3).exit_code == 0
    assert state_in(tmp_path / "c.html")["layer"] == 1, "layer 3 of the model is the second that was kept"
    refused = run("export", "c.safetensors", "-o", "d.html", "--layer", 2)
    assert error_of(refused) == "attnwidget: error: layer 2 was not kept; --layers kept 1, 3, 4"
    assert run("export", "c.safetensors", "-o", "copy.safetensors").exit_code == 0
    assert (tmp_path / "copy.safetensors").read_bytes() == (tmp_path / "c.safetensors").read_bytes()


def test_a_model_goes_on_from_a_prompt_in_a_file(run, writer, tmp_path):
    (tmp_path / "prompt.txt").write_text("once upon a time", encoding="utf-8")
    done = run(
        "export",
        writer,
        "-i",
        "prompt.txt",
        "--generate",
        4,
        "--dtype",
        "float32",
        "--device",
        "cpu",
        "-o",
        "g.safetensors",
    )
    assert done.exit_code == 0, done.output
    cap = aw.load(tmp_path / "g.safetensors")
    assert len(cap.generation.ids[0]) == cap.generation.prompt_lengths[0] + 4
    assert cap.tokens[1:5] == ["once", "upon", "a", "time"]


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_figure_is_the_one_that_python_draws(run, ending, tmp_path):
    cap = make_capture()
    cap.save(tmp_path / "c.safetensors")
    done = run(
        "export", "c.safetensors", "--layer", 2, "--head", 1, "--panel", "lines", "--format", ending, "-o", "figure"
    )
    assert done.exit_code == 0, done.output
    view = aw.load(tmp_path / "c.safetensors").show(layer=2, head=1)
    save_figure(view._seen(), tmp_path / f"same.{ending}", ending, panel="lines")
    assert (tmp_path / "figure").read_bytes() == (tmp_path / f"same.{ending}").read_bytes()


def test_the_size_of_a_page_is_kept_and_what_is_left_out_is_said(run, tmp_path):
    make_capture(layers=6, heads=8, queries=60).save(tmp_path / "c.safetensors")
    done = run("export", "c.safetensors", "-o", "small.html", "--max-bytes", "60kB")
    assert re.search(r"of 48 heads: \d+ in full, .*; \d+ as small pictures", done.stdout)
    stored = re.findall(
        r'<script type="text/plain">(.*?)</script>', (tmp_path / "small.html").read_text("utf-8"), re.DOTALL
    )
    assert 30_000 < len(stored[0]) <= 60_000


def test_nothing_is_replaced_unless_that_is_asked_for(run, tmp_path):
    make_capture().save(tmp_path / "c.safetensors")
    (tmp_path / "page.html").write_text("mine")
    refused = run("export", "c.safetensors", "-o", "page.html")
    assert error_of(refused) == "attnwidget: error: page.html exists already; --force replaces it"
    assert (tmp_path / "page.html").read_text() == "mine"
    assert run("export", "c.safetensors", "-o", "page.html", "--force").exit_code == 0
    assert "attnwidget" in (tmp_path / "page.html").read_text("utf-8")


def test_a_run_that_fails_leaves_nothing_behind(run, tmp_path, monkeypatch):
    make_capture().save(tmp_path / "c.safetensors")

    def full(path, _view):
        path.write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr("attnwidget.export.write_page", full)
    (tmp_path / "page.html").write_text("mine")
    assert error_of(run("export", "c.safetensors", "-fo", "page.html")) == "attnwidget: error: no space left on device"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.safetensors", "page.html"]
    assert (tmp_path / "page.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere/at/all", "-t", "a", "-o", "p.html"), "could not load 'nowhere/at/all' with AutoModel, tried as"),
        (("nothere.safetensors", "-o", "p.html"), "there is no file nothere.safetensors"),
        (("c.safetensors", "-o", "no/p.html"), "there is no folder no to write p.html into"),
        (("c.safetensors", "-o", "p.html", "--layer", 3), "layer is 3: stack 'self' has layers 0 to 2"),
        (("c.safetensors", "-o", "p.html", "--head", 4), "head is 4: stack 'self' has heads 0 to 3"),
        (("{minilm}", "-i", "nowhere.txt", "-o", "p.html"), "No such file or directory: 'nowhere.txt'"),
        (("{minilm}", "-i", "c.safetensors", "-o", "p.html"), "c.safetensors is not text in UTF-8 (byte"),
        (("{minilm}", "-t", "", "-o", "p.html"), "empty"),
        (("{minilm}", "-t", "a", "--device", "abacus", "-o", "p.html"), "the model cannot be put on 'abacus'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(run, minilm, tmp_path, words, said):
    make_capture().save(tmp_path / "c.safetensors")
    refused = run("export", *(minilm if word == "{minilm}" else word for word in words))
    line = error_of(refused)
    assert line.startswith("attnwidget: error: ")
    assert said in line
    assert len(line) < 560
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("m", "-o", "p.html"), "a model reads --text or --input, and neither is there"),
        (("m", "-t", "a", "-i", "b", "-o", "p.html"), "a model reads --text or --input, and both are there"),
        (("m", "-t", "a", "-o", "p.pdf"), "'p.pdf' ends in none of .html, .safetensors, .png, .svg"),
        (("m", "-t", "a", "-o", "p.html", "--max-bytes", "much"), "'much' is no size; expected a number of bytes"),
        (("m", "-t", "a", "-o", "p.html", "--layers", "4-2"), "'4-2' names no layers; expected numbers from 0"),
        (("m", "-t", "a", "-o", "p.png", "--max-bytes", "8MB"), "--max-bytes is of pages, and p.png becomes png"),
        (("m", "-t", "a", "-o", "p.html", "--panel", "grid"), "--panel is of figures, and p.html becomes html"),
        (("c.safetensors", "-t", "a", "--layers", "0", "-o", "p.html"), "not run again: leave out --text, --layers"),
        (("m", "-t", "a"), "Missing option '--output' / '-o'"),
    ],
)
def test_a_command_line_that_makes_no_sense_has_an_exit_code_of_its_own(run, words, said):
    refused = run("export", *words)
    assert refused.exit_code == 2
    assert said in " ".join(refused.stderr.replace("│", " ").split())


def test_the_traceback_is_shown_when_asked_for(run):
    refused = run("export", "nothere.safetensors", "-o", "p.html", "--traceback")
    assert "Traceback (most recent call last)" in refused.stderr
    assert refused.stderr.splitlines()[-1] == "attnwidget: error: there is no file nothere.safetensors"


def test_a_terminal_shows_a_bar_and_keeps_nothing_of_it(tmp_path):
    make_capture(layers=6, heads=8, queries=60).save(tmp_path / "c.safetensors")
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-m", "attnwidget", "export", "c.safetensors", "-o", "page.html"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, check=True)
    shown = os.read(ours, 100_000).decode() if select.select([ours], [], [], 0)[0] else ""
    os.close(terminal)
    os.close(ours)
    assert "packing: 0head" in shown
    assert shown.endswith("\r"), "the bar is wiped"
    assert done.stdout.startswith(b"page.html: ")
