"""Attention within windows of images, shown in the frame of the whole image."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
import transformers
from windowing import image_windows, put_back

import attnwidget as aw
from attnwidget.intercept.windows.framing import PADDED

SIZE = 4


def captured(model, inputs, kind, **arguments):
    """What a model shows, with outputs that are the same to the bit, and what its attention modules say themselves."""
    model, own = model.eval(), []
    with torch.no_grad():
        plain = model(**inputs)
        with aw.capture(model) as cap:
            seen = model(**inputs)
        model.set_attn_implementation("eager")
        for module in model.modules():
            if type(module).__name__ == kind:
                module.register_forward_hook(lambda _, __, output: own.append(output[1]))
        model(**inputs, **arguments)
    for one, other in zip(plain.to_tuple(), seen.to_tuple(), strict=True):
        assert not isinstance(one, torch.Tensor) or torch.equal(one, other)
    return cap, own


def agrees(cap, stack, layer, weights, windows, length, keys=None):
    """Whether a layer shows the weights of the windows in the whole sequence."""
    expected, held = put_back(weights, windows, length, keys)
    for example, wanted in enumerate(expected):
        np.testing.assert_allclose(cap.weights(layer, batch=example, stack=stack), wanted, atol=1e-5)
        allowed = cap.allowed(layer, batch=example, stack=stack)
        assert not allowed[:, ~held].any()


SWIN = {"patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": SIZE}


def swin(name, side):
    torch.manual_seed(0)
    kind, config = getattr(transformers, f"{name}Model"), getattr(transformers, f"{name}Config")
    return kind(config(**SWIN, image_size=side)), {"pixel_values": torch.randn(2, 3, side, side)}


@pytest.mark.parametrize("side", [64, 72])  # 16 x 16 patches, and 18 x 18, which are filled up to 20 x 20
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Swin", "SwinAttention"),
        ("Swinv2", "Swinv2SelfAttention"),
        ("DonutSwin", "DonutSwinSelfAttention"),
        ("MaskFormerSwin", "MaskFormerSwinSelfAttention"),
    ],
)
def test_shifted_windows_of_an_image(name, kind, side):
    model, inputs = swin(name, side)
    arguments = {} if name == "Swin" else {"output_attentions": True, "output_hidden_states": True}
    cap, own = captured(model, inputs, kind, **arguments)
    assert list(cap.stacks) == ["self", "self-2"]
    for number, stack in enumerate(cap.stacks.values()):
        length = -(-side // 4 >> number)
        assert stack.n_examples == 2
        assert (len(stack.query_tokens[0]), len(stack.key_tokens[0])) == (length**2,) * 2
        assert stack.infos[0].window == SIZE**2
        for layer, shift in enumerate((0, SIZE // 2)):
            agrees(
                cap, stack.name, layer, own[2 * number + layer], image_windows(length, length, SIZE, shift), length**2
            )
    count = (-(-side // 4 // SIZE)) ** 2
    assert f"{count} windows of 16 x 16" in repr(cap)
    assert (PADDED in cap.notes) == (side == 72)
    assert cap.verify().ok


def test_a_run_holds_nothing_of_the_square_of_the_whole():
    model, inputs = swin("Swin", 128)  # 32 x 32 patches
    model.eval()
    with torch.no_grad(), aw.capture(model):
        model(**inputs)
    tracemalloc.start()
    with torch.no_grad(), aw.capture(model) as cap:
        model(**inputs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cap.stacks["self"].layers[0].n_queries == 1024
    assert peak < 1024**2, "a byte a pair; the weights of a layer would take 16"
