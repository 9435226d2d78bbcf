"""Where a model takes its inputs, also where its parameters are elsewhere between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

_NOWHERE = "meta"


def input_device(model: nn.Module) -> torch.device:
    """The device of a model's first parameter, or where its module runs, if accelerate brings the parameter there.

    With offload to the CPU or to disk, parameters are on the "meta" device, without values, except while their module
    runs. accelerate's hooks know where that is, and move inputs from one device to the next.

    Raises:
        ValueError: the parameters have no values, and nobody brings them.
    """
    places = [tensor.device for tensor in (*model.parameters(), *model.buffers())]
    if not places:
        return torch.device("cpu")
    if places[0].type != _NOWHERE:
        return places[0]
    for device in _execution_devices(model):
        return torch.device(device)
    for place in places:
        if place.type != _NOWHERE:
            return place
    raise ValueError(
        f"the parameters of {type(model).__name__} are on the meta device, which holds no values: load them, as "
        "from_pretrained does"
    )


def placement_text(model: nn.Module) -> str:
    """Where the model is, in a few words: "cpu", "cuda:0, partly offloaded"."""
    away = [parameter.device.type == _NOWHERE for parameter in model.parameters()]
    try:
        device = str(input_device(model))
    except ValueError:
        return _NOWHERE
    if not any(away):
        return device
    return f"{device}, {'offloaded' if all(away) else 'partly offloaded'}"


def _execution_devices(model: nn.Module) -> Iterator[Any]:
    """Where accelerate's hooks run modules, outermost first; several hooks of one module are kept in one."""
    for module in model.modules():
        hook = getattr(module, "_hf_hook", None)
        for one in getattr(hook, "hooks", (hook,)):
            device = getattr(one, "execution_device", None)
            if device is not None:
                yield device
