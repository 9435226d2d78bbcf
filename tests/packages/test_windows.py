"""Windows of timm's and torchvision's models in the frame of the image, against the softmaxes of a plain run."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from softmaxes import Softmaxes
from torchvision.models import MaxVit, SwinTransformer
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2
from torchvision.models.video import SwinTransformer3d
from watched import watch
from windowing import image_windows, put_back


def captured(model, image):
    """A capture, and every softmax of a plain run."""
    cap = watch(model.eval(), image)
    with torch.no_grad(), Softmaxes() as seen:
        model(image)
    assert cap.verify().ok
    return cap, seen.weights


def agrees(cap, stack, layer, weights, windows):
    length = int(windows.max()) + 1
    expected, held = put_back(weights, windows, length)
    assert cap.stacks[stack].n_examples == len(expected)
    for example, wanted in enumerate(expected):
        np.testing.assert_allclose(cap.weights(layer, batch=example, stack=stack), wanted, atol=1e-5)
        assert not cap.allowed(layer, batch=example, stack=stack)[:, ~held].any()


SMALL = {"window_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}
VISION = {"patch_size": [4, 4], "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": [4, 4]}
SWINS = {
    "timm": lambda side: timm.create_model("swin_tiny_patch4_window7_224", img_size=side, **SMALL),
    "timm v2": lambda side: timm.create_model("swinv2_tiny_window8_256", img_size=side, **SMALL),
    "timm v2, cosine": lambda side: timm.create_model("swinv2_cr_tiny_224", img_size=side, **SMALL),
    "torchvision": lambda _: SwinTransformer(**VISION, stochastic_depth_prob=0.0, num_classes=3),
    "torchvision v2": lambda _: SwinTransformer(
        **VISION,
        stochastic_depth_prob=0.0,
        num_classes=3,
        block=SwinTransformerBlockV2,
        downsample_layer=PatchMergingV2,
    ),
}


@pytest.mark.parametrize(
    ("name", "side"),
    [*((name, 64) for name in SWINS), ("timm", 72), ("torchvision", 72)],  # 18 x 18 patches are filled up to 20 x 20
)
def test_swin(name, side):
    torch.manual_seed(0)
    cap, own = captured(SWINS[name](side), torch.randn(2, 3, side, side))
    assert list(cap.stacks) == ["self", "self-2"]
    for number, stack in enumerate(cap.stacks):
        length = side // 4 >> number
        for layer, shift in enumerate((0, 2)):
            windows = image_windows(length, length, 4, shift, rolled_first=name == "timm")
            agrees(cap, stack, layer, own[2 * number + layer], windows)


def test_swin_of_videos():
    torch.manual_seed(0)
    model = SwinTransformer3d([2, 4, 4], 16, [2], [2], [2, 4, 4], num_classes=3, stochastic_depth_prob=0.0)
    cap, own = captured(model, torch.randn(2, 3, 8, 32, 32))
    for layer in range(2):
        places = np.arange(4 * 64).reshape(4, 8, 8)
        shifted = np.roll(places, (-1, -2, -2), (0, 1, 2)) if layer else places
        windows = shifted.reshape(2, 2, 2, 4, 2, 4).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 32)
        agrees(cap, "self", layer, own[layer], windows)


def test_windows_and_grids_of_maxvit():
    """Windows are an axis of their own beside the heads; grids are windows of patches far from one another."""
    torch.manual_seed(0)
    cap, own = captured(MaxVit((64, 64), 16, 4, [16, 32], [1, 1], 8, 0.0), torch.randn(2, 3, 64, 64))
    for number, stack in enumerate(cap.stacks):
        length = 16 >> number
        places = np.arange(length**2).reshape(4, length // 4, 4, length // 4)
        grid = places.transpose(1, 3, 0, 2).reshape(-1, 16)
        for layer, windows in enumerate((image_windows(length, length, 4), grid)):
            agrees(cap, stack, layer, own[2 * number + layer].flatten(0, 1), windows)


def test_timm_sam_merges_windows_and_heads():
    model = timm.create_model(
        "samvit_base_patch16",
        img_size=96,
        patch_size=8,
        embed_dim=32,
        depth=3,
        num_heads=2,
        window_size=5,
        global_attn_indexes=(1,),
    )
    cap, own = captured(model, torch.randn(2, 3, 96, 96))
    for layer, weights in enumerate(own):
        split = weights.reshape(-1, 2, *weights.shape[-2:])
        agrees(cap, "self", layer, split, image_windows(12, 12, 12 if layer == 1 else 5))


def test_timm_twins_has_windows_before_heads():
    model = timm.create_model(
        "twins_svt_small",
        img_size=64,
        embed_dims=(16, 32, 64, 128),
        num_heads=(1, 2, 4, 8),
        depths=(2, 2, 2, 2),
        wss=(4, 4, 4, 4),
    )
    cap, own = captured(model, torch.randn(2, 3, 64, 64))
    for stack, number, length in (("self", 0, 16), ("self-3", 2, 8)):
        agrees(cap, stack, 0, own[number].flatten(0, 1), image_windows(length, length, 4))


def test_timm_hiera_has_windows_behind_heads():
    model = timm.create_model("hiera_tiny_224", img_size=(64, 64), embed_dim=16, num_heads=1, stages=(1, 2, 1, 1))
    cap, own = captured(model, torch.randn(2, 3, 64, 64))
    # The model holds the tokens of units apart, pooled places outermost; shown is the image they come from.
    order = np.arange(256).reshape(2, 2, 2, 2, 2, 2, 2, 2)  # rows and columns by their bits
    units = order.transpose(0, 4, 3, 7, 2, 6, 1, 5).reshape(4, 64)
    assert sorted(map(sorted, units.tolist())) == sorted(map(sorted, image_windows(16, 16, 8).tolist()))
    agrees(cap, "self", 0, own[0].transpose(1, 2).flatten(0, 1), units)
    assert cap.stacks["self-2"].n_examples == 8  # pooled queries are no tokens of the sequence their keys come from
    assert "8 windows of 16 x 64 tokens were cut from a sequence of 256" in " ".join(cap.notes)


def test_an_image_smaller_than_its_window():
    model = timm.create_model("davit_tiny")
    cap, own = captured(model, torch.randn(2, 3, 64, 64))
    agrees(cap, "self-5", 0, own[4], image_windows(4, 4, 7))
    assert "1 window of 49 x 49" in repr(cap)


def test_models_without_windows_are_as_they_were():
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, embed_dim=32, depth=2, num_heads=2)
    cap, _ = captured(model, torch.randn(4, 3, 64, 64))
    assert cap.stacks["self"].n_examples == 4
    assert "window" not in repr(cap)
