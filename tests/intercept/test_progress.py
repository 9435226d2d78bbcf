"""A bar of layers or tokens, for captures that take long; and captures that are interrupted."""

from __future__ import annotations

import gc
import io
import threading
import weakref
from typing import ClassVar

import pytest
import tiny
import torch
from surroundings import assert_same, surroundings

import attnwidget as aw
from attnwidget.intercept import progress


class Bar:
    """In the place of tqdm."""

    made: ClassVar[list[Bar]] = []

    def __init__(self, **options):
        self.options, self.total = options, options["total"]
        self.n, self.closed, self.shown = 0, False, []
        Bar.made.append(self)

    def update(self, count):
        self.n += count
        self.shown.append(self.n)

    def close(self):
        self.closed = True


@pytest.fixture
def bars(monkeypatch):
    monkeypatch.setattr(Bar, "made", [])
    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    return Bar.made


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0.0)


def run(model, **options):
    with torch.no_grad(), aw.capture(model, **options) as cap:
        model(tiny.ids())
    return cap


def test_short_captures_have_none(bars):
    run(tiny.llama())
    assert not bars


@pytest.mark.usefixtures("at_once")
def test_layers(bars):
    aw.AttentionModel(tiny.llama(5), name="a llama").capture(tiny.ids())
    (bar,) = bars
    assert bar.options == {"desc": "capturing a llama", "total": 0, "unit": "layer", "leave": False}
    assert (bar.shown, bar.total, bar.closed) == ([1, 2, 3, 4, 5], 5, True)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("options", [{"layers": [1], "heads": [2]}, {"store": "disk"}, {"dtype": "bfloat16"}])
def test_layers_that_are_left_out_or_on_disk_count_too(bars, options):
    run(tiny.llama(5), **options)
    assert (bars[0].shown, bars[0].total) == ([1, 2, 3, 4, 5], 5)


@pytest.mark.usefixtures("at_once")
def test_tokens_of_generate(bars):
    model = aw.AttentionModel(tiny.llama(2))
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    model.generate([[3, 4, 5]], **options)
    (bar,) = bars
    assert (bar.options["unit"], bar.total, bar.n, bar.closed) == ("token", 6, 6, True)
    model.generate([[3, 4, 5]], progress=False, **options)
    assert len(bars) == 1


@pytest.mark.usefixtures("at_once")
def test_passes_of_a_loop_of_ones_own(bars):
    model, cache = tiny.llama(2), None
    with torch.no_grad(), aw.capture(model):
        for token in tiny.ids(1, 4)[0]:
            cache = model(token[None, None], past_key_values=cache, use_cache=True).past_key_values
    assert [bar.options["unit"] for bar in bars] == ["layer", "pass"]
    assert (bars[1].n, bars[1].total) == (4, None)
    assert all(bar.closed for bar in bars)


@pytest.mark.usefixtures("at_once")
def test_off(bars):
    run(tiny.llama(), progress=False)
    aw.AttentionModel(tiny.llama()).capture(tiny.ids(), progress=False)
    assert not bars


@pytest.mark.usefixtures("at_once")
def test_none_in_other_threads(bars):
    other = threading.Thread(target=run, args=(tiny.llama(),))
    other.start()
    other.join()
    assert not bars
    run(tiny.llama())
    assert len(bars) == 1


@pytest.mark.usefixtures("at_once")
def test_closed_by_an_exception(bars):
    model = tiny.llama()
    model.model.layers[2].mlp.forward = None
    with pytest.raises(TypeError):
        run(model)
    assert bars[0].closed


@pytest.mark.usefixtures("at_once")
def test_a_bar_that_cannot_be_drawn_disturbs_nothing(monkeypatch):
    def broken(**_):
        raise OSError("no terminal")

    monkeypatch.setattr("tqdm.auto.tqdm", broken)
    assert run(tiny.llama()).verify().ok


@pytest.mark.usefixtures("at_once")
def test_the_real_one(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    aw.AttentionModel(tiny.llama(3), name="a llama").capture(tiny.ids())
    assert "capturing a llama" in out.getvalue()


@pytest.mark.parametrize("options", [{}, {"dtype": "bfloat16", "layers": [0, -1]}, {"store": "disk"}])
@pytest.mark.parametrize("generating", [False, True])
def test_an_interrupt_leaves_everything_as_it_was_and_holds_nothing(options, generating):
    model = tiny.llama()
    with torch.no_grad():
        plain = model(tiny.ids()).logits
    before, kept = surroundings(), []
    earlier = {id(one): one for one in gc.get_objects() if type(one) is aw.FactoredAttention}  # of other tests

    def interrupt(*_):
        gc.collect()
        layers = (one for one in gc.get_objects() if type(one) is aw.FactoredAttention)
        kept.extend(weakref.ref(one) for one in layers if id(one) not in earlier)
        raise KeyboardInterrupt

    hook = model.model.layers[3].mlp.register_forward_hook(interrupt)

    def go():
        if generating:
            model.generate(tiny.ids(1, 5), max_new_tokens=3, do_sample=False, pad_token_id=0)
        else:
            model(tiny.ids())

    with pytest.raises(KeyboardInterrupt) as caught, torch.no_grad(), aw.capture(model, **options) as cap:
        go()
    hook.remove()
    assert_same(before, surroundings())
    assert kept
    assert not [one for one in kept if one() is not None], "though the traceback lives on"
    assert caught.traceback
    with pytest.raises(aw.CaptureError, match="this capture is not filled"):
        cap.weights()
    with torch.no_grad():
        assert torch.equal(model(tiny.ids()).logits, plain)
    assert run(model, **options).verify().ok
