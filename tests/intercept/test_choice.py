"""Some layers and heads of a run: the right ones, with nothing copied of the others."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import tiny
import torch
import transformers as tf
from torch import nn
from torch.nn import functional

import attnwidget as aw
from attnwidget.intercept.store import Store

PADDED = torch.ones_like(tiny.ids()).index_fill_(1, torch.arange(4), 0)


def run(model, **options):
    with torch.no_grad(), aw.capture(model, **options) as cap:
        model(tiny.ids(), attention_mask=PADDED)
    return cap


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        (3, [3]),
        ([3, 1], [1, 3]),
        (-1, [5]),
        ([0, -2], [0, 4]),
        (slice(2, None, 2), [2, 4]),
        (slice(-3, -1), [3, 4]),
        (slice(None, -4), [0, 1]),
        (range(1, 3), [1, 2]),
    ],
)
@pytest.mark.parametrize("store", ["device", "disk"])
def test_layers(layers, wanted, store):
    model = tiny.llama(6)
    full, cap = run(model), run(model, layers=layers, store=store)
    np.testing.assert_array_equal(cap.weights(batch=1), full.weights(batch=1)[wanted])
    stack = cap.stacks["self"]
    assert [info.number for info in stack.infos] == wanted
    assert [info.path for info in stack.infos] == [f"model.layers.{number}.self_attn" for number in wanted]
    assert cap.verify().ok
    mask = stack.layers[0].mask.nbytes  # which layers share
    assert sum(cap.held.values()) - mask == (full.nbytes - mask) / 6 * len(wanted)
    assert run(model).stacks["self"].infos[0].number is None, "where all are kept there is nothing to tell"


@pytest.mark.parametrize(
    ("heads", "wanted", "n_key_heads"),
    [
        (5, [5], 1),
        ([0, 4], [0, 4], 2),
        ([6, 0, 5], [0, 5, 6], 3),  # one on one key head and two on the other: none fits both, but each head its own
        (slice(4, None), [4, 5, 6, 7], 1),
        (range(0, 8, 2), [0, 2, 4, 6], 2),
        (-1, [7], 1),
        ([0, 1, 4, 5, 6, 7], [0, 1, 4, 5, 6, 7], 3),
        (slice(None), list(range(8)), 2),
    ],
)
def test_heads_with_the_key_heads_they_look_at(heads, wanted, n_key_heads):
    model = tiny.llama()
    full, cap = run(model), run(model, heads=heads)
    for ask in ("weights", "scores", "allowed"):
        np.testing.assert_array_equal(getattr(cap, ask)(batch=1), getattr(full, ask)(batch=1)[:, wanted])
    layer = cap.stacks["self"].layers[0]
    assert (layer.n_heads, layer.n_key_heads) == (len(wanted), n_key_heads)
    info = cap.stacks["self"].infos[0]
    assert info.picked == (tuple(wanted) if len(wanted) < 8 else ())
    assert cap.verify().ok
    checks = zip(cap.verify().layers, full.verify().layers, strict=True)
    assert all(check.tolerance <= whole.tolerance for check, whole in checks), "the most over the heads that there are"


def test_the_table_shows_the_numbers_in_the_model():
    cap = run(tiny.llama(6), layers=[3, -1], heads=[0, 5, 6])
    assert repr(cap).splitlines()[2:4] == [
        "    layers  in the model  heads        head size  by    kept                          module",
        (
            "    0-1     3, 5          0, 5-6 of 8  8          sdpa  q k float32, causal, padding  "
            "model.layers.*.self_attn (LlamaAttention)"
        ),
    ]


def test_what_is_left_out_is_not_copied(monkeypatch):
    copied = []
    keep = Store.keep
    monkeypatch.setattr(Store, "keep", lambda store, tensor: copied.append(tuple(tensor.shape)) or keep(store, tensor))
    run(tiny.llama(6), layers=[1, 4], heads=[2, 3])
    assert copied.count((2, 2, 24, 8)) == 2, "queries of two heads"
    assert copied.count((2, 1, 24, 8)) == 2, "keys of one"
    assert len([shape for shape in copied if len(shape) == 4]) == 4


def test_layers_that_count_from_the_end_are_let_go_of_when_others_have_followed():
    model, alive = tiny.llama(6), []

    def kept():
        gc.collect()
        return sum(type(one) is aw.FactoredAttention for one in gc.get_objects())

    def count(*_):
        alive.append(kept())

    before = kept()
    hooks = [layer.mlp.register_forward_hook(count) for layer in model.model.layers]
    run(model, layers=-2)
    for hook in hooks:
        hook.remove()
    assert max(alive) - before <= 2


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_an_encoder_decoder_counts_each_stack_by_itself(implementation):
    model = tiny.bart(encoder=4, decoder=3, attn_implementation=implementation)

    def both(**options):
        with torch.no_grad(), aw.capture(model, **options) as cap:
            model(tiny.ids(2, 9), decoder_input_ids=tiny.ids(2, 5, seed=1))
        return cap

    full, cap = both(), both(layers=[1, -1], heads=1)
    assert list(cap.stacks) == list(full.stacks) == ["encoder", "decoder", "cross"]
    for name, wanted in (("encoder", [1, 3]), ("decoder", [1, 2]), ("cross", [1, 2])):
        assert [info.number for info in cap.stacks[name].infos] == wanted
        np.testing.assert_array_equal(cap.weights(stack=name), full.weights(stack=name)[wanted][:, [1]])
    assert cap.verify().ok
    some = both(layers=3)
    assert list(some.stacks) == ["encoder"]
    assert "layers=3: of stack 'decoder' nothing is kept (layers 0 to 2 of heads 0 to 3)" in some.notes
    with pytest.raises(aw.CaptureError) as caught:
        both(layers=[0, 4])
    assert str(caught.value) == (
        "layers is [0, 4], and layer 4 does not exist: stack 'encoder' has layers 0 to 3 of heads 0 to 1, stack "
        "'decoder' has layers 0 to 2 of heads 0 to 3, stack 'cross' has layers 0 to 2 of heads 0 to 3; layers count "
        "from 0 within each stack, in the order they run"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"layers": 6},
            "layers is 6, and layer 6 does not exist: stack 'self' has layers 0 to 5 of heads 0 to 7; layers",
        ),
        ({"layers": [-7]}, "layers is -7, and layer -7 does not exist"),
        (
            {"heads": [1, 8]},
            "heads is [1, 8], and head 8 does not exist: stack 'self' has layers 0 to 5 of heads 0 to 7; ",
        ),
        (
            {"layers": slice(6, None)},
            "layers=slice 6: picks nothing of what ran: stack 'self' has layers 0 to 5 of heads",
        ),
    ],
)
def test_what_does_not_exist(options, text):
    with pytest.raises(aw.CaptureError) as caught:
        run(tiny.llama(6), **options)
    assert text in str(caught.value)


def test_generate_keeps_the_same_choice_through_all_runs():
    model = aw.AttentionModel(tiny.llama(5))
    options = {"max_new_tokens": 9, "do_sample": False, "pad_token_id": 0}
    full = model.generate([[3, 4, 5, 6, 7]], **options)
    cap = model.generate([[3, 4, 5, 6, 7]], layers=[1, -1], heads=[0, 5, 6], **options)
    np.testing.assert_array_equal(cap.weights(), full.weights()[[1, 4]][:, [0, 5, 6]])
    assert cap.generation == full.generation
    assert cap.verify().ok
    assert cap.nbytes < full.nbytes / 3


def test_generate_of_an_encoder_decoder_with_beams():
    model = aw.AttentionModel(tiny.bart())
    options = {"max_new_tokens": 6, "num_beams": 3, "do_sample": False}
    full = model.generate([[5, 6, 7, 8]], **options)
    cap = model.generate([[5, 6, 7, 8]], layers=-1, heads=[1], **options)
    for name in full.stacks:
        np.testing.assert_array_equal(
            cap.weights(0, 0, stack=name), full.weights(-1 % full.stacks[name].n_layers, 1, stack=name)
        )
    encoder = model.generate([[5, 6, 7, 8]], layers=3, **options)
    assert list(encoder.stacks) == ["encoder"]
    np.testing.assert_array_equal(encoder.weights(0, stack="encoder"), full.weights(3, stack="encoder"))


class Block(nn.Module):
    """Attention as small models write it, 4 heads of 8."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(32, 96)

    def forward(self, x):
        q, k, v = (part.view(*x.shape[:2], 4, 8).transpose(1, 2) for part in self.mix(x).split(32, dim=-1))
        scores = q @ k.transpose(-2, -1) / 8**0.5
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
        return (functional.softmax(scores, dim=-1) @ v).transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_by_hand(dtype):
    torch.manual_seed(0)
    net, x = nn.Sequential(*(Block() for _ in range(4))), torch.randn(2, 7, 32)
    with aw.capture(net) as full:
        plain = net(x)
    with aw.capture(net, layers=[-1, 1], heads=[0, 3], dtype=dtype) as cap:
        seen = net(x)
    assert torch.equal(plain, seen)
    wanted = full.weights(batch=1)[[1, 3]][:, [0, 3]]
    np.testing.assert_allclose(cap.weights(batch=1), wanted, atol=0.02 if dtype else 0)
    assert isinstance(cap.stacks["self"].layers[0], aw.FactoredAttention)
    assert cap.verify().ok


def test_weights_that_are_kept_themselves():
    model = tiny.deberta()
    full, cap = run(model), run(model, layers=slice(1, None), heads=[3, 1])
    assert isinstance(cap.stacks["self"].layers[0], aw.DenseAttention)
    np.testing.assert_array_equal(cap.weights(batch=1), full.weights(batch=1)[1:][:, [1, 3]])
    assert cap.verify().ok


def test_masks_that_differ_from_head_to_head_stay_shared():
    """ALiBi adds a slope of its own to each head."""
    torch.manual_seed(0)
    model = tf.BloomModel(tf.BloomConfig(hidden_size=32, n_head=4, n_layer=3, vocab_size=50)).eval()
    full, cap = run(model), run(model, heads=[1, 2])
    np.testing.assert_allclose(cap.weights(batch=1), full.weights(batch=1)[:, [1, 2]], atol=1e-6)
    layers = cap.stacks["self"].layers
    assert layers[0].mask is layers[2].mask
    assert cap.verify().ok


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("store", ["device", "disk"])
def test_functions_of_scores_know_heads_by_the_numbers_of_the_model(store):
    flex = pytest.importorskip("torch.nn.attention.flex_attention")
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, heads, 16, 8, generator=generator) for heads in (4, 2))

    class Flex(nn.Module):
        def forward(self, q, k):
            return flex.flex_attention(
                q, k, k, lambda score, b, h, i, j: score * (1 + h) - (i - j) ** 2, enable_gqa=True
            )

    net = nn.ModuleList([Flex(), Flex()])

    def both(**options):
        with aw.capture(net, store=store, **options) as cap:
            for part in net:
                part(q, k)
        return cap

    full = both()
    for options, atol in (({}, 1e-6), ({"dtype": "float16"}, 0.02)):
        cap = both(heads=[1, 3], **options)
        np.testing.assert_allclose(cap.weights(batch=1), full.weights(batch=1)[:, [1, 3]], atol=atol)
        layers = cap.stacks["self"].layers
        assert layers[0].modifier.held == full.stacks["self"].layers[0].modifier.held
        assert cap.verify().ok


def test_windows():
    torch.manual_seed(0)
    config = tf.SwinConfig(image_size=32, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4)
    model, image = tf.SwinModel(config).eval(), torch.randn(1, 3, 32, 32)

    def both(**options):
        with torch.no_grad(), aw.capture(model, **options) as cap:
            model(image)
        return cap

    full, cap = both(), both(layers=1, heads=[1], dtype="float16")
    for name in full.stacks:
        np.testing.assert_allclose(cap.weights(0, 0, stack=name), full.weights(1, 1, stack=name), atol=2e-3)
    assert cap.verify().ok
    with pytest.raises(aw.CaptureError, match="heads is 4, and head 4 does not exist"):
        both(heads=4)
    assert [stack.infos[0].picked for stack in both(heads=3).stacks.values()] == [(3,)]


@pytest.mark.skipif(not hasattr(tf, "Qwen2_5_VLConfig"), reason="older transformers has no such model")
@pytest.mark.parametrize("grid", [[[1, 8, 8]], [[1, 4, 4], [1, 4, 4]], [[1, 4, 4], [1, 8, 4]]])
@pytest.mark.parametrize("layers", [-1, -2, 3, [2, -1], slice(-2, None)])
def test_layers_that_run_once_for_each_picture_or_window(layers, grid):
    """Calls from portions of a sequence are one layer, whichever is picked."""
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

    config = Qwen2_5_VLVisionConfig(
        depth=4, hidden_size=32, num_heads=4, intermediate_size=32, patch_size=4, out_hidden_size=32, window_size=16,
        fullatt_block_indexes=[1, 3],
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2_5_VisionTransformerPretrainedModel._from_config(config).eval()
    patches = torch.randn(sum(height * width for _, height, width in grid), 3 * 2 * 4 * 4)
    with torch.no_grad(), aw.capture(model) as full:
        model(patches, grid_thw=torch.tensor(grid))
    with torch.no_grad(), aw.capture(model, layers=layers) as cap:
        model(patches, grid_thw=torch.tensor(grid))
    wanted = range(4)[layers] if isinstance(layers, slice) else [one % 4 for one in np.atleast_1d(layers)]
    assert [info.path for info in cap.stacks["self"].infos] == [f"blocks.{number}.attn" for number in wanted]
    assert [info.number for info in cap.stacks["self"].infos] == list(wanted)
    np.testing.assert_array_equal(cap.weights(), full.weights()[list(wanted)])


def test_nested_captures_with_choices_of_their_own():
    model = tiny.llama(4)
    full = run(model)
    some, others = aw.capture(model, layers=[0, 2]), aw.capture(model, layers=-1, heads=3)
    with torch.no_grad(), some as outer, others as inner, aw.capture(model) as whole:
        model(tiny.ids(), attention_mask=PADDED)
    np.testing.assert_array_equal(outer.weights(), full.weights()[[0, 2]])
    np.testing.assert_array_equal(inner.weights(), full.weights()[[3]][:, [3]])
    np.testing.assert_array_equal(whole.weights(), full.weights())


@pytest.mark.parametrize("tokens", [64, 256])
def test_bytes_grow_with_the_number_of_tokens(tokens):
    model = tiny.gpt2()

    def held(length, **options):
        with torch.no_grad(), aw.capture(model, **options) as cap:
            model(tiny.ids(1, length))
        return cap.nbytes

    for options in ({}, {"dtype": "bfloat16"}, {"layers": [0, 2], "heads": slice(1, 3)}):
        one, two, three = (held(factor * tokens, **options) for factor in (1, 2, 3))
        assert two - one == three - two
        assert one < two - one + 2000, "beside that, only what does not grow: a few rows to check by"
