"""Queries and keys kept on the device, in memory or on disk: the same weights, and nothing left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as tf
from torch import nn
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import attnwidget as aw
from attnwidget.attention.mapped import _mapped

IDS = torch.randint(0, 50, (2, 24), generator=torch.Generator().manual_seed(0))
PADDED = torch.ones_like(IDS).index_fill_(1, torch.arange(4), 0)


def llama(dtype=torch.float32, **options):
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 3, "vocab_size": 50}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return tf.LlamaModel._from_config(tf.LlamaConfig(**size, **heads), **options).to(dtype).eval()


def open_files():
    """What this process has open; nothing where the system does not say."""
    found = []
    for link in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):  # that of the listing itself
            found.append(str(link.readlink()))
    return sorted(name for name in found if "attnwidget" in name or "deleted" in name)


@pytest.fixture
def nothing_left():
    """No file open or mapped that was not before."""
    before = open_files()
    yield
    if _mapped:  # tracebacks that pytest holds make cycles
        gc.collect()
    assert not _mapped
    assert open_files() == before


@pytest.fixture(params=["device", "cpu", "disk", "folder"])
def store(request, tmp_path):
    return tmp_path if request.param == "folder" else request.param


def run(model, **options):
    with torch.no_grad():
        return model(IDS, attention_mask=PADDED, **options).last_hidden_state


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_the_same_numbers_from_everywhere(store, dtype, implementation):
    model = llama(dtype, attn_implementation=implementation)
    plain = run(model)
    with aw.capture(model) as wanted:
        run(model)
    with aw.capture(model, store=store) as cap:
        seen = run(model)
    assert torch.equal(plain, seen)
    for ask in ("weights", "scores", "allowed"):
        np.testing.assert_array_equal(getattr(cap, ask)(batch=1), getattr(wanted, ask)(batch=1))
    np.testing.assert_array_equal(
        cap.weights(1, 2, queries=[7, 3], keys=[0, 9]), wanted.weights(1, 2)[[7, 3]][:, [0, 9]]
    )
    np.testing.assert_array_equal(cap.tile(0, 1, height=3, width=5).values, wanted.tile(0, 1, height=3, width=5).values)
    np.testing.assert_array_equal(cap.pair(query=9, key=2), wanted.pair(query=9, key=2))
    layer = cap.stacks["self"].layers[0]
    assert layer.q.dtype == dtype
    assert (layer.known_lse is None) is (wanted.stacks["self"].layers[0].known_lse is None)


@pytest.mark.usefixtures("nothing_left")
def test_against_eager_transformers_from_disk():
    model = llama()
    eager = llama(attn_implementation="eager")
    cap = aw.AttentionModel(model, store="disk").capture(IDS)
    with torch.no_grad():
        wanted = eager(IDS, output_attentions=True).attentions
    np.testing.assert_allclose(cap.weights(batch=1), torch.stack(wanted)[:, 1].numpy(), atol=1e-6)


@pytest.mark.usefixtures("nothing_left")
def test_what_is_held_is_told_by_place(tmp_path):
    model = llama()
    with aw.capture(model) as wanted:
        run(model)
    with aw.capture(model, store=tmp_path) as cap:
        run(model)
    factors = sum(part.nbytes for layer in wanted.stacks["self"].layers for part in (layer.q, layer.k, layer.known_lse))
    assert cap.held == {"disk": factors, "memory": wanted.nbytes - factors}
    assert cap.nbytes == wanted.nbytes - factors
    assert repr(wanted).splitlines()[0] == f"AttentionCapture('LlamaModel', {wanted.nbytes / 1024:.1f} kB)"
    memory = f"{cap.nbytes / 1024:.1f} kB in memory"
    assert repr(cap).splitlines()[0] == f"AttentionCapture('LlamaModel', {memory}, {factors / 1024:.1f} kB on disk)"
    assert repr(cap).splitlines()[1].endswith(f"{memory}, {factors / 1024:.1f} kB on disk")
    assert list(tmp_path.iterdir()) == [], "the file has no name, so that it cannot be left behind"


@pytest.mark.usefixtures("nothing_left")
def test_closed():
    model = llama()
    with aw.capture(model, store="disk") as cap:
        run(model)
    assert _mapped
    layer = cap.stacks["self"].layers[0]
    cap.close()
    with pytest.raises(aw.CaptureError, match="this capture was closed, and holds nothing any more: capture the model"):
        cap.weights()
    assert repr(cap) == "AttentionCapture('LlamaModel', closed)"
    assert layer.q.isfinite().all(), "who still holds a part of it can read on"


class LeftError(Exception):
    pass


@pytest.mark.usefixtures("nothing_left")
def test_left_by_an_exception_or_by_a_generator_never_finished():
    model = llama()

    def watch():
        with aw.capture(model, store="disk"):
            run(model)
            yield

    generator = watch()
    next(generator)
    assert _mapped
    del generator
    with pytest.raises(LeftError), aw.capture(model, store="disk"):  # noqa: PT012
        run(model)
        raise LeftError


SCRIPT = """
import os, signal, sys, torch, attnwidget as aw
from torch import nn
from torch.nn import functional
class Look(nn.Module):
    def forward(self, q):
        return functional.scaled_dot_product_attention(q, q, q)
look = Look()
with aw.capture(look, store=sys.argv[1]) as cap:
    look(torch.randn(1, 2, 9, 4))
assert cap.held["disk"] > 0
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["ended", "killed"])
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system knows no SIGKILL")
def test_nothing_is_left_when_the_process_ends(tmp_path, how):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), how], capture_output=True, text=True, check=False
    )
    assert done.returncode == (-signal.SIGKILL if how == "killed" else 0), done.stderr
    assert list(tmp_path.iterdir()) == []


class Look(nn.Module):
    def forward(self, q, k):
        return functional.scaled_dot_product_attention(q, k, k)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of the process from /proc")
@pytest.mark.usefixtures("nothing_left")
def test_memory_does_not_grow_with_what_is_on_disk():
    def memory():
        gc.collect()
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024

    look, q, k = Look(), torch.randn(1, 4, 8, 64), torch.randn(1, 4, 1 << 15, 64)  # k: 32 MB
    layers = nn.ModuleList([look] * 6)
    layers.forward = lambda q, k: [layer(q, k) for layer in layers][-1]
    before = memory()
    with torch.no_grad(), aw.capture(layers, store="disk") as cap:
        layers(q, k)
    assert cap.held["disk"] > 6 * k.nbytes
    assert memory() - before < 2 * k.nbytes
    wanted = torch.softmax(q[0, 3] @ k[0, 3].T / 8, -1)
    np.testing.assert_allclose(cap.weights(5, 3), wanted.numpy(), atol=1e-6)


@pytest.mark.usefixtures("nothing_left")
def test_many_threads_read_at_once():
    model = llama(attn_implementation="eager")  # so that denominators are computed when first needed, by whoever comes
    with aw.capture(model) as wanted:
        run(model)
    with aw.capture(model, store="disk") as cap:
        run(model)
    asked = [(layer, head) for layer in range(3) for head in range(4)] * 8
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda place: cap.weights(*place), asked))
    for place, weights in zip(asked, found, strict=True):
        np.testing.assert_array_equal(weights, wanted.weights(*place))


def dense_attention(module, query, key, value, attention_mask, scaling=None, **options):
    """Weights that no factors explain, so that they are kept as they are."""
    weights = torch.softmax((query @ key.repeat_interleave(2, 1).transpose(-1, -2)).square(), dim=-1)
    return (weights @ value.repeat_interleave(2, 1)).transpose(1, 2).contiguous(), weights


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_kept_as_they_are(store, dtype):
    ALL_ATTENTION_FUNCTIONS["dense"] = dense_attention
    try:
        model = llama(dtype)
        model.config._attn_implementation = "dense"
        for parameter in model.parameters():
            parameter.data.mul_(20)
        returned = []
        for layer in model.layers:
            layer.self_attn.register_forward_hook(lambda _, __, result: returned.append(result[1].float()))
        with torch.no_grad(), aw.capture(model, store=store) as cap:
            model(IDS)
    finally:
        del ALL_ATTENTION_FUNCTIONS["dense"]
    place = "memory" if store in ("device", "cpu") else "disk"
    assert cap.held[place] >= 3 * 2 * 4 * 24 * 24 * dtype.itemsize
    assert str(dtype).removeprefix("torch.") in repr(cap)
    np.testing.assert_array_equal(cap.weights(batch=1), torch.stack(returned)[:, 1].numpy())
    np.testing.assert_array_equal(cap.weights(0, 1, keys=[5, 2]), returned[0][0, 1][:, [5, 2]].numpy())


@pytest.mark.usefixtures("nothing_left")
def test_nested_captures_each_keep_where_they_were_told_to(tmp_path):
    model = llama()
    with aw.capture(model, store="disk") as disk, aw.capture(model) as memory, aw.capture(model, store="disk") as same:
        run(model)
    assert disk.held["disk"] > 0
    assert memory.held == {"memory": memory.nbytes}
    assert same.stacks["self"].layers[0] is disk.stacks["self"].layers[0]
    wanted = memory.weights()
    disk.close()
    np.testing.assert_array_equal(same.weights(), wanted)
    wrapped = aw.AttentionModel(model, store=tmp_path)
    assert wrapped.capture(IDS).held["disk"] > 0
    assert "disk" not in wrapped.capture(IDS, store="device").held


@pytest.fixture
def limit_files():
    """Files may not grow beyond this, which the system says with an error like that of a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    @contextlib.contextmanager
    def limit(nbytes):
        # No longer than needed: where the tests themselves write to a file, it must be able to grow.
        resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


@pytest.mark.usefixtures("nothing_left")
def test_no_room_at_all(limit_files, tmp_path):
    model = llama()
    with limit_files(1000), pytest.raises(aw.CaptureError) as error, aw.capture(model, store=tmp_path):
        pytest.fail("the block must not begin")
    assert str(error.value) == (
        f"there is no room in {tmp_path} for 1.0 MB more, after 0 bytes (File too large): free some, or keep the "
        "factors in another folder with store="
    )


@pytest.mark.usefixtures("nothing_left")
def test_no_room_halfway(limit_files, tmp_path):
    look = Look()
    small, large = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 1 << 16, 8)
    layers = nn.ModuleList([look])
    layers.forward = lambda: look(small, small) + look(large[:, :, :4], large).sum()
    plain = layers.forward()
    with limit_files(3 << 19), pytest.raises(aw.CaptureError) as error, aw.capture(layers, store=tmp_path) as cap:
        output = layers()
    assert torch.equal(plain, output)
    text = str(error.value)
    assert text.startswith(
        f"attention of 0 (sdpa) could not be recorded: there is no room in {tmp_path} for 2.0 MB more, "
    )
    assert "after 272 bytes (File too large): free some, or keep the factors in another folder with store=" in text
    with pytest.raises(aw.CaptureError, match="not filled"):
        cap.weights()


def test_a_folder_that_cannot_be_written_to(tmp_path):
    if os.geteuid() == 0:
        folder = Path("/proc")  # root may write to every other
        if not folder.exists():
            pytest.skip("no folder here that root may not write to")
    else:
        folder = tmp_path / "closed"
        folder.mkdir(mode=0o500)
    with pytest.raises(aw.CaptureError) as error, aw.capture(llama(), store=folder):
        pytest.fail("the block must not begin")
    assert str(error.value).startswith(f"no file can be made in {folder} (")
    assert str(error.value).endswith("); expected a folder that exists and can be written to")


@pytest.mark.parametrize(
    ("store", "kind", "text"),
    [
        ("disc", ValueError, "store is 'disc'; expected 'device', 'cpu', 'disk' or a folder that exists"),
        ("/no/such", ValueError, "store is '/no/such'; expected 'device', 'cpu', 'disk' or a folder that exists"),
        (3, TypeError, "store is int 3; expected 'device', 'cpu', 'disk' or a folder that exists"),
    ],
)
def test_a_store_that_is_none(store, kind, text):
    model = llama()
    for refuse in (
        lambda: aw.capture(model, store=store).__enter__(),
        lambda: aw.AttentionModel(model, store=store),
        lambda: aw.AttentionModel(model).capture(IDS, store=store),
    ):
        with pytest.raises(kind) as error:
            refuse()
        assert str(error.value) == text


def test_large_temporary_files_do_not_go_where_memory_is(monkeypatch, tmp_path):
    from attnwidget.intercept.store import check_where

    monkeypatch.setattr("tempfile.tempdir", "/tmp")  # noqa: S108
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    wanted = "/var/tmp" if os.access("/var/tmp", os.W_OK) else "/tmp"  # noqa: S108
    assert check_where("disk") == Path(wanted)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert check_where("disk") == tmp_path


@pytest.mark.skipif(not torch.cuda.is_available(), reason="copies from a GPU need one")
@pytest.mark.parametrize("store", ["device", "cpu", "disk"])
def test_from_a_gpu(store):
    model = llama().cuda()
    with torch.no_grad():
        inputs = {"input_ids": IDS.cuda(), "attention_mask": PADDED.cuda()}
        plain = model(**inputs).last_hidden_state
        with aw.capture(model, store=store) as cap:
            seen = model(**inputs).last_hidden_state
    assert torch.equal(plain, seen)
    kept = cap.stacks["self"].layers[0].q
    assert kept.is_cuda is (store == "device")
    with aw.capture(model.cpu()) as wanted:
        run(model)
    np.testing.assert_allclose(cap.weights(), wanted.weights(), atol=1e-5)
