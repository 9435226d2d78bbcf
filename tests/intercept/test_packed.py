"""Several sequences in one row: each sees its own tokens alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import transformers as tf
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import attnwidget as aw
from attnwidget.attention import Mask
from attnwidget.intercept.packing import packed_masks

LENGTHS = (5, 9, 4)
BOUNDS = torch.tensor([0, 5, 14, 18], dtype=torch.int32)
POSITIONS = torch.cat([torch.arange(length) for length in LENGTHS])[None]
IDS = torch.randint(5, 60, (1, 18), generator=torch.Generator().manual_seed(0))


def tiny(implementation, **options):
    torch.manual_seed(0)
    config = tf.LlamaConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        **options,
    )
    model = tf.LlamaModel(config).eval()
    for parameter in model.parameters():
        parameter.data.mul_(3) if parameter.ndim > 1 else None
    model.config._attn_implementation = implementation
    return model


def apart(model):
    """(L, H, T, T): every sequence run by itself, eagerly, laid out along the diagonal."""
    model.config._attn_implementation = "eager"
    whole = torch.zeros(2, 4, 18, 18)
    for start, stop in itertools.pairwise(BOUNDS.tolist()):
        weights = model(IDS[:, start:stop], output_attentions=True).attentions
        whole[:, :, start:stop, start:stop] = torch.stack(weights)[:, 0]
    return whole.detach().numpy()


PACKED = {"cu_seq_lens_q": BOUNDS, "cu_seq_lens_k": BOUNDS, "max_length_q": 9, "max_length_k": 9}


@pytest.mark.parametrize("told", [False, True])
def test_a_row_packed_by_its_positions(told):
    pytest.importorskip("transformers.masking_utils", reason="this transformers does not look at positions")
    model = tiny("sdpa")
    inputs = {"input_ids": IDS, "position_ids": POSITIONS, "use_cache": False, **(PACKED if told else {})}
    with torch.no_grad():
        plain = model(**inputs)
        with aw.capture(model) as cap:
            seen = model(**inputs)
        wanted = apart(model)
    assert torch.equal(plain[0], seen[0])
    assert {layer.mask.describe() for layer in cap.stacks["self"].layers} == {"causal in segments of 4 to 9"}
    np.testing.assert_allclose(cap.weights(), wanted, atol=1e-5)


def varlen(module, query, key, value, attention_mask, scaling=None, **options):
    """As a kernel for packed sequences works, out of sight."""
    outputs = []
    reach = options.get("sliding_window") or 10**6
    with torch._C.DisableTorchFunction():
        key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], 1) for part in (key, value))
        for start, stop in itertools.pairwise(options["cu_seq_lens_q"].tolist()):
            q, k, v = (part[:, :, start:stop] for part in (query, key, value))
            scores = q @ k.transpose(-1, -2) * scaling
            allowed = torch.ones(scores.shape[-2:], dtype=torch.bool)
            if module.is_causal:
                allowed = allowed.tril().triu(1 - reach)
            elif module.config.odd:
                scores = scores.square()
            outputs.append(torch.softmax(scores.masked_fill(~allowed, -torch.inf), -1) @ v)
        return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


@pytest.fixture
def kernel():
    ALL_ATTENTION_FUNCTIONS["varlen"] = varlen
    yield
    del ALL_ATTENTION_FUNCTIONS["varlen"]


def run(model, **options):
    model.config.odd = options.pop("odd", False)
    inputs = {"input_ids": IDS, "position_ids": POSITIONS, "use_cache": False, **PACKED, **options}
    with torch.no_grad():
        plain = model(**inputs)
        with aw.capture(model) as cap:
            seen = model(**inputs)
    assert torch.equal(plain[0], seen[0])
    return cap


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("kind", ["causal", "window", "both ways"])
def test_a_kernel_out_of_sight_is_believed_if_its_bounds_explain_its_output(kind):
    model = tiny("varlen")
    for layer in model.layers:
        layer.self_attn.is_causal = kind != "both ways"
    cap = run(model, **({"sliding_window": 3} if kind == "window" else {}))
    words = {"causal": "causal in segments of 4 to 9", "both ways": "segments of 4 to 9"}
    words["window"] = f"{words['causal']}, window 3"
    masks = [layer.mask for layer in cap.stacks["self"].layers]
    assert (masks[0].describe(), masks[0] is masks[1]) == (words[kind], True)
    layer = cap.stacks["self"].layers[0]
    assert layer.probe.errors(layer).max() < 1e-4
    if kind == "causal":
        np.testing.assert_allclose(cap.weights(), apart(model), atol=1e-5)


@pytest.mark.usefixtures("kernel")
def test_anything_else_is_refused_by_name():
    model = tiny("varlen")
    for layer in model.layers:
        layer.self_attn.is_causal = False
    with pytest.raises(aw.CaptureError) as error:
        run(model, odd=True)
    assert (
        "attention of layers.0.self_attn (varlen) could not be recorded: several sequences are packed into one row, "
        "and none of the ways to attend within them that are known explains its output; pass them as a padded batch, "
        'or load the model with attn_implementation="sdpa"'
    ) in str(error.value)


def test_sequences_with_keys_of_their_own_lengths():
    options = {"cu_seqlens_q": torch.tensor([0, 2, 5]), "cu_seqlens_k": torch.tensor([0, 4, 6])}
    causal, both = packed_masks(options, 5, 6)
    picks = slice(0, 1), slice(0, 5), slice(0, 6)
    expected = np.zeros((5, 6), dtype=bool)
    expected[:2, :4] = np.tri(2, 4, 2, dtype=bool)  # aligned to the lower right
    expected[2:, 4:] = np.tri(3, 2, -1, dtype=bool)
    np.testing.assert_array_equal(causal.allowed(0, *picks)[0], expected)
    expected[:2, :4] = expected[2:, 4:] = True
    np.testing.assert_array_equal(both.allowed(0, *picks)[0], expected)
    assert isinstance(both, Mask)


@pytest.mark.parametrize("bounds", [[0, 5], [1, 18], [0, 9, 4, 18], [0]])
def test_bounds_that_do_not_cover_the_row_say_nothing(bounds):
    assert list(packed_masks({"cu_seq_lens_q": torch.tensor(bounds)}, 18, 18)) == []
