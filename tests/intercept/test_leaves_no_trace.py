"""Nothing stays patched, and nobody else is watched."""

from __future__ import annotations

import contextlib
import threading

import pytest
import torch
import transformers as tf
from surroundings import assert_same, surroundings
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import attnwidget as aw


def tiny():
    torch.manual_seed(0)
    return tf.BertModel(
        tf.BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    ).eval()


@pytest.fixture
def untouched():
    before = surroundings()
    yield
    assert_same(before, surroundings())


IDS = torch.tensor([[3, 4, 5, 6]])


@pytest.mark.usefixtures("untouched")
def test_after_a_run():
    model = tiny()
    config, flags = model.config.to_dict(), [part.training for part in model.modules()]
    aw.AttentionModel(model).capture(IDS)
    assert model.config.to_dict() == config
    assert [part.training for part in model.modules()] == flags
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert torch.is_grad_enabled()


class BreaksError(Exception):
    pass


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("wrapped", [False, True])
def test_after_an_exception_in_the_forward_which_comes_out_unchanged(wrapped):
    model = tiny()
    error = BreaksError("mine")

    def fail(*_):
        raise error

    model.encoder.layer[1].register_forward_pre_hook(fail)
    with pytest.raises(BreaksError) as caught:  # noqa: PT012
        if wrapped:
            aw.AttentionModel(model).capture(IDS)
        else:
            with aw.capture(model) as cap:
                model(IDS)
    assert caught.value is error
    if not wrapped:
        with pytest.raises(aw.CaptureError, match="not filled"):
            cap.weights()


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"stop": True}])
def test_after_generate(options):
    model = tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32)).eval()
    config, generation = model.config.to_dict(), model.generation_config.to_dict()

    def stop(*_, **__):
        raise BreaksError("mine")

    options = {"stopping_criteria": [stop]} if options.get("stop") else options
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, **options}
    inputs = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    with contextlib.ExitStack() as stack:
        if "stopping_criteria" in options:
            stack.enter_context(pytest.raises(BreaksError))
        with aw.capture(model) as cap:
            model.generate(**inputs, **options)
    if "stopping_criteria" in options:
        with pytest.raises(aw.CaptureError, match="not filled"):
            cap.weights()
    assert model.config.to_dict() == config
    assert model.generation_config.to_dict() == generation
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


@pytest.mark.usefixtures("untouched")
def test_threads_that_generate_see_their_own():
    models = [
        tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32)).eval()
        for _ in range(3)
    ]
    prompts = [torch.randint(3, 50, (1, length)) for length in (3, 5, 7)]
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    found: dict[int, aw.AttentionCapture] = {}
    start = threading.Barrier(4)

    def run(number):
        start.wait()
        for _ in range(3):
            with aw.capture(models[number]) as cap:
                models[number].generate(prompts[number], attention_mask=torch.ones_like(prompts[number]), **options)
            found[number] = cap

    def run_unwatched():
        start.wait()
        for _ in range(5):
            models[0].generate(prompts[0], attention_mask=torch.ones_like(prompts[0]), num_beams=2, **options)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    threads.append(threading.Thread(target=run_unwatched))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, prompt in enumerate(prompts):
        length = prompt.shape[1] + 5
        assert found[number].weights().shape == (2, 2, length, length)
        assert found[number].verify().ok


@pytest.mark.usefixtures("untouched")
def test_inside_the_block_the_capture_is_not_filled():
    model = tiny()
    with aw.capture(model) as cap:
        model(IDS)
        with pytest.raises(aw.CaptureError, match="use it after the block"):
            cap.weights()
    assert cap.weights().shape == (2, 2, 4, 4)


@pytest.mark.usefixtures("untouched")
def test_nested_captures_both_see():
    model, other = tiny(), tiny()
    with aw.capture(model) as outer:
        with aw.capture(other) as beside:
            other(IDS)
        with aw.capture(model.encoder.layer[1]) as inner:  # one capture has ended: the others still see
            model(IDS)
    assert outer.stacks["self"].n_layers == 2
    assert inner.stacks["self"].n_layers == 1
    assert beside.stacks["self"].n_layers == 2
    assert inner.stacks["self"].layers[0] is outer.stacks["self"].layers[1]


@pytest.mark.usefixtures("untouched")
def test_threads_see_their_own():
    models = [tiny() for _ in range(4)]
    texts = [torch.randint(0, 50, (1, length)) for length in (3, 5, 7, 9)]
    start = threading.Barrier(5)
    found: dict[int, aw.AttentionCapture] = {}

    def run(number):
        start.wait()
        for _ in range(5):
            with torch.no_grad(), aw.capture(models[number]) as cap:
                models[number](texts[number])
            found[number] = cap

    def run_unwatched():
        start.wait()
        for _ in range(20):
            with torch.no_grad():
                models[0](texts[0])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    threads.append(threading.Thread(target=run_unwatched))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, text in enumerate(texts):
        assert found[number].weights().shape == (2, 2, text.shape[1], text.shape[1])


@pytest.mark.usefixtures("untouched")
def test_a_function_kept_beyond_the_block_only_calls_the_original():
    model = tiny()
    with aw.capture(model):
        kept = ALL_ATTENTION_FUNCTIONS["sdpa"]
        model(IDS)
    q = torch.randn(1, 2, 4, 8)
    attention = model.encoder.layer[0].attention.self
    plain = ALL_ATTENTION_FUNCTIONS["sdpa"](attention, q, q, q, None)[0]
    assert torch.equal(kept(attention, q, q, q, None)[0], plain)
