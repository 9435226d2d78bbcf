"""Files that are cut, changed or made to harm: a clear error, and no more memory than the file is long."""

from __future__ import annotations

import json
import re
import struct
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
import torch
from captures import make_capture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tiny import gpt2

import attnwidget as aw
from attnwidget.attention import DenseAttention, FramedAttention

UNREADABLE = r"cannot be read as a capture: "


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Bytes of a file with factors and a mask."""
    model = gpt2(n_layers=2)
    ids = torch.randint(3, 50, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), aw.capture(model) as cap:
        model(input_ids=ids, attention_mask=torch.tensor([[1] * 9, [1] * 6 + [0] * 3]))
    return cap.save(tmp_path_factory.mktemp("saved") / "run").read_bytes()


@pytest.fixture
def changed(tmp_path):
    """Writes the file again with a header that a function has changed, and loads it."""

    def load(data, change, arrays=None):
        path = tmp_path / "run"
        path.write_bytes(data)
        found = load_file(path)
        size = struct.unpack("<Q", data[:8])[0]
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["attnwidget"])
        header = change(header) or header
        found.update(arrays or {})
        text = header if isinstance(header, str) else json.dumps(header)
        save_file(found, path, {"attnwidget": text})
        return aw.load(path)

    return load


def layer(header, number=0):
    return header["stacks"][0]["layers"][number]


def swap(header, name, other):
    layer(header)["arrays"][name] = layer(header)["arrays"][other]


def probe(header):
    return layer(header)["probe"]["arrays"]


def spans(header, second):
    header["stacks"][0]["query_spans"] = [[0, 9], second]


def test_nothing_to_load(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        aw.load(tmp_path / "run")
    with pytest.raises(IsADirectoryError, match=r"is a folder; expected a file that cap\.save wrote"):
        aw.load(tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(aw.CaptureError, match=UNREADABLE + "it is not a whole safetensors file"):
        aw.load(tmp_path / "empty")
    save_file({"a": np.zeros(3)}, tmp_path / "other")
    with pytest.raises(aw.CaptureError, match="nothing that says it is a capture"):
        aw.load(tmp_path / "other")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_cut_file_is_refused(whole, tmp_path, data):
    path = tmp_path / "cut"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(aw.CaptureError, match=UNREADABLE):
        aw.load(path)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_file_gives_a_capture_or_a_clear_error(whole, tmp_path, data):
    path, bytes_ = tmp_path / "flipped", bytearray(whole)
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    for _ in range(data.draw(st.integers(1, 3))):
        bytes_[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes_)
    with suppress(aw.CaptureError):  # anything else fails here
        for name, stack in aw.load(path).stacks.items():
            assert stack.n_layers
            assert aw.load(path).weights(stack=name).dtype == np.float32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda header: "{", "its header is not as the format has it"),
        (lambda header: "[" * 100_000, "its header is not as the format has it"),
        (lambda header: header.update(version=2, written_by="a 9.9"), "version 2 of the format, written by a 9.9"),
        (lambda header: header.update(version="1"), "not as the format has it"),
        (lambda header: header.update(code="import os"), "unknown field `code`"),
        (lambda header: header.pop("stacks"), "missing required field `stacks`"),
        (lambda header: header.update(stacks=[]), "needs at least one stack"),
        (lambda header: header["stacks"].append(header["stacks"][0]), "two stacks have one name"),
        (lambda header: header["stacks"][0]["infos"].pop(), "2 layers and 1 descriptions"),
        (lambda header: header["stacks"][0]["query_tokens"].pop(), "expected one list of tokens per example"),
        (lambda header: header["stacks"][0]["query_tokens"][0]["text"].pop(), "one length for all of them"),
        (lambda header: spans(header, [0, 10**12]), "expected 2 of them within 0 to 9"),
        (lambda header: spans(header, [-5, 4]), "expected 2 of them within 0 to 9"),
        (lambda header: layer(header)["arrays"].pop("q"), "array 'q' of a layer is missing"),
        (
            lambda header: layer(header)["arrays"].update(q="../../x"),
            "an array '../../x' that is not in the file",
        ),
        (lambda header: swap(header, "q", "lse"), "expected (batch, heads, tokens, head size)"),
        (lambda header: swap(header, "lse", "q"), "lse has shape"),
        (lambda header: layer(header).update(mask=7), "mask 7 does not exist"),
        (lambda header: layer(header).update(mask=-1), "mask -1 does not exist"),
        (lambda header: layer(header).update(type="pickle"), "Invalid value 'pickle'"),
        (lambda header: header["masks"][0].update(n_keys=10**12), "has shape (2, 9)"),
        (lambda header: header["masks"][0]["arrays"].update(more="x"), "a mask has arrays"),
        (lambda header: probe(header).pop("rows"), "rows that a layer can be checked by are missing"),
        (lambda header: probe(header).update(values=layer(header)["arrays"]["q"]), "does not fit its shape"),
    ],
)
def test_a_header_that_does_not_fit(whole, changed, change, words):
    def edit(header):
        found = change(header)
        return found if isinstance(found, str) and found[:1] in "{[" else None

    with pytest.raises(aw.CaptureError, match=UNREADABLE + ".*" + re.escape(words)):
        changed(whole, edit)


def test_arrays_of_another_type(whole, changed):
    with pytest.raises(aw.CaptureError, match="expected floating point"):
        changed(whole, lambda _: None, {"self.0.q": np.zeros((2, 4, 9, 8), np.int32)})
    with pytest.raises(aw.CaptureError, match="array 'keys' is of type float64; expected bool"):
        changed(whole, lambda _: None, {"mask0.keys": np.zeros((2, 9))})


def test_a_frame_of_a_declared_size_takes_no_more_memory_than_the_file(tmp_path, changed):
    places = np.arange(6, dtype=np.int64).reshape(2, 3)
    inner = DenseAttention(np.full((2, 1, 3, 3), 1 / 3, np.float32))
    framed = FramedAttention(inner, places, places, n_examples=1, n_queries=6, n_keys=6)
    cap = aw.AttentionCapture([aw.AttentionStack("self", [framed])])
    data = cap.save(tmp_path / "run").read_bytes()
    np.testing.assert_array_equal(changed(data, lambda _: None).weights(), cap.weights())
    tracemalloc.start()
    for sizes in ({"n_queries": 10**12}, {"n_examples": 10**9}, {"n_examples": -1}, {"n_queries": 0}):
        with pytest.raises(aw.CaptureError, match="expected no more than a file of"):
            changed(data, lambda header, sizes=sizes: layer(header).update(sizes) and None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_huge_array_that_is_only_declared(tmp_path):
    data = make_capture().save(tmp_path / "run").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    header["self.0.weights"]["shape"] = [1, 4, 2**20, 2**20]
    header["self.0.weights"]["data_offsets"] = [0, 2**44]
    text = json.dumps(header).encode()
    (tmp_path / "run").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
    with pytest.raises(aw.CaptureError, match="not a whole safetensors file"):
        aw.load(tmp_path / "run")
