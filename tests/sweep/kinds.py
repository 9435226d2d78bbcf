"""Which model types the installed transformers knows, and the class that stands for each."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

import transformers
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST = "MODEL_MAPPING_NAMES"
_OTHERS = sorted(
    name for name in vars(modeling_auto) if name.startswith("MODEL_") and name.endswith("_NAMES") and name != _FIRST
)


def model_types() -> list[str]:
    """All of them, by name."""
    return sorted(CONFIG_MAPPING_NAMES)


def config_class(model_type: str) -> type[Any]:
    """The class of its config."""
    found: type[Any] = CONFIG_MAPPING[model_type]
    return found


def model_class(model_type: str) -> type[Any]:
    """What AutoModel would make; else the first class another auto mapping names; else one made for that config.

    Raises:
        LookupError: there is none.
    """
    for mapping in (_FIRST, *_OTHERS):
        names = getattr(modeling_auto, mapping).get(model_type)
        if names:
            name = names if isinstance(names, str) else names[0]
            found = getattr(transformers, name, None)
            if found is not None:
                return found
    made = list(_made_for(config_class(model_type)))
    if not made:
        raise LookupError(f"no model class takes {config_class(model_type).__name__}")
    return max(made, key=_rank)


def _made_for(config: type[Any]) -> Iterator[type[Any]]:
    """Model classes beside a config that take it, in the order they are written."""
    place = config.__module__.replace(".configuration_", ".modeling_")
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError:
        return
    for kind in vars(module).values():
        if (
            inspect.isclass(kind)
            and issubclass(kind, transformers.PreTrainedModel)
            and kind.__module__ == place
            and kind.config_class is config
            and "forward" in vars(kind)
        ):
            yield kind


def _rank(kind: type[Any]) -> tuple[bool, bool]:
    plain = kind.config_class.__name__.removesuffix("Config")
    return kind.__name__ in (plain, f"{plain}Model"), kind.__name__.endswith("Model")
