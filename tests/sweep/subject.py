"""A tiny model that runs, with its config and inputs, and its twins: the same weights in other circumstances."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree

from sweep.inputs import make_inputs
from sweep.kinds import model_class
from sweep.packages import bring_in
from sweep.reference import run
from sweep.results import told
from sweep.special import NEEDS_TIMM, special_class, special_inputs, tiny_configs
from sweep.styles import adapted, parameters, styles

if TYPE_CHECKING:
    from torch import nn

_TRIES = 60
_LARGEST = 120_000_000
_MEDIA = re.compile(r"pixel_values|input_features$|input_values$|flattened_patches")


@dataclass
class Subject:
    """What is judged.

    Attributes:
        kind: its class.
        config: tiny.
        model: made of it, with the implementation of attention it has by default.
        given: inputs it takes.
    """

    kind: Any
    config: Any
    model: nn.Module
    given: dict[str, Any]

    @property
    def padding(self) -> Any:
        """(B, T) of the tokens that are padding, where there are any."""
        mask = self.given.get("attention_mask")
        return None if mask is None or mask.ndim != 2 else (mask == 0).cpu().numpy()

    @property
    def is_text_alone(self) -> bool:
        """Whether no way was found to pass what a tower looks at or listens to."""
        media = {name for name in parameters(self.model) if _MEDIA.search(name)}
        return bool(media) and not media & set(self.given)

    def run(self) -> Any:
        """One forward pass, always with the same random numbers."""
        with torch.no_grad():
            return run(self.model, self.given)

    def eager(self) -> Subject:
        """The same with eager attention."""
        return self._twin(attn_implementation="eager")

    def double(self) -> Subject:
        """The same in float64."""
        twin = self._twin()
        twin.model.double()
        twin.given = {
            name: value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
            for name, value in self.given.items()
        }
        return twin

    def on(self, device: str) -> Subject:
        """The same on another device."""
        given = pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), self.given)
        return Subject(self.kind, self.config, self.model.to(device), given)

    def _twin(self, **options: str) -> Subject:
        model = self.kind._from_config(copy.deepcopy(self.config), **options).eval()
        model.load_state_dict(self.model.state_dict())
        like = next(self.model.parameters())
        return Subject(self.kind, self.config, model.to(like.device, like.dtype), self.given)


def build(model_type: str) -> Subject:
    """A tiny model that runs.

    Raises:
        LookupError: no class is made for that type.
        Exception: whatever the first try ended with, if none works.
    """
    if model_type in NEEDS_TIMM:
        bring_in()  # before the model's own module is loaded, which looks for it once
    kind = special_class(model_type) or model_class(model_type)
    first: Exception | None = None
    for make in tiny_configs(model_type):
        try:
            config = make()
            _check_size(kind, config)
            torch.manual_seed(0)
            model = kind._from_config(copy.deepcopy(config)).eval()
            return Subject(kind, config, model, find_inputs(model_type, model))
        except Exception as error:  # noqa: BLE001, PERF203 - configs and models say in every way that they do not fit
            first = first or error
    raise first or ValueError("no config to try")


def _check_size(kind: Any, config: Any) -> None:
    """Raise if the model would be too large to be worth it."""
    try:
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in kind._from_config(copy.deepcopy(config)).parameters())
    except Exception:  # noqa: BLE001 - not every model can be made without memory
        return
    if size > _LARGEST:
        raise ValueError(f"still {size / 1e6:.0f} million parameters when shrunk")


def find_inputs(model_type: str, model: nn.Module) -> dict[str, Any]:
    """Inputs that the model takes.

    Raises:
        ValueError: none were found; with what the model said to the first ones.
    """
    own = special_inputs(model_type, model)
    if own is not None:
        with torch.no_grad():
            run(model, own)
        return own
    first: Exception | None = None
    waiting = list(styles(model))
    for _ in range(_TRIES):
        if not waiting:
            break
        style = waiting.pop(0)
        try:
            given = make_inputs(model, style)
            with torch.no_grad():
                run(model, given)
        except Exception as error:  # noqa: BLE001 - models say in every way that an input does not fit
            first = first or error
            other = adapted(style, error)
            if other is not None:
                waiting.insert(0, other)
        else:
            return given
    raise ValueError(f"no inputs found: {told(first)}") from first
