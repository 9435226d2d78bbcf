"""A view with a text box, over a made-up model that takes as long as a test wants."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

import numpy as np
import pytest
import traitlets

from attnwidget import AttentionCapture, AttentionWidget, CaptureError
from attnwidget.widget.live import Live


class Model:
    """Runs texts: "slow ..." until it is let go or stopped, "bad ..." not at all."""

    def __init__(self):
        self.began = threading.Event()
        self.go = threading.Event()
        self.running = self.most = 0
        self.ran = []
        self.threads = []

    def run(self, text, stop):
        self.running += 1
        self.most = max(self.most, self.running)
        self.threads.append(threading.current_thread())
        try:
            self.began.set()
            first = text if isinstance(text, str) else text[0]
            while first.startswith("slow") and not self.go.is_set():
                if stop():
                    raise KeyboardInterrupt("stopped between two layers")
                time.sleep(0.002)
            if first.startswith("bad"):
                raise ValueError("no such word: bad")
            if first.startswith("broken"):
                raise ZeroDivisionError("by chance")
            self.ran.append(text)
            return capture_of(text)
        finally:
            self.running -= 1


def capture_of(text):
    words = text.split() if isinstance(text, str) else [*text[0].split(), "[SEP]", *text[1].split()]
    weights = np.random.default_rng(len(words)).dirichlet(np.ones(len(words)), (2, 3, len(words)))
    return AttentionCapture.from_weights(weights.astype(np.float32), words, model="made up")


@pytest.fixture
def model():
    model = Model()
    yield model
    model.go.set()


def show(model, text="the cat sat", **traits):
    return AttentionWidget(capture_of(text), live=Live(text, model.run, 0.25), **traits)


def ask(view, method, **params):
    return view._answerer.answer({"id": 1, "method": method, "params": params}).content


def until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)


def pieces(view):
    return view.meta["stacks"][0]["examples"][0]["queries"]["piece"]


def test_it_starts_with_its_text_and_rests(model):
    view = show(model)
    assert view.text == "the cat sat"
    assert view.run == {"state": "idle", "text": "the cat sat", "message": "", "seconds": 0.25}
    assert view.capture.tokens == ["the", "cat", "sat"]


def test_setting_the_text_runs_here_and_now_and_the_selection_follows_its_tokens(model):
    view = show(model, "the cat sat on it", layer=1, head=2, query=2, key=4, window=(1, 3, 0, 5))
    before = weakref.ref(view.capture)
    heard = []
    view.observe(
        lambda change: heard.append((change["name"], change["new"])), ["text", "query", "key", "window", "layer"]
    )
    view.text = "now the old cat sat on it"
    assert model.threads == [threading.current_thread()]
    assert (view.layer, view.head, view.query, view.key, view.window) == (1, 2, 4, 6, (3, 5, 1, 7))
    assert heard == [("query", 4), ("key", 6), ("window", (3, 5, 1, 7)), ("text", "now the old cat sat on it")]
    assert pieces(view) == view.capture.tokens == ["now", "the", "old", "cat", "sat", "on", "it"]
    assert (view.meta["capture"], view.run["state"]) == (1, "idle")
    gc.collect()
    assert before() is None, "the capture that was replaced is let go of"


def test_what_was_selected_and_is_gone_is_released(model):
    view = show(model, "the cat sat on it", query=1, key=3, window=(1, 3, 0, 2))
    view.text = "the dog sat"
    assert (view.query, view.key, view.window) == (None, None, None)


def test_a_failure_is_raised_in_python_and_everything_stays(model):
    view = show(model, query=1)
    before, meta = view.capture, view.meta
    with pytest.raises(traitlets.TraitError, match="text is not set: no such word: bad") as caught:
        view.text = "bad word"
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(traitlets.TraitError, match="text is not set: ZeroDivisionError: by chance"):
        view.text = "broken"
    assert (view.text, view.query, view.capture, view.meta) == ("the cat sat", 1, before, meta)
    assert view.run["state"] == "idle"


def test_a_failure_is_told_to_the_page_that_asked(model):
    view = show(model)
    before = view.capture
    assert ask(view, "run", text="bad word") == {"id": 1, "ok": {}}
    until(lambda: view.run["state"] == "failed")
    assert view.run == {"state": "failed", "text": "bad word", "message": "no such word: bad", "seconds": 0.25}
    ask(view, "run", text="broken")
    until(lambda: view.run["message"] == "ZeroDivisionError: by chance")
    assert (view.text, view.capture) == ("the cat sat", before)


def test_the_page_is_answered_while_a_text_runs_and_the_old_picture_stays_until_it_is_there(model):
    view = show(model)
    ask(view, "run", text="slow cat")
    assert view.run["state"] == "running"
    model.began.wait()
    place = {"stack": "self", "batch": 0}
    block = {"layer": 0, "head": 0, "queries": [0, 3], "keys": [0, 3]}
    answer = view._answerer.answer({"id": 2, "method": "values", "params": {**place, "blocks": [block]}, "capture": 0})
    np.testing.assert_array_equal(np.frombuffer(answer.buffers[0], "<f4").reshape(3, 3), view.capture.weights(0, 0))
    assert view.text == "the cat sat"
    model.go.set()
    until(lambda: view.run["state"] == "idle")
    assert (view.text, pieces(view)) == ("slow cat", ["slow", "cat"])
    assert view.run["seconds"] > 0


def test_what_was_asked_about_the_capture_before_is_not_answered_from_the_new_one(model):
    view = show(model)
    view.text = "a cat sat"
    block = {"layer": 0, "head": 0, "queries": [0, 1], "keys": [0, 1]}
    params = {"stack": "self", "batch": 0, "blocks": [block]}
    old, new = (
        view._answerer.answer({"id": 2, "method": "values", "params": params, "capture": number}) for number in (0, 1)
    )
    assert old.content["error"] == {"code": "superseded", "message": "this view shows capture 1 by now: ask anew"}
    assert new.content == {"id": 2, "ok": {"blocks": [{"height": 1, "width": 1}]}}


def test_the_last_of_quick_edits_is_shown_and_no_two_run_at_once(model):
    view = show(model)
    for number in range(8):
        ask(view, "run", text=f"slow {number}")
    ask(view, "run", text="the last one")
    until(lambda: view.text == "the last one")
    assert (model.ran, model.most, view.run["state"]) == (["the last one"], 1, "idle")


def test_a_run_is_cancelled_where_it_can_stop_and_the_picture_stays(model):
    view = show(model)
    before = view.capture
    states = []
    view.observe(lambda change: states.append(change["new"]["state"]), "run")
    ask(view, "run", text="slow cat")
    model.began.wait()
    assert ask(view, "cancel") == {"id": 1, "ok": {}}
    until(lambda: states[-1] == "cancelled")
    assert states == ["running", "stopping", "cancelled"]
    assert (view.text, view.capture, model.ran) == ("the cat sat", before, [])
    ask(view, "cancel")  # nothing runs: nothing happens
    assert states[-1] == "cancelled"


def test_python_hears_that_the_page_cancelled_or_wants_another_text(model):
    view = show(model)
    for method, params in (("cancel", {}), ("run", {"text": "the page's own"})):
        model.began.clear()
        timer = threading.Thread(target=lambda m=method, p=params: (model.began.wait(), ask(view, m, **p)))
        timer.start()
        with pytest.raises(traitlets.TraitError, match="text is not set: its run was cancelled, or the page has"):
            view.text = "slow cat"
        timer.join()
    until(lambda: view.text == "the page's own")
    assert view.run["state"] == "idle"


def test_python_goes_before_what_the_page_had_begun(model):
    view = show(model)
    ask(view, "run", text="slow cat")
    model.began.wait()
    view.text = "from python"
    assert (view.text, view.run["state"], model.ran) == ("from python", "idle", ["from python"])
    time.sleep(0.05)
    assert (view.text, view.run["state"]) == ("from python", "idle")


def test_closing_stops_the_run_and_lets_go(model):
    view = show(model)
    ask(view, "run", text="slow cat")
    model.began.wait()
    held = weakref.ref(view.capture)
    view.close()
    until(lambda: not model.running)
    gc.collect()
    assert (held(), model.ran) == (None, [])
    with pytest.raises(CaptureError, match="this view is closed, and holds no capture any more: run its cell again"):
        view.capture  # noqa: B018


def test_on_an_event_loop_the_result_is_handed_over_by_the_loop(model):
    heard = []

    before = len(threading.enumerate())

    async def cell():
        view, shown = show(model), asyncio.Event()
        view.observe(lambda _: shown.set(), "text")
        view.observe(lambda _: heard.append(threading.current_thread()), ["text", "meta"])
        ask(view, "run", text="a cat")
        until(lambda: model.ran)  # as a cell that keeps the kernel busy
        until(lambda: len(threading.enumerate()) == before)
        assert view.text == "the cat sat"
        await asyncio.wait_for(shown.wait(), 5)
        return view

    view = asyncio.run(cell())
    assert heard == [threading.current_thread()] * 2
    ask(view, "run", text="no loop")  # which has ended by now
    until(lambda: view.text == "no loop")


def test_an_observer_may_set_the_next_text(model):
    view = show(model)
    view.observe(lambda change: setattr(view, "text", "and then"), "text")
    view.text = "a cat"
    assert (view.text, view.capture.tokens, pieces(view)) == ("and then", ["and", "then"], ["and", "then"])


def test_an_observer_that_fails_leaves_a_view_that_agrees_with_itself(model):
    view = show(model, "the cat sat", query=0)
    sent = []
    view.send_state = lambda key=None: sent.append(key)
    view.observe(lambda _: 1 / 0, "query")
    ask(view, "run", text="now the cat sat down")
    until(lambda: view.run["state"] == "failed")
    assert view.run["message"] == "ZeroDivisionError: division by zero"
    assert (view.text, view.query, pieces(view)) == ("now the cat sat down", 1, view.capture.tokens)
    assert None in sent, "all of the state goes to the page"


def test_a_text_that_is_held_back_runs_or_is_taken_back(model):
    """As where a page sets the trait: several at once, checked at the end."""
    view = show(model)
    with view.hold_trait_notifications():
        view.text, view.head = "a cat", 2
    assert (view.text, view.head, view.capture.tokens) == ("a cat", 2, ["a", "cat"])
    with pytest.raises(traitlets.TraitError), view.hold_trait_notifications():
        view.text = "bad"
    assert (view.text, view.capture.tokens) == ("a cat", ["a", "cat"])


def test_a_pair_of_texts(model):
    view = show(model, ("who sat", "the cat"), key=3)
    assert view.text == ("who sat", "the cat")
    view.text = ("who", "the cat")
    assert (view.key, view.text) == (2, ("who", "the cat"))
    ask(view, "run", text=["so", "it is"])
    until(lambda: view.text == ("so", "it is"))


def test_text_is_checked(model):
    view, still = show(model), capture_of("a b").show()
    assert (still.text, still.run) == ("", {})
    with pytest.raises(traitlets.TraitError, match=r"this view shows one capture; model\.show\(text\) makes one"):
        still.text = "a"
    for wrong in (None, ["a", "b", "c"], ("a",), 3):
        with pytest.raises(traitlets.TraitError, match="The 'text' trait of an AttentionWidget instance expected"):
            view.text = wrong
    with pytest.raises(TypeError, match="AttentionWidget has no trait 'text'"):
        capture_of("a b").show(text="a")
    bad = ask(view, "run", text=["a"])["error"]
    assert bad == {"code": "invalid", "message": "'text' is ['a']: expected a text, or a list of two"}
    assert ask(still, "run", text="a")["error"]["message"].startswith("this view shows one capture: model.show(text)")
    assert view.run["state"] == "idle"


def test_many_threads_at_once_end_with_a_view_that_agrees_with_itself(model):
    """Edits, tiles, traits and cancels, all together: no deadlock, and text, tokens and capture are of one run."""
    view = show(model)
    problems = []

    def edit(seed):
        for number in range(20):
            ask(view, "run", text=" ".join(f"w{seed}-{part}" for part in range(2 + (seed + number) % 5)))
            if number % 7 == 6:
                ask(view, "cancel")

    def look():
        for _ in range(60):
            answer = ask(view, "values", stack="self", batch=0, blocks=[
                {"layer": 0, "head": 0, "queries": [0, 2], "keys": [0, 2]}])  # fmt: skip
            if "ok" not in answer:
                problems.append(answer)

    threads = [threading.Thread(target=edit, args=(seed,)) for seed in range(3)] + [threading.Thread(target=look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    ask(view, "run", text="the very end")
    until(lambda: view.text == "the very end")
    assert (problems, pieces(view), view.capture.tokens) == ([], ["the", "very", "end"], ["the", "very", "end"])
    assert (view.run["state"], model.most) == ("idle", 1)
