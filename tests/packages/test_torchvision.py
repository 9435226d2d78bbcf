"""Vision transformers of torchvision, whose attention is nn.MultiheadAttention or a softmax by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from softmaxes import Softmaxes
from torchvision.models import SwinTransformer, VisionTransformer
from watched import as_it_ran, watch, whole


def test_vit_against_its_own_modules_asked_for_their_weights():
    torch.manual_seed(0)
    model = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=24, num_classes=5
    ).eval()
    seen = []
    for layer in model.encoder.layers:
        layer.self_attention.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(
                type(module).forward(module, *args, need_weights=True, average_attn_weights=False)[1]
            ),
            with_kwargs=True,
        )
    picture = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        model(picture)
        for layer in model.encoder.layers:
            layer.self_attention._forward_pre_hooks.clear()
    cap = watch(model, picture, grad=True)
    assert [info.path for info in cap.stacks["self"].infos] == [
        "encoder.layers.encoder_layer_0.self_attention",
        "encoder.layers.encoder_layer_1.self_attention",
    ]
    for layer, wanted in enumerate(seen):
        np.testing.assert_allclose(whole(cap, layer), wanted.numpy(), atol=1e-6)
    assert cap.verify().ok


@pytest.mark.parametrize("grad", [False, True])
def test_swin(grad):
    torch.manual_seed(0)
    model = SwinTransformer(
        patch_size=[2, 2],
        embed_dim=12,
        depths=[2, 2],
        num_heads=[2, 3],
        window_size=[4, 4],
        num_classes=5,
    ).eval()
    picture = torch.randn(2, 3, 32, 32)
    with torch.no_grad(), Softmaxes() as run:
        model(picture)
    cap = watch(model, picture, grad=grad)
    layers = [(stack, layer) for stack, part in cap.stacks.items() for layer in range(part.n_layers)]
    assert len(layers) == len(run.weights) == 4
    for (stack, layer), wanted in zip(layers, run.weights, strict=True):
        np.testing.assert_allclose(as_it_ran(cap, layer, stack), wanted.numpy(), atol=1e-6)
    assert cap.verify().ok
