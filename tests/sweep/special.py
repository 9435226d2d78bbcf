"""What the rules cannot know of single model types: fields of the config, the class, inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import transformers

from sweep.kinds import config_class
from sweep.shrink import shrink

if TYPE_CHECKING:
    from collections.abc import Callable

FIELDS: dict[str, dict[str, Any]] = {}
CLASSES: dict[str, str] = {}
INPUTS: dict[str, Callable[[Any], dict[str, Any]]] = {}


def tiny_config(model_type: str) -> Any:  # noqa: ANN401 - any config
    """The smallest config of a type that still has everything."""
    return shrink(config_class(model_type)(), FIELDS.get(model_type))


def special_class(model_type: str) -> Any:  # noqa: ANN401 - a class
    """The class to make, where it is not the one that the auto mappings name."""
    name = CLASSES.get(model_type)
    return None if name is None else getattr(transformers, name)


def special_inputs(model_type: str, model: Any) -> dict[str, Any] | None:  # noqa: ANN401
    """Inputs for models that nothing generic fits."""
    make = INPUTS.get(model_type)
    return None if make is None else make(model)
