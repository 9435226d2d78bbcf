"""Captures in threads, tasks and generators, ended in any order: each gets its own calls, nothing stays patched."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import transformers as tf
from surroundings import assert_same, surroundings
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

import attnwidget as aw
from attnwidget.intercept import interface, replaced
from attnwidget.intercept.byhand import trails
from attnwidget.intercept.recorder import ACTIVE

SHORT, LONG = torch.tensor([[3, 4, 5]]), torch.tensor([[6, 7, 8, 9, 10]])


@pytest.fixture(autouse=True)
def untouched():
    before = surroundings()
    yield
    assert_same(before, surroundings())


def tiny(seed=0):
    torch.manual_seed(seed)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    return tf.BertModel(tf.BertConfig(vocab_size=50, **size)).eval()


def expected(model, ids):
    """What transformers itself returns, (L, H, T, T)."""
    config = type(model.config).from_dict(model.config.to_dict())
    eager = tf.BertModel._from_config(config, attn_implementation="eager").eval()
    eager.load_state_dict(model.state_dict())
    with torch.no_grad():
        return torch.cat(eager(ids, output_attentions=True).attentions).numpy()


def assert_shows(cap, model, ids):
    np.testing.assert_allclose(cap.weights(), expected(model, ids), atol=1e-6)


def run(model, ids):
    with torch.no_grad():
        return model(ids).last_hidden_state


def wait(barrier):
    barrier.wait()


def in_thread(function):
    """Run in another thread; returns what it returns, or fails if it hangs."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()), daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive(), "it hangs"
    return found[0]


@pytest.mark.parametrize("same", [True, False])
def test_two_threads_in_the_middle_of_a_run_at_once(same):
    models = [tiny()] * 2 if same else [tiny(1), tiny(2)]
    plain = [run(model, ids) for model, ids in zip(models, (SHORT, LONG), strict=True)]
    inside = threading.Barrier(2, timeout=60)
    handles = [model.encoder.layer[1].register_forward_pre_hook(lambda *_: wait(inside)) for model in models]
    if same:
        handles.pop().remove()

    def watch(number, ids):
        with aw.capture(models[number]) as cap:
            output = run(models[number], ids)
        return cap, output

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(watch, range(2), (SHORT, LONG)))
    for handle in handles:
        handle.remove()
    for (cap, output), model, ids, without in zip(found, models, (SHORT, LONG), plain, strict=True):
        assert_shows(cap, model, ids)
        assert torch.equal(output, without)


def test_two_models_taking_turns_in_one_block():
    one, other = tiny(1), tiny(2)
    with aw.capture(one) as first, aw.capture(other) as second:
        run(other, LONG)
        run(one, SHORT)
    assert_shows(first, one, SHORT)
    assert_shows(second, other, LONG)


class Foreign(TorchFunctionMode):
    """A mode of somebody else, entered and left among captures."""

    calls = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


def test_closed_in_the_order_they_were_opened_with_a_foreign_mode_between():
    one, other = tiny(1), tiny(2)
    foreign, first, second = Foreign(), aw.capture(one), aw.capture(other)
    cap = first.__enter__()
    foreign.__enter__()
    beside = second.__enter__()
    run(one, SHORT)
    first.__exit__(None, None, None)  # from below the two others
    assert _get_current_function_mode_stack()[-1] is foreign
    before = foreign.calls
    run(other, LONG)
    assert foreign.calls > before
    second.__exit__(None, None, None)
    assert _get_current_function_mode_stack() == [foreign]
    foreign.__exit__(None, None, None)
    assert_shows(cap, one, SHORT)
    assert_shows(beside, other, LONG)


def watching(model, ids, found):
    """A generator that runs a model under capture, and stops inside the block."""
    with aw.capture(model) as cap:
        found.append(cap)
        yield run(model, ids)


def test_a_generator_never_finished():
    model, found = tiny(), []
    plain = run(model, SHORT)
    generator = watching(model, SHORT, found)
    assert torch.equal(next(generator), plain)
    del generator
    with pytest.raises(aw.CaptureError, match="not filled"):
        found[0].weights()
    with aw.capture(model) as cap:
        run(model, LONG)
    assert_shows(cap, model, LONG)


@pytest.mark.parametrize("first", ["generator", "block"])
def test_a_suspended_generator_beside_another_capture(first):
    one, other, found = tiny(1), tiny(2), []
    generator = watching(one, SHORT, found)
    next(generator)
    block = aw.capture(other)
    cap = block.__enter__()
    foreign = Foreign()
    foreign.__enter__()
    if first == "generator":
        assert next(generator, "finished") == "finished"
    run(other, LONG)
    foreign.__exit__(None, None, None)
    block.__exit__(None, None, None)
    if first == "block":
        assert len(_get_current_function_mode_stack()) == 1
        assert next(generator, "finished") == "finished"
    assert_shows(found[0], one, SHORT)
    assert_shows(cap, other, LONG)


def test_a_generator_closed_between_two_runs_of_a_later_capture():
    one, other = tiny(1), tiny(2)
    generator = watching(one, SHORT, [])
    next(generator)
    with aw.capture(other.encoder.layer[0]) as first, aw.capture(other.encoder.layer[1]) as second:
        generator.close()
        run(other, LONG)
    np.testing.assert_allclose(np.concatenate([first.weights(), second.weights()]), expected(other, LONG), atol=1e-6)


def test_a_generator_closed_by_another_thread():
    model, found = tiny(), []
    generator = watching(model, SHORT, found)
    plain = next(generator)

    def close_and_look():
        before = _get_current_function_mode_stack()
        generator.close()
        with aw.capture(model) as cap:
            run(model, LONG)
        return before, cap, _get_current_function_mode_stack(), trails._local.watchers

    before, cap, after, watchers = in_thread(close_and_look)
    assert before == after == []
    assert watchers == 0
    assert_shows(cap, model, LONG)
    # This thread's stack was out of reach there: what is left on it does nothing, and the next capture takes it away.
    (left,) = _get_current_function_mode_stack()
    assert left.left
    assert torch.equal(run(model, SHORT), plain)
    with aw.capture(model) as cap:
        run(model, LONG)
    assert _get_current_function_mode_stack() == []
    assert_shows(cap, model, LONG)


def test_a_generator_collected_in_another_thread():
    model = tiny()

    def lose():
        generator = watching(model, SHORT, [])
        next(generator)
        generator.gi_frame.f_locals["found"].append(generator)  # a cycle: only the collector can end it

    gc.disable()
    try:
        lose()
        in_thread(gc.collect)
    finally:
        gc.enable()
    with aw.capture(model) as cap:
        run(model, LONG)
    assert_shows(cap, model, LONG)


def test_a_capture_collected_while_the_look_up_is_wrapped(monkeypatch):
    model, lost = tiny(), []

    def collect_and_install():
        lost.clear()
        return interface.install()

    def watch():
        with monkeypatch.context() as patch:  # so that the lost one found nothing to wrap
            patch.delitem(sys.modules, "transformers.modeling_utils")
            lost.append(aw.capture(tiny()))
            lost[0].__enter__()
        monkeypatch.setattr(replaced, "_INSTALLERS", (collect_and_install,))
        with aw.capture(model) as cap:
            run(model, LONG)
        return cap

    assert_shows(in_thread(watch), model, LONG)
    assert replaced._watchers == 0


async def layer_by_layer(model, ids, start=None, done=None):
    """A model run in steps, with room for others between them."""
    if start is not None:
        await start.wait()
    hidden = model.embeddings(ids)
    for layer in model.encoder.layer:
        await asyncio.sleep(0)
        hidden = layer(hidden)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    if done is not None:
        done.set()
    return hidden


@pytest.mark.parametrize("same", [True, False])
def test_tasks_taking_turns_in_one_thread(same):
    one, other = (tiny(1), tiny(1 if same else 2))
    other = one if same else other

    async def watch(model, ids):
        with aw.capture(model) as cap:
            await asyncio.sleep(0)
            await layer_by_layer(model, ids)
            await asyncio.sleep(0)
        return cap

    async def main():
        unwatched = asyncio.create_task(layer_by_layer(one, LONG))
        found = await asyncio.gather(watch(one, SHORT), watch(other, LONG), watch(one, LONG))
        await unwatched
        return found

    first, second, third = asyncio.run(main())
    assert_shows(first, one, SHORT)
    assert_shows(second, other, LONG)
    assert_shows(third, one, LONG)


def test_a_task_started_in_a_block_belongs_to_it_until_the_block_ends():
    model = tiny()

    async def main():
        go = asyncio.Event()
        with aw.capture(model) as cap:
            (recorder,) = ACTIVE.get()
            late = asyncio.create_task(layer_by_layer(model, LONG, start=go))
            await asyncio.create_task(layer_by_layer(model, SHORT))
        with aw.capture(model) as beside:
            go.set()
            await late  # started in the first block, so no part of this one
            run(model, SHORT[:, :2])
        assert recorder.records == []
        return cap, beside

    cap, beside = asyncio.run(main())
    assert_shows(cap, model, SHORT)
    assert_shows(beside, model, SHORT[:, :2])


def test_an_asynchronous_generator_never_finished():
    model = tiny()
    held = []

    async def watch():
        with aw.capture(model):
            yield run(model, SHORT)

    async def main():
        generator = watch()
        await anext(generator)
        held.append(len(_get_current_function_mode_stack()))
        del generator  # the loop closes it in a task, and so in a context, of its own
        await asyncio.sleep(0.01)
        held.append(len(_get_current_function_mode_stack()))
        with aw.capture(model) as cap:
            run(model, LONG)
        return cap

    assert_shows(asyncio.run(main()), model, LONG)
    assert held == [1, 0]


class LeftError(Exception):
    pass


def test_an_exception_in_an_inner_block_leaves_the_outer_one_as_it_was():
    model = tiny()

    def fail():
        with aw.capture(model.encoder.layer[0]) as inner:
            broken.append(inner)
            raise LeftError

    broken = []
    with aw.capture(model) as cap:
        with pytest.raises(LeftError):
            fail()
        run(model, SHORT)
    assert_shows(cap, model, SHORT)
    with pytest.raises(aw.CaptureError, match="not filled"):
        broken[0].weights()


def test_what_was_recorded_is_not_kept_by_contexts_that_outlive_the_block():
    model = tiny()
    with aw.capture(model) as cap:
        run(model, SHORT)
        context = contextvars.copy_context()
    (recorder,) = context[ACTIVE]
    assert recorder.ended
    assert recorder.records == []
    assert cap.stacks["self"].n_layers == 2


@pytest.mark.parametrize("way", ["to_thread", "copied context"])
def test_a_run_in_another_thread_that_took_the_context_along_is_refused(way):
    """Of a model of which only a part would be seen there, and of one that would be seen whole."""
    model = tiny()

    async def apart():
        with torch.no_grad(), aw.capture(model):
            await asyncio.to_thread(model, SHORT)

    def copied():
        context = contextvars.copy_context
        with torch.no_grad(), aw.capture(model), ThreadPoolExecutor(1) as pool:
            pool.submit(context().run, model, SHORT).result()

    with pytest.raises(aw.CaptureError) as caught:
        asyncio.run(apart()) if way == "to_thread" else copied()
    assert str(caught.value) == interface.OTHER_THREAD


def test_a_capture_of_its_own_in_a_thread_that_took_the_context_along():
    model = tiny()

    def inner():
        with torch.no_grad(), aw.capture(model) as cap:
            model(SHORT)
        return cap

    with torch.no_grad(), aw.capture(model) as outer, ThreadPoolExecutor(1) as pool:
        cap = pool.submit(contextvars.copy_context().run, inner).result()
    assert_shows(cap, model, SHORT)
    assert_shows(outer, model, SHORT)
