"""Value-weighted norms, against their definition written down from parameters of models, in double precision."""

import contributions
import numpy as np
import pytest
import tiny
import torch
from contributions import Layer
from hypothesis import given, settings
from hypothesis import strategies as st

import attnwidget as aw
from attnwidget.attention import AttentionStack, Carried

IDS = tiny.ids(length=11)
FAMILIES = {
    "gpt2": (tiny.gpt2, contributions.of_gpt2),
    "llama": (tiny.llama, contributions.of_llama),
    "bert": (contributions.bert, contributions.of_bert),
}


def close(found, expected):
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_lengths_are_those_of_the_definition(family, implementation):
    make, reference = FAMILIES[family]
    expected = reference(make(attn_implementation="eager"), IDS)
    cap = aw.AttentionModel(make(attn_implementation=implementation)).capture(IDS, values=True)
    for number, layer in enumerate(expected):
        for batch in range(2):
            close(cap.measure("value-weighted", number, batch=batch), layer.per_head()[batch])
            close(cap.measure("value-weighted-layer", number, batch=batch), layer.together()[batch])
    part = cap.measure("value-weighted", 1, 2, queries=[8, 3], keys=(2, 9))
    close(part, expected[1].per_head()[0, 2][[8, 3], 2:9])
    part = cap.measure("value-weighted-layer", queries=[8, 3], keys=[7, 1, 2])
    assert part.shape == (len(expected), 2, 3)
    close(part[-1], expected[-1].together()[0][[8, 3]][:, [7, 1, 2]])


def test_cross_attention_takes_the_values_of_the_encoder():
    expected = contributions.of_t5_cross(contributions.t5(attn_implementation="eager"), IDS)
    model = aw.AttentionModel(contributions.t5())
    cap = model.capture(IDS, decoder_input_ids=IDS[:, :7], values=True)
    for number, layer in enumerate(expected):
        close(cap.measure("value-weighted", number, stack="cross"), layer.per_head()[0])
        close(cap.measure("value-weighted-layer", number, batch=1, stack="cross"), layer.together()[1])


@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention_is_told_by_its_own_call(need_weights):
    torch.manual_seed(0)
    module, x = torch.nn.MultiheadAttention(16, 4, batch_first=True).eval(), torch.randn(2, 9, 16)
    with torch.no_grad(), aw.capture(module, values=True) as cap:
        module(x, x, x, need_weights=need_weights)
    close(cap.measure("value-weighted", 0, batch=1), contributions.of_multihead(module, x).per_head()[1])


def test_padding_is_cut_off_and_chosen_heads_keep_their_rows_of_the_map():
    mask = torch.ones_like(IDS)
    mask[0, :4] = 0
    model = aw.AttentionModel(tiny.llama())
    inputs = {"input_ids": IDS, "attention_mask": mask}
    whole = model.capture(inputs, values=True)
    some = model.capture(inputs, values=True, heads=[1, 6], layers=[0, 3])
    assert whole.measure("value-weighted", 0).shape == (8, 7, 7)
    for batch in range(2):
        everything = whole.measure("value-weighted", batch=batch)
        np.testing.assert_allclose(
            some.measure("value-weighted", batch=batch), everything[[0, 3]][:, [1, 6]], rtol=1e-5
        )
    with pytest.raises(aw.CaptureError, match="sums over all heads of a layer, and of layer 0 only some were kept"):
        some.measure("value-weighted-layer", 0)


@settings(deadline=None)
@given(st.data())
def test_any_factors_any_part_any_block_size(data):
    batch, group, key_heads = (data.draw(st.integers(1, 2)) for _ in range(3))
    queries, keys, size, width = (data.draw(st.integers(1, 9)) for _ in range(4))
    heads = group * key_heads
    rng = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))

    def numbers(*shape):
        return torch.randn(*shape, generator=rng)

    layer = aw.FactoredAttention(numbers(batch, heads, queries, 4), numbers(batch, key_heads, keys, 4))
    values, maps = numbers(batch, key_heads, keys, size), numbers(heads, size, width)
    cap = aw.AttentionCapture([AttentionStack("self", [layer], carried=[Carried(values, maps)])])
    example = data.draw(st.integers(0, batch - 1))
    rows = data.draw(st.lists(st.integers(0, queries - 1), min_size=1, max_size=4))
    columns = data.draw(st.lists(st.integers(0, keys - 1), min_size=1, max_size=4))
    weights = torch.from_numpy(cap.weights(0, batch=example)).double()
    vectors = torch.einsum("hkd,hde->hke", values[example].double().repeat_interleave(group, dim=0), maps.double())
    expected = Layer(weights[None], vectors[None])
    before, aw.limits.block_bytes = aw.limits.block_bytes, data.draw(st.sampled_from([64, 1000, 1 << 26]))
    try:
        each = cap.measure("value-weighted", 0, queries=rows, keys=columns, batch=example)
        summed = cap.measure("value-weighted-layer", 0, queries=rows, keys=columns, batch=example)
    finally:
        aw.limits.block_bytes = before
    close(each, expected.per_head()[0][:, rows][:, :, columns])
    close(summed, expected.together()[0][rows][:, columns])
    assert (summed <= each.sum(axis=0) + 1e-4).all(), "heads can cancel each other, and never add up to more"


def test_values_cost_what_keys_cost_and_maps_do_not_grow():
    model = aw.AttentionModel(tiny.gpt2())
    sizes = {
        (length, values): model.capture(tiny.ids(1, length), values=values).nbytes
        for length in (64, 128)
        for values in (False, True)
    }
    more = sizes[64, True] - sizes[64, False], sizes[128, True] - sizes[128, False]
    maps = 3 * 32 * 32 * 4
    assert more == (3 * 64 * 32 * 4 + maps, 3 * 128 * 32 * 4 + maps)


def test_a_copy_is_measured_whatever_becomes_of_the_model():
    model = tiny.gpt2()
    cap = aw.AttentionModel(model).capture(IDS, values=True)
    before = cap.measure("value-weighted", 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(cap.measure("value-weighted", 0), before)


def test_nested_captures_that_keep_the_same_share_it():
    model = tiny.gpt2()
    with torch.no_grad(), aw.capture(model, values=True) as outer, aw.capture(model, values=True) as inner:
        model(IDS)
    np.testing.assert_array_equal(outer.measure("value-weighted"), inner.measure("value-weighted"))


def test_values_are_kept_in_the_type_that_was_asked_for():
    model = aw.AttentionModel(tiny.llama())
    small = model.capture(IDS, values=True, dtype="bfloat16")
    assert small.stacks["self"].carried[0].values.dtype == torch.bfloat16
    whole = model.capture(IDS, values=True).measure("value-weighted", 0)
    np.testing.assert_allclose(small.measure("value-weighted", 0), whole, atol=0.03 * whole.max())
