"""timm and torchvision import here at all."""

from __future__ import annotations


def test_they_import():
    import timm
    import torchvision

    assert callable(timm.create_model)
    assert callable(torchvision.models.vit_b_16)
