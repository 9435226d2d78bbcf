"""Loops of one's own: passes over one cache are one map, and anything else is refused."""

from __future__ import annotations

import copy

import generation as small
import numpy as np
import pytest
import torch
import transformers as tf
from torch import nn
from torch.nn import functional

import attnwidget as aw
from attnwidget.attention import DenseAttention
from attnwidget.intercept.calls import record_call

GREEDY = {"do_sample": False, "max_new_tokens": 6}


@pytest.fixture(scope="module")
def llama():
    return small.build("llama")


@pytest.fixture
def ids():
    return small.prompts((7,))["input_ids"]


def assert_equal(weights, model, sequence):
    np.testing.assert_allclose(weights, small.eager_weights(model, sequence)["self"], atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "gemma2", "gpt_oss", "deepseek_v3"])
def test_a_loop_with_past_key_values(name, ids):
    if name == "gemma2" and tf.__version__ < "5":
        pytest.skip("the cache that older versions of transformers make for it has no room behind the prompt")
    model = small.build(name)
    with torch.no_grad(), aw.capture(model) as cap:
        output, sequence = model(ids, use_cache=True), ids
        for _ in range(5):
            token = output.logits[:, -1:].argmax(-1)
            sequence = torch.cat([sequence, token], dim=1)
            output = model(token, past_key_values=output.past_key_values)
    assert cap.weights().shape[-2:] == (12, 12)  # here the last token was run too
    assert_equal(cap.weights(), model, sequence[0])
    assert cap.verify().ok
    assert cap.generation is None
    assert cap.notes[0] == f"6 forward passes of {type(model).__name__} that continue one another are shown as one"


def test_several_tokens_at_once_and_names_for_all_of_them(llama, ids):
    names = [f"t{number}" for number in range(10)]
    more = ids[:, :3] + 1
    with torch.no_grad(), aw.capture(llama, names) as cap:
        output = llama(ids, use_cache=True)
        llama(more, past_key_values=output.past_key_values)
    assert cap.tokens == names
    assert_equal(cap.weights(), llama, torch.cat([ids, more], 1)[0])


def test_latest_keys_that_were_taken_back(llama, ids):
    with torch.no_grad(), aw.capture(llama) as cap:
        output = llama(ids, use_cache=True)
        output.past_key_values.crop(-3)
        llama(ids[:, :2] + 1, past_key_values=output.past_key_values)
    assert_equal(cap.weights(), llama, torch.cat([ids[:, :4], ids[:, :2] + 1], 1)[0])


def test_forks_of_a_cache_say_what_is_shown(llama, ids):
    one, other = ids[:, :2] + 1, ids[:, :3] + 2
    with torch.no_grad(), aw.capture(llama) as cap:
        cache = llama(ids, use_cache=True).past_key_values
        fork = copy.deepcopy(cache)
        llama(one, past_key_values=cache)
        llama(other, past_key_values=fork)
    assert_equal(cap.weights(), llama, torch.cat([ids, other], 1)[0])
    assert cap.notes[1] == (
        "1 of them took back tokens that others had run, as where a cache is forked: first pass 3, from token 7 to 8. "
        "Of these tokens the last pass over them is shown; for the others, open a capture around each continuation"
    )
    with torch.no_grad():
        cache = llama(ids, use_cache=True).past_key_values
        for more in (one, other):
            with aw.capture(llama) as cap:
                llama(more, past_key_values=copy.deepcopy(cache))
            want = small.eager_weights(llama, torch.cat([ids, more], 1)[0])["self"]
            np.testing.assert_allclose(cap.weights(), want[:, :, ids.shape[1] :], atol=1e-5)
        with aw.capture(llama) as cap:  # all that the first continuation ran is taken back
            for more in (one, other):
                llama(more, past_key_values=copy.deepcopy(cache))
        np.testing.assert_allclose(cap.weights(), want[:, :, ids.shape[1] :], atol=1e-5)


def test_beams_of_ones_own(llama, ids):
    orders = [[2, 0, 0], [1, 1, 2], [0, 2, 1], [2, 2, 2]]
    with torch.no_grad(), aw.capture(llama) as cap:
        sequences = ids.repeat(3, 1)
        cache = llama(sequences, use_cache=True).past_key_values
        for number, order in enumerate([[0, 1, 2], *orders]):
            cache.reorder_cache(torch.tensor(order))
            tokens = torch.tensor([[5 + number], [9 + number], [30 + number]])
            sequences = torch.cat([sequences[order], tokens], dim=1)
            llama(tokens, past_key_values=cache)
    for example in range(3):
        assert_equal(cap.weights(batch=example), llama, sequences[example])


def test_one_prompt_that_becomes_several_examples(llama, ids):
    tokens = torch.tensor([[5], [9], [30]])
    with torch.no_grad(), aw.capture(llama) as cap:
        cache = llama(ids, use_cache=True).past_key_values
        cache.batch_repeat_interleave(3)
        llama(tokens, past_key_values=cache)
    for example in range(3):
        assert_equal(cap.weights(batch=example), llama, [*ids[0].tolist(), int(tokens[example])])


def test_a_conversation_of_several_calls_with_one_cache(llama, ids):
    cache = small.dynamic_cache(llama)
    with torch.no_grad(), aw.capture(llama) as cap:
        first = llama.generate(ids, past_key_values=cache, **GREEDY)
        both = llama.generate(torch.cat([first, ids[:, :3]], 1), past_key_values=cache, **GREEDY)
    assert_equal(cap.weights(), llama, both[0, :-1])
    assert cap.generation.ids == (tuple(both[0].tolist()),)
    assert cap.generation.prompt_lengths == (16,)


def test_a_cache_that_was_filled_before(llama, ids):
    cache = small.dynamic_cache(llama)
    first = llama.generate(ids, past_key_values=cache, **GREEDY)
    with aw.capture(llama) as cap:
        both = llama.generate(torch.cat([first, ids[:, :3]], 1), past_key_values=cache, **GREEDY)
    stack = cap.stacks["self"]
    assert (len(stack.query_tokens[0]), len(stack.key_tokens[0])) == (9, 21)
    whole = small.eager_weights(llama, both[0, :-1])["self"]
    np.testing.assert_allclose(cap.weights(), whole[:, :, -9:], atol=1e-5)
    assert cap.generation.prompt_lengths == (4,)


def test_after_generate_a_loop_goes_on(llama, ids):
    cache = small.dynamic_cache(llama)
    with torch.no_grad(), aw.capture(llama) as cap:
        first = llama.generate(ids, past_key_values=cache, **GREEDY)
        more = torch.cat([first[:, -1:], ids[:, :2]], 1)
        llama(more, past_key_values=cache)
    assert_equal(cap.weights(), llama, torch.cat([first, ids[:, :2]], 1)[0])


def test_the_inner_module_alone(llama, ids):
    with aw.capture(llama.model) as cap:
        found = llama.generate(ids, num_beams=3, **GREEDY)
    assert_equal(cap.weights(), llama, found[0, :-1])
    with aw.capture(llama.model.layers[1]) as layer:
        found = llama.generate(ids, **GREEDY)
    np.testing.assert_allclose(layer.weights(0), small.eager_weights(llama, found[0, :-1])["self"][1], atol=1e-5)
    text = "generate() searched with beams, and the watched module was not called with token ids to tell them apart by"
    with pytest.raises(aw.CaptureError) as error, aw.capture(llama.model.layers[1]):
        llama.generate(ids, num_beams=3, **GREEDY)
    assert text in str(error.value)


class Chat(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model.generate(ids, **GREEDY)


def test_a_module_that_generates_in_its_forward(llama, ids):
    chat = Chat(llama)
    with aw.capture(chat) as cap:
        found = chat(ids)
    assert_equal(cap.weights(), llama, found[0, :-1])
    assert cap.stacks["self"].infos[0].path == "model.model.layers.0.self_attn"


def test_nested_captures_that_began_at_different_times(llama, ids):
    with torch.no_grad(), aw.capture(llama) as outer:
        output = llama(ids, use_cache=True)
        with aw.capture(llama.model) as inner:
            llama(ids[:, :2], past_key_values=output.past_key_values)
    whole = small.eager_weights(llama, torch.cat([ids, ids[:, :2]], 1)[0])["self"]
    np.testing.assert_allclose(outer.weights(), whole, atol=1e-5)
    np.testing.assert_allclose(inner.weights(), whole[:, :, -2:], atol=1e-5)


class Tiny(nn.Module):
    """A causal block with no cache at all, which its loop runs again on all of the text."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(60, 16)
        self.blocks = nn.ModuleList(nn.Linear(16, 48) for _ in range(2))

    def forward(self, ids):
        x = self.embedding(ids)
        for block in self.blocks:
            q, k, v = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in block(x).chunk(3, -1))
            x = x + functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        return x

    def generate(self, ids, count):
        for _ in range(count):
            logits = self(ids)[:, -1] @ self.embedding.weight.T
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
        return ids


def test_a_loop_without_a_cache(ids):
    torch.manual_seed(0)
    model = Tiny()
    with torch.no_grad(), aw.capture(model) as cap:
        found = model.generate(ids, 5)
    with torch.no_grad(), aw.capture(model) as whole:
        model(found[:, :-1])
    np.testing.assert_allclose(cap.weights(), whole.weights(), atol=1e-6)
    assert "each pass ran earlier tokens again, as without a cache: their rows are those of the first pass" in cap.notes


REFUSED = {
    "the same text twice": (lambda model, ids: [model(ids), model(ids)], "call 1 of it brought no new token"),
    "another text": (
        lambda model, ids: [model(ids), model(ids + 1)],
        "7 queries and 7 keys, which do not continue the 7",
    ),
    "a shorter text": (
        lambda model, ids: [model(ids), model(ids[:, :4])],
        "4 queries and 4 keys, which do not continue",
    ),
    "another's cache": (
        lambda model, ids: [model(ids), model(ids[:, :1], past_key_values=model(ids + 2).past_key_values)],
        "7 queries and 7 keys, which do not continue the 7 keys of the call before",
    ),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_runs_that_do_not_continue_one_another(llama, ids, what):
    run, text = REFUSED[what]
    with pytest.raises(aw.CaptureError) as error, torch.no_grad(), aw.capture(llama):
        run(llama, ids)
    assert text in str(error.value)
    assert str(error.value).startswith("LlamaForCausalLM ran more than once in one capture: expected one forward pass")
    assert str(error.value).endswith("Open one capture per call")


def test_a_cache_of_another_text_that_is_as_long(llama, ids):
    with torch.no_grad():
        foreign = llama(ids + 2, use_cache=True).past_key_values
    text = "1 queries and 8 keys, which do not continue the 7 keys"
    with pytest.raises(aw.CaptureError, match=text), torch.no_grad(), aw.capture(llama):
        [llama(part, past_key_values=cache) for part, cache in ((ids, None), (ids[:, :1], foreign))]


def test_a_model_that_looks_both_ways_is_not_continued_by_a_longer_text():
    model = tf.BertModel(
        tf.BertConfig(vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32)
    ).eval()
    ids = torch.arange(5, 12)[None]
    text = "BertModel ran more than once in one capture"
    with pytest.raises(aw.CaptureError, match=text), torch.no_grad(), aw.capture(model):
        [model(part) for part in (ids[:, :5], ids)]


def passes(model, ids, *depths):
    """Passes of one token each behind a first one, through as many layers."""
    cache = model(ids, use_cache=True).past_key_values
    for depth in depths:
        model.model.config.num_hidden_layers = depth
        model(ids[:, :1], past_key_values=cache)


def test_a_layer_that_is_left_out_of_a_pass(ids):
    text = "layers.2.self_attn cannot be joined: it was not called in all of them, and holds positions [(0, 7), (7, 8)]"
    for depths in ((3, 2), (2, 3)):  # as if the last or the second pass had gone through two layers alone
        with pytest.raises(aw.CaptureError) as error, torch.no_grad(), aw.capture(model := small.build("llama")):
            passes(model, ids, *depths)
        assert text in str(error.value)
    with torch.no_grad(), aw.capture(model := small.build("llama")) as cap:
        passes(model, ids, 2)
    assert [stack.n_layers for stack in cap.stacks.values()] == [2, 1]
    assert any("stack 'self-2' holds the layers like the former" in note for note in cap.notes)


class ByHand(nn.Module):
    """A block whose weights alone are known to a capture, with a cache of its own: no mask, no values, nothing else."""

    def __init__(self, *, probe):
        super().__init__()
        self.qkv = nn.Linear(16, 48)
        self.probe = probe

    def forward(self, x, past_key_values=None):
        q, k, v = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        if past_key_values is not None and past_key_values:
            k, v = (torch.cat([old, new], dim=2) for old, new in zip(past_key_values, (k, v), strict=True))
        if past_key_values is not None:
            past_key_values[:] = k, v
        n, m = q.shape[2], k.shape[2]
        scores = (q @ k.transpose(-1, -2)).square().masked_fill(torch.ones(n, m).triu(m - n + 1).bool(), -torch.inf)
        weights = torch.softmax(scores, dim=-1)
        output = weights @ v

        def build(keeper):
            return DenseAttention(keeper.keep(weights), probe=keeper.probe(v, output) if self.probe else None)

        record_call(build, implementation="by hand")
        return output


@pytest.mark.parametrize("probe", [True, False])
def test_weights_without_a_mask(probe):
    torch.manual_seed(0)
    model, x, cache = ByHand(probe=probe), torch.randn(2, 9, 16), []
    with torch.no_grad(), aw.capture(model) as cap:
        for part in x.split([4, 2, 1, 1, 1], dim=1):
            model(part, past_key_values=cache)
    with torch.no_grad(), aw.capture(model) as whole:
        model(x)
    for example in range(2):
        np.testing.assert_allclose(cap.weights(batch=example), whole.weights(batch=example), atol=1e-6)
    assert cap.stacks["self"].layers[0].mask.describe() == "causal"
    assert cap.verify().ok is probe
    with pytest.raises(aw.CaptureError, match="ran more than once"), torch.no_grad(), aw.capture(model):
        [model(part) for part in (x, x + 1)]


class Repeats(nn.Module):
    """A block whose keys know no positions, with a cache in a tuple, which tells how long it was."""

    def forward(self, x, past_key_values=None):
        keys = x[:, None] if past_key_values is None else torch.cat([past_key_values[0][0], x[:, None]], dim=2)
        mask = torch.ones(x.shape[1], keys.shape[2]).tril(keys.shape[2] - x.shape[1]).bool()
        functional.scaled_dot_product_attention(x[:, None], keys, keys, mask)
        return ((keys, keys),)


def test_keys_that_repeat_are_placed_by_how_long_the_cache_was():
    x = torch.ones(1, 2, 8)
    with torch.no_grad(), aw.capture(model := Repeats()) as cap:
        ((keys, _),) = model(x)
        model(x, past_key_values=((keys[:, :, :1], keys[:, :, :1]),))  # the latest key was taken back
    np.testing.assert_allclose(cap.weights(0, 0), np.tri(3) / np.arange(1, 4)[:, None], atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}])
def test_ids_that_ran_and_are_not_those_returned(ids, options):
    model = small.build("llama")
    prepare = model.prepare_inputs_for_generation

    def others(*args, **kwargs):
        inputs = prepare(*args, **kwargs)
        return {**inputs, "input_ids": (inputs["input_ids"] + 1) % 60}

    model.prepare_inputs_for_generation = others
    with pytest.raises(aw.CaptureError, match=r"none agrees with it beyond \d+ of them: what to show is not known"):
        aw.AttentionModel(model).generate(ids, **GREEDY, **options)


def test_keys_that_stand_behind_those_of_tokens_and_for_none():
    """Summaries of what came before, which grow with it: their places in the next pass cannot be told."""

    class Summarised(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = (torch.nn.Linear(16, 16) for _ in "qkv")

        def forward(self, x):
            q, k, v = (fit(x).unflatten(-1, (2, 8)).transpose(1, 2) for fit in (self.q, self.k, self.v))
            n = x.shape[1]
            k, v = (torch.cat([part, part.mean(2, keepdim=True)], 2) for part in (k, v))
            allowed = torch.ones(n, n + 1, dtype=torch.bool).tril()
            allowed[3:, -1] = True
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, allowed)

    module, x = Summarised(), torch.randn(1, 6, 16)

    def twice():
        with torch.no_grad(), aw.capture(module):
            module(x[:, :5])
            module(x)

    with pytest.raises(aw.CaptureError, match="may not look at its own"):
        twice()
    with torch.no_grad(), aw.capture(module) as cap:
        module(x)
    assert cap.stacks["self"].size_text() == "6 x 7 tokens"


def test_keys_that_are_others_for_each_query_are_not_taken_for_those_of_the_pass_before():
    """As those that a memory finds (Wu et al. 2022), before the keys of a segment, in one softmax with them."""

    class Remembering(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = (torch.nn.Linear(16, 16) for _ in "qkv")
            self.memory = None

        def forward(self, x):
            q, k, v = (fit(x).unflatten(-1, (2, 8)).transpose(1, 2) for fit in (self.q, self.k, self.v))
            n = x.shape[1]
            scores = (q @ k.mT).masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), -torch.inf)
            found = torch.zeros(*q.shape[:3], 2, 8), torch.zeros(*q.shape[:3], 2, 8)
            if self.memory is not None:
                at = (q @ self.memory[0].mT).topk(2).indices[..., None]  # (B, H, n, 2, 1)
                found = tuple(torch.take_along_dim(part.unsqueeze(2), at, 3) for part in self.memory)
            self.memory = k, v
            weights = torch.cat([torch.einsum("bhid,bhijd->bhij", q, found[0]), scores], -1).softmax(-1)
            return weights[..., 2:] @ v + torch.einsum("bhij,bhijd->bhid", weights[..., :2], found[1])

    module, parts = Remembering(), torch.randn(1, 8, 16).split(4, dim=1)
    text = "it came with 4 queries and 6 keys, which do not continue the 6 keys of the call before"
    with pytest.raises(aw.CaptureError, match=text), torch.no_grad(), aw.capture(module):
        [module(part) for part in parts]
