"""Windows as other families cut them, against their own weights and against what their outputs depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from transformers import AttentionInterface
from transformers.models.gemma3n.modeling_gemma3n import Gemma3nAudioEncoder
from transformers.models.granite_speech.modeling_granite_speech import GraniteSpeechCTCEncoder
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
from windowing import image_windows, put_back

import attnwidget as aw
from attnwidget.intercept.windows.framing import PADDED


def captured(model, **inputs):
    """A capture of one run, after which the model gave what it gives without, to the bit."""
    model.eval()
    with torch.no_grad():
        plain = model(**inputs)
        with aw.capture(model) as cap:
            seen = model(**inputs)
    assert torch.equal(plain[0], seen[0])
    assert cap.verify().ok
    return cap


def weights_of(model, kind, place=1, **inputs):
    """What the attention modules of a model return as their weights."""
    own = []
    hooks = [
        module.register_forward_hook(lambda _, __, output: own.append(output[place]))
        for module in model.modules()
        if type(module).__name__ == kind
    ]
    with torch.no_grad():
        model(**inputs)
    for hook in hooks:
        hook.remove()
    return own


def agrees(cap, layer, weights, windows, length, keys=None, stack="self"):
    expected, held = put_back(weights, windows, length, keys)
    for example, wanted in enumerate(expected):
        np.testing.assert_allclose(cap.weights(layer, batch=example, stack=stack), wanted, atol=1e-5)
        assert not cap.allowed(layer, batch=example, stack=stack)[:, ~held].any()


def reach(module, *args, **kwargs):
    """(Tq, Tk): which tokens of its input each row of a module's output depends on, in the first example."""
    states = args[0].detach().clone().requires_grad_()
    output = module(states, *args[1:], **kwargs)
    output = output[0] if isinstance(output, tuple) else output
    rows = []
    for row in range(output.shape[1]):
        (gradient,) = torch.autograd.grad(output[0, row].square().sum(), states, retain_graph=True)
        rows.append((gradient[0].flatten(1) != 0).any(-1).numpy())
    return np.array(rows)


def inputs_of(model, path, **inputs):
    """What a module is called with inside a model."""
    module, seen = model.get_submodule(path), []
    hook = module.register_forward_pre_hook(lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    with torch.no_grad():
        model(**inputs)
    hook.remove()
    args, kwargs = seen[0]
    if not args:
        name = next(iter(kwargs))
        args = (kwargs.pop(name),)
    return module, args, kwargs


def reaches(cap, layer, model, path, stack="self", **inputs):
    """Whether each row of a layer may look at what the output of its module depends on, besides itself."""
    module, args, kwargs = inputs_of(model, path, **inputs)
    expected = reach(module, *args, **kwargs)
    allowed = cap.allowed(layer, batch=0, stack=stack).any(0)
    np.testing.assert_array_equal(allowed | np.eye(len(allowed), dtype=bool), expected)


VISION = {"image_size": 96, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}


def test_vitdet():
    torch.manual_seed(0)
    config = transformers.VitDetConfig(
        **VISION, window_size=5, window_block_indices=[0, 2], use_relative_position_embeddings=True
    )
    model, inputs = transformers.VitDetModel(config), {"pixel_values": torch.randn(2, 3, 96, 96)}
    cap = captured(model, **inputs)
    own = weights_of(model, "VitDetAttention", output_attentions=True, **inputs)
    for layer, weights in enumerate(own):
        agrees(cap, layer, weights, image_windows(12, 12, 12 if layer == 1 else 5), 144)
    assert [info.window for info in cap.stacks["self"].infos] == [25, None, 25]
    # 12 x 12 patches are filled up to 15 x 15, and what goes there is not shown.
    assert cap.weights(0).sum(-1).min() < 0.9
    assert PADDED in cap.notes


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_sam(implementation):
    torch.manual_seed(0)
    config = transformers.SamVisionConfig(
        **VISION, window_size=5, global_attn_indexes=[1], output_channels=16, mlp_dim=32
    )
    model = transformers.SamVisionModel._from_config(config, attn_implementation=implementation)
    inputs = {"pixel_values": torch.randn(2, 3, 96, 96)}
    cap = captured(model, **inputs)
    eager = transformers.SamVisionModel._from_config(config, attn_implementation="eager").eval()
    eager.load_state_dict(model.state_dict())
    for layer, weights in enumerate(weights_of(eager, "SamVisionAttention", **inputs)):
        own = weights.reshape(-1, 2, *weights.shape[-2:])
        agrees(cap, layer, own, image_windows(12, 12, 12 if layer == 1 else 5), 144)


def test_overlapping_blocks_of_longt5():
    torch.manual_seed(0)
    config = transformers.LongT5Config(
        vocab_size=50, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4, local_radius=3
    )
    model = transformers.LongT5EncoderModel(config)
    mask = torch.ones(2, 21, dtype=torch.long)
    mask[1, 15:] = 0
    inputs = {"input_ids": torch.randint(1, 50, (2, 21)), "attention_mask": mask}
    cap = captured(model, **inputs)
    own = weights_of(model, "LongT5LocalAttention", place=-1, output_attentions=True, **inputs)
    blocks = np.pad(np.arange(21), (0, 3), constant_values=-1).reshape(6, 4)
    beside = np.pad(blocks, ((1, 1), (0, 0)), constant_values=-1)
    keys = np.concatenate([beside[:-2], beside[1:-1], beside[2:]], axis=1)  # each block with its neighbours
    for layer, weights in enumerate(own):
        expected, held = put_back(weights.flatten(0, 1), blocks, 21, keys)
        for example, wanted in enumerate(expected):
            known = mask[example] > 0  # rows of padding look evenly at what they may not see
            np.testing.assert_allclose(cap.weights(layer, batch=example)[:, known], wanted[:, known], atol=1e-5)
            allowed = cap.allowed(layer, batch=example)
            assert not allowed[:, ~held].any()
            assert not allowed[:, :, mask[example] == 0].any()
    assert cap.stacks["self"].infos[0].window == 12


def hiera():
    config = transformers.HieraConfig(
        image_size=(64, 64),
        embed_dim=16,
        num_layers=4,
        depths=[1, 2, 1],
        num_heads=[1, 2, 4],
        query_stride=[2, 2],
        num_query_pool=2,
        masked_unit_size=[4, 4],
        masked_unit_attention=[True, True, False],
        drop_path_rate=0.0,
    )
    return transformers.HieraModel(config), {"pixel_values": torch.randn(2, 3, 64, 64)}


def test_mask_units_of_hiera():
    """They lie in memory beside the heads: what moves along an axis tells windows from heads."""
    torch.manual_seed(0)
    model, inputs = hiera()
    cap = captured(model, **inputs)
    first, last = cap.stacks["self"], cap.stacks["self-3"]
    assert (first.n_examples, first.n_heads, len(first.query_tokens[0])) == (2, 1, 256)
    assert (last.n_examples, last.n_heads, len(last.query_tokens[0])) == (2, 2, 64)
    reaches(cap, 0, model, "encoder.stages.1.layers.1.attn", stack="self-3", **inputs)
    own = weights_of(model, "HieraMaskUnitAttention", output_attentions=True, **inputs)
    # The model holds the tokens of units apart; shown is the image they come from.
    order = np.arange(256).reshape(2, 2, 2, 2, 2, 2, 2, 2)  # rows and columns by their bits
    units = order.transpose(0, 1, 4, 5, 3, 7, 2, 6).reshape(16, 16)
    assert sorted(map(sorted, units.tolist())) == sorted(map(sorted, image_windows(16, 16, 4).tolist()))
    agrees(cap, 0, own[0].transpose(1, 2).flatten(0, 1), units, 256)
    assert any("queries are no tokens of that sequence" in note for note in cap.notes)  # pooled ones


def test_frames_of_a_video():
    torch.manual_seed(0)
    config = transformers.TimesformerConfig(
        image_size=16,
        patch_size=4,
        num_frames=3,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
    )
    model, inputs = transformers.TimesformerModel(config), {"pixel_values": torch.randn(2, 3, 3, 16, 16)}
    cap = captured(model, **inputs)
    name = "encoder.layer.0.temporal_attention.attention"
    (stack,) = (stack for stack in cap.stacks.values() if stack.infos[0].path == name)
    assert (stack.n_examples, len(stack.query_tokens[0])) == (2, 49)
    patches = 1 + np.arange(48).reshape(16, 3)  # behind the class token, the frames of each patch in a row
    assert stack.n_layers == 2
    for layer, info in enumerate(stack.infos):
        module, (states, *_), _ = inputs_of(model, info.path, **inputs)
        with torch.no_grad():
            query, key, _ = module.qkv(states).view(len(states), 3, 3, 4, 8).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(query @ key.transpose(2, 3) * 8**-0.5, -1)
        agrees(cap, layer, weights, patches, 49, stack=stack.name)
    assert not cap.allowed(0, stack=stack.name)[:, 0].any()  # the class token takes no part


def qwen():
    config = transformers.models.qwen2_5_vl.configuration_qwen2_5_vl.Qwen2_5_VLVisionConfig(
        depth=3,
        hidden_size=32,
        intermediate_size=32,
        num_heads=2,
        patch_size=4,
        spatial_merge_size=2,
        window_size=16,
        fullatt_block_indexes=[1],
        out_hidden_size=32,
    )
    model = Qwen2_5_VisionTransformerPretrainedModel._from_config(config)
    return model, {"hidden_states": torch.randn(112, 96), "grid_thw": torch.tensor([[1, 8, 12], [1, 4, 4]])}


def test_segments_of_one_row_are_one_layer():
    torch.manual_seed(0)
    model, inputs = qwen()
    cap = captured(model, **inputs)
    states = []
    hook = model.blocks[0].register_forward_pre_hook(lambda _, args: states.append(args[0]))
    with torch.no_grad():
        model(**inputs)
        patches = model.patch_embed(inputs["hidden_states"])
    hook.remove()
    # The model orders patches by their windows; shown is the order in which they came.
    place = (patches[None] == states[0][:, None]).all(-1).int().argmax(1)
    assert sorted(place.tolist()) == list(range(112))
    assert place.tolist() != list(range(112))
    pieces = []

    def spy(module, query, key, value, attention_mask, scaling, **kwargs):
        weights = torch.softmax(query @ key.transpose(2, 3) * scaling, -1)
        pieces.append((module, weights[0]))
        return (weights @ value).transpose(1, 2), weights

    AttentionInterface.register("spy", spy)
    model.set_attn_implementation("spy")
    with torch.no_grad():
        model(**inputs)
    assert cap.stacks["self"].n_layers == 3
    for layer, block in enumerate(model.blocks):
        own = [weights for module, weights in pieces if module is block.attn]
        assert [len(weights[0]) for weights in own] == ([96, 16] if layer == 1 else [16] * 7)
        wanted = torch.zeros(2, 112, 112)
        for head in range(2):
            wanted[head][place[:, None], place] = torch.block_diag(*(weights[head] for weights in own))
        np.testing.assert_allclose(cap.weights(layer), wanted.numpy(), atol=1e-5)
        assert (cap.allowed(layer) == (wanted.numpy() > 0)).all()
    assert [info.call for info in cap.stacks["self"].infos] == [0, 0, 0]
    assert "segments of 16" in repr(cap)
    # What is kept is what one call over the whole row would leave, and the order.
    assert cap.nbytes < 3 * 112 * (2 * (16 + 16 + 4) + 8) * 4


AUDIO = {
    "gemma3n": (
        Gemma3nAudioEncoder,
        transformers.Gemma3nAudioConfig(
            hidden_size=32,
            conf_num_attention_heads=2,
            conf_num_hidden_layers=2,
            input_feat_size=16,
            sscp_conv_channel_size=[8, 4],
            conf_attention_chunk_size=4,
            conf_attention_context_left=5,
            conf_attention_context_right=0,
            conf_reduction_factor=1,
        ),
        {"audio_mel": (2, 64, 16), "audio_mel_mask": None},
        "conformer.0.attention.attn",
        16,
    ),
    "granite": (
        GraniteSpeechCTCEncoder,
        transformers.models.granite_speech.configuration_granite_speech.GraniteSpeechEncoderConfig(
            input_dim=16,
            num_layers=2,
            hidden_dim=32,
            feedforward_mult=2,
            num_heads=2,
            dim_head=16,
            output_dim=10,
            context_size=8,
            max_pos_emb=16,
            conv_kernel_size=3,
        ),
        {"hidden_states": (2, 21, 16)},
        "layers.0.attn",
        21,
    ),
}


@pytest.mark.parametrize("name", list(AUDIO))
def test_blocks_of_sound(name):
    torch.manual_seed(0)
    kind, config, shapes, path, length = AUDIO[name]
    inputs = {
        key: torch.zeros(2, 64, dtype=torch.bool) if shape is None else torch.randn(shape)
        for key, shape in shapes.items()
    }
    model = kind(config)
    cap = captured(model, **inputs)
    stack = cap.stacks["self"]
    assert (stack.n_examples, stack.n_heads, len(stack.query_tokens[0])) == (2, 2, length)
    np.testing.assert_allclose(cap.weights(0).sum(-1), 1, atol=1e-5)
    reaches(cap, 0, model, path, **inputs)
