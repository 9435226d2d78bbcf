"""What the rules cannot know of single model types: fields of the config, the class, inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import transformers

from sweep.kinds import config_class
from sweep.shrink import shrink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SECTIONS = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}}
FIELDS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("qwen2_vl_text", "qwen2_5_vl_text", "qwen2_5_omni_text", "qwen2_5_omni_talker", "paddleocr_vl_text", "glm4v_text", "glm_image_text", "glm_ocr_text"), _SECTIONS
    ),
    "glm4v_moe_text": {"rope_parameters": {**_SECTIONS["rope_parameters"], "mrope_section": [1, 1, 2]}},
    "t5": {"num_decoder_layers": 3}, "mt5": {"num_decoder_layers": 3}, "umt5": {"num_decoder_layers": 3}, "longt5": {"num_decoder_layers": 3},
    "switch_transformers": {"num_decoder_layers": 3}, "udop": {"num_decoder_layers": 3}, "pop2piano": {"num_decoder_layers": 3},
    **dict.fromkeys(("swin", "swinv2", "donut-swin", "maskformer-swin"), {"window_size": 4, "image_size": 128}),
    "swin2sr": {"window_size": 4},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "num_hidden_layers": 4},
    "autoformer": {"prediction_length": 8, "context_length": 16, "lags_sequence": [1, 2, 3], "num_time_features": 2},
    "informer": {"prediction_length": 8, "context_length": 16, "lags_sequence": [1, 2, 3], "num_time_features": 2},
    "time_series_transformer": {"prediction_length": 8, "context_length": 16, "lags_sequence": [1, 2, 3], "num_time_features": 2},
    "esm": {"vocab_size": 40, "pad_token_id": 1, "mask_token_id": 32},
    "zamba": {"num_hidden_layers": 6}, "zamba2": {"num_hidden_layers": 8},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 4},
    "reformer": {"axial_pos_embds_dim": [32, 32], "axial_pos_shape": [4, 4], "attn_layers": ["local", "lsh"], "local_attn_chunk_length": 4, "lsh_attn_chunk_length": 4, "num_buckets": 4},
}
CLASSES: dict[str, str] = {}
INPUTS: dict[str, Callable[[Any], dict[str, Any]]] = {}


def tiny_configs(model_type: str) -> Iterator[Any]:
    """Configs of a type to try: tiny, and as wide as by default but shallow."""
    config = config_class(model_type)()
    for widths in (True, False):
        yield shrink(config, FIELDS, widths=widths)


def special_class(model_type: str) -> Any:  # noqa: ANN401 - a class
    """The class to make, where it is not the one that the auto mappings name."""
    name = CLASSES.get(model_type)
    return None if name is None else getattr(transformers, name)


def special_inputs(model_type: str, model: Any) -> dict[str, Any] | None:  # noqa: ANN401
    """Inputs for models that nothing generic fits."""
    make = INPUTS.get(model_type)
    return None if make is None else make(model)
