"""Vision transformers of timm, with its fused attention and without, against every softmax they take."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from softmaxes import Softmaxes
from timm.layers import set_fused_attn
from watched import as_it_ran, watch, whole

import attnwidget as aw

SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 3, "img_size": 32, "patch_size": 8, "num_classes": 5}
WINDOWS = {"embed_dim": 12, "depths": (2, 2), "num_heads": (2, 3), "img_size": 32, "patch_size": 2, "window_size": 4}
MODELS = {
    "vit": ("vit_tiny_patch16_224", SMALL),
    "vit, normalised queries and keys": ("vit_tiny_patch16_224", {**SMALL, "qk_norm": True}),
    "deit": ("deit_tiny_distilled_patch16_224", SMALL),
    "beit, relative bias": ("beit_base_patch16_224", SMALL),
    "relative positions": ("vit_relpos_small_patch16_224", SMALL),
    "eva, rotary": ("eva02_tiny_patch14_224", {**SMALL, "patch_size": 8}),
    "swin": ("swin_tiny_patch4_window7_224", WINDOWS),
    "swin v2": ("swinv2_tiny_window8_256", WINDOWS),
    "cait, heads mixed": ("cait_xxs24_224", {**SMALL, "num_heads": 2}),
    "twins, windows of five axes": ("twins_svt_small", {"img_size": 64, "num_classes": 5}),
    "sam, batch and heads in one axis": ("samvit_base_patch16_224", {"img_size": 64, "depth": 2}),
    "levit": ("levit_128s", {"img_size": 64, "num_classes": 5}),
    "attention pooling": ("vit_base_patch16_siglip_224", SMALL),
}


def build(name):
    kind, options = MODELS[name]
    torch.manual_seed(0)
    model = timm.create_model(kind, pretrained=False, **options).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    return model, torch.randn(2, 3, options["img_size"], options["img_size"])


@pytest.fixture(params=[True, False], ids=["fused", "plain"])
def _attention(request):
    before = timm.layers.use_fused_attn()
    set_fused_attn(request.param)
    yield
    set_fused_attn(bool(before))


@pytest.mark.usefixtures("_attention")
@pytest.mark.parametrize("name", MODELS)
def test_every_softmax(name):
    model, picture = build(name)
    with torch.no_grad(), Softmaxes() as run:
        model(picture)
    cap = watch(model, picture)
    infos = [(stack, layer, info) for stack, part in cap.stacks.items() for layer, info in enumerate(part.infos)]
    order = [path for path, _ in model.named_modules()]
    infos.sort(key=lambda place: (order.index(place[2].path), place[2].call))
    assert len(infos) == len(run.weights) > 0
    for (stack, layer, _), wanted in zip(infos, run.weights, strict=True):
        found = as_it_ran(cap, layer, stack)  # leading axes of the model's own may be several, or one
        np.testing.assert_allclose(found, wanted.reshape(found.shape).numpy(), atol=1e-5)
    checked = cap.verify()
    assert checked.ok or name == "cait, heads mixed", "what met the values there are mixed weights"


def test_a_cosine_attention_of_swin_keeps_its_factors_and_bias():
    model, picture = build("swin v2")
    cap = watch(model, picture)
    assert all("q k float32, bias" in layer.detail for stack in cap.stacks.values() for layer in stack.layers)


@pytest.mark.filterwarnings("ignore:.*ran, and no attention of theirs was seen:attnwidget.AttentionWarning")
def test_what_is_no_product_of_queries_and_keys_is_named():
    model = timm.create_model("coat_tiny", img_size=64).eval()
    with pytest.raises(aw.CaptureError) as error, torch.no_grad(), aw.capture(model):
        model(torch.randn(1, 3, 64, 64))
    assert "the first in serial_blocks1.0.factoratt_crpe (FactorAttnConvRelPosEnc), were multiplied with values" in str(
        error.value
    )


def test_blended_softmaxes_are_shown_as_they_meet_the_values():
    model = timm.create_model("convit_tiny", **{**SMALL, "local_up_to_layer": 1}).eval()
    cap = watch(model, torch.randn(2, 3, 32, 32))
    first = whole(cap, 0)
    np.testing.assert_allclose(first.sum(-1), 1, atol=1e-5)
    assert cap.stacks["self"].layers[0].detail == "weights, float32"
    assert cap.verify().ok
