"""Makes a config tiny: every width the same, every layer count small, whatever the model."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

VOCABULARY, FIRST_SPECIAL = 128, 96
"""Tokens that stand for images and the like have numbers from FIRST_SPECIAL on; text is made of smaller ones."""
WIDTH, HEAD_SIZE, PATCHES = 64, 16, 4

_RULES: tuple[tuple[str, int], ...] = (
    (r"(num_)?(kv_heads|key_value_heads|key_value_attention_heads)|.*_num_key_value_heads|multi_query_group_num", 2),
    (r".*heads|.*n_head", 4),
    (r"qk_rope_head_dim|rotary_dim", HEAD_SIZE // 2),
    (r"head_dim|.*_head_dim|d_kv|kv_channels|.*head_size|dim_head|d_head", HEAD_SIZE),
    (r".*decoder_layers|decoder_num_hidden_layers|decoder_num_layers", 3),
    (r"num_hidden_layers|num_layers|n_layers?|.*_layers|.*hidden_layers|layers|depth|.*_depth", 2),
    (r".*vocab_size|vocab_size_per_layer_input", VOCABULARY),
    (r"n_positions|n_ctx|max_seq_len|max_sequence_length|.*max_position_embeddings", 512),
    (r"max_source_positions", 32),
    (r"num_experts_per_tok|moe_topk|moe_k|top_k_experts|num_experts_per_token", 2),
    (r"num_experts|num_local_experts|n_routed_experts|moe_num_experts|zero_expert_num", 4),
    (r"n_shared_experts|num_shared_experts|moe_num_shared_experts|n_group|topk_group", 1),
    (r"q_lora_rank|kv_lora_rank|o_lora_rank", 32),
    (r"sliding_window|sliding_window_size|attention_window_size|local_attention_window_len", 4),
    (r"attention_chunk_size", 5),
    (r".*intermediate_size|.*ffn_dim|.*_inner|ffn_hidden_size|d_ff|d_inner|.*mlp_dim|.*_ff_?dim|dff|dim_ff", WIDTH),
    (r".*feedforward_dim|.*dim_feedforward|.*linear_units|ffn_dim|feed_forward_size|.*ffn_size", WIDTH),
    (r".*hidden_size|.*d_model|n_embd|dim|.*embed_dim|.*hidden_dim|dim_model|.*embedding_size|.*embedding_dim", WIDTH),
    (r".*proj.*_dim|.*projection_size|output_dim|.*_output_dim|.*_out_dim|.*_in_dim|hidden_channels", WIDTH),
    (r"num_queries|num_query_tokens|.*num_latents|num_proposals|two_stage_num_proposals|resampler_n_latents", 8),
    (r"projector_input_dim|vision_output_dim", WIDTH),
    (r"mm_tokens_per_image", 4),
    (r"upsample_groups", HEAD_SIZE),
)
Rules: TypeAlias = "tuple[tuple[re.Pattern[str], int], ...]"
_COMPILED: Rules = tuple((re.compile(pattern), value) for pattern, value in _RULES)
_SHALLOW: Rules = tuple(
    (re.compile(pattern), value)
    for pattern, value in _RULES
    if any(word in pattern for word in ("layers", "vocab", "positions", "experts", "window", "chunk", "queries"))
)
_KEPT = re.compile(
    r"num_labels|num_channels|num_codebooks|num_mel_bins|num_kv_shared_layers|num_nextn_predict_layers|num_mtp_layers|"
    r"max_window_layers|first_k_dense_replace|expert_layer.*|num_register_tokens|.*_token_per_.*|.*dropout.*"
)
_ABSENT = {"head_dim": HEAD_SIZE, "num_experts_per_tok": 2}
"""Fields some classes leave at None, and cannot do without."""
_TOKEN = re.compile(
    r".*token_ids?|.*_token_index|.*(image|video|audio|im|img|slice|newline|patch|start|end|eos|bos)_id"
)
_LIST_WIDTHS = re.compile(r"hidden_sizes|embed_dims|embed_dim|.*hidden_sizes|conv_dim|tdnn_dim|embed_dim_per_stage")


def shrink(config: Any, fields: Mapping[str, Mapping[str, Any]] | None = None, *, widths: bool = True) -> Any:
    """A config like this one, tiny.

    Args:
        config: as its class makes it by default.
        fields: what the rules cannot know, by model type and name of a field; it holds inside other configs too. None
            leaves a field to the class.
        widths: shrink widths too; without it only depths, vocabularies and the like.

    Returns:
        A new config of the same class.
    """
    return _shrink(config, fields or {}, {}, _COMPILED if widths else _SHALLOW)


def _shrink(config: Any, fields: Mapping[str, Mapping[str, Any]], tokens: dict[str, int], rules: Rules) -> Any:
    values: dict[str, Any] = {}
    names = {field.name: field.default for field in dataclasses.fields(config)}
    special = fields.get(config.model_type, {})
    for name, default in names.items():
        value = get(config, name, default)
        if is_config(value) and name not in special:
            values[name] = _shrink(value, fields, tokens, rules)
        elif name in _ABSENT and value is None and rules is _COMPILED:
            values[name] = _ABSENT[name]
        elif (small := _small(name, value, default, config, tokens, rules)) is not None:
            values[name] = small
    values.update(_layers(config, names))
    values.update(_stages(config, names))
    if rules is _COMPILED:
        values.update(_rotary(config))
        if "kv_lora_rank" in names and "num_key_value_heads" in values:
            values["num_key_value_heads"] = values.get("num_attention_heads", 4)  # latents are made into as many keys
    values.update(special)
    return type(config)(**{name: value for name, value in values.items() if value is not None})


def get(config: Any, name: str, default: Any = None) -> Any:
    """A field, or the default where the config has no one answer, as where layers differ."""
    try:
        return getattr(config, name, default)
    except Exception:  # noqa: BLE001 - configs answer with errors of their own kind
        return default


def _layers(config: Any, names: Mapping[str, Any]) -> dict[str, Any]:
    """As many layers as there are kinds of them, one of each kind, and the last kind once more."""
    found = {}
    for field in ("layer_types", "layers_block_type", "mlp_layer_types", "indexer_types"):
        kinds = get(config, field)
        if isinstance(kinds, (list, tuple)) and kinds and all(isinstance(kind, str) for kind in kinds):
            found[field] = list(dict.fromkeys(kinds))
    depth = next((name for name in ("num_hidden_layers", "num_layers", "n_layer") if name in names), None)
    if not found or depth is None:
        return {}
    number = max(2, *(len(kinds) for kinds in found.values()))
    lists = {field: [kinds[min(at, len(kinds) - 1)] for at in range(number)] for field, kinds in found.items()}
    return {depth: number, **{field: kinds for field, kinds in lists.items() if field in names}}


def _stages(config: Any, names: Mapping[str, Any]) -> dict[str, Any]:
    """What a backbone hands on: as much as by default, from the first layers there are."""
    wanted = get(config, "_out_indices")
    if not isinstance(wanted, (list, tuple)) or "_out_indices" not in names or len(wanted) < 2:
        return {}
    if "num_hidden_layers" not in names:
        return {"out_indices": list(wanted)}
    found: dict[str, Any] = {"num_hidden_layers": len(wanted), "out_indices": list(range(1, len(wanted) + 1))}
    if "window_block_indices" in names:
        found |= {"window_block_indices": [0], "out_indices": list(range(len(wanted)))}
    return found


def _rotary(config: Any) -> dict[str, Any]:
    """Sections of a head's rotation, for smaller heads."""
    found = get(config, "rope_parameters")
    if not isinstance(found, dict) or not isinstance(sections := found.get("mrope_section"), (list, tuple)):
        return {}
    size = get(config, "head_dim") or get(config, "hidden_size") // get(config, "num_attention_heads")
    total = max(len(sections), round(sum(sections) * HEAD_SIZE / size))
    small = [max(1, item * total // sum(sections)) for item in sections]
    small[0] += total - sum(small)
    return {"rope_parameters": {**found, "mrope_section": small}}


def is_config(value: object) -> bool:
    """Whether this is a config of a model or of a part of one."""
    return dataclasses.is_dataclass(value) and hasattr(value, "model_type") and not isinstance(value, type)


def _small(  # noqa: PLR0911 - one rule after the other
    name: str, value: Any, default: Any, config: Any, tokens: dict[str, int], rules: Rules
) -> Any:
    """The value for one field; None to leave it to the class, as where the class makes it from other fields."""
    if name == "rope_parameters":
        return None
    if default is None or isinstance(value, dict) or value is None:
        return None
    if isinstance(value, float) and "drop" in name:
        return 0.0
    if isinstance(value, (bool, str, float)):
        return value if value != default else None  # a config inside another may be given other values
    if isinstance(value, int):
        if _TOKEN.fullmatch(name):
            return _token(name, value, tokens)
        if name in {"image_size", "img_size"}:
            return _image(value, getattr(config, "patch_size", None))
        if name == "embed_dim" and isinstance(getattr(config, "num_heads", None), (list, tuple)) and rules is _COMPILED:
            return HEAD_SIZE * config.num_heads[0]  # each stage doubles the width and has heads of its own
        return _number(name, value, rules)
    if isinstance(value, (list, tuple)) and value and all(type(item) is int for item in value):
        return _numbers(name, value, config, tokens, rules)
    return None


def _token(name: str, value: int, tokens: dict[str, int]) -> int | None:
    if value < FIRST_SPECIAL:
        return None
    return tokens.setdefault(name, FIRST_SPECIAL + len(tokens))


def _image(value: int, patch: Any) -> int:
    if isinstance(patch, (list, tuple)):
        patch = patch[0]
    size = PATCHES * patch if isinstance(patch, int) and patch > 1 else WIDTH
    return min(value, size * -(-WIDTH // size) if size < WIDTH // 2 else size)


def _number(name: str, value: int, rules: Rules) -> int | None:
    if _KEPT.fullmatch(name) or value <= 0:
        return None
    for pattern, small in rules:
        if pattern.fullmatch(name):
            return min(value, small)
    return None


def _numbers(name: str, value: Any, config: Any, tokens: dict[str, int], rules: Rules) -> list[int] | None:
    if name in {"image_size", "img_size"}:
        patch = getattr(config, "patch_size", None)
        return [_image(item, patch) for item in value]
    if _TOKEN.fullmatch(name):
        return [_token(f"{name}.{number}", item, tokens) or item for number, item in enumerate(value)]
    if name in {"depths", "encoder_depths", "layers", "stage_depths"}:
        return [min(item, 2) for item in value]
    if _LIST_WIDTHS.fullmatch(name) and rules is _COMPILED:
        common = math.gcd(*value)
        factor = common // HEAD_SIZE if common % HEAD_SIZE == 0 else 1
        return [item // max(1, factor) for item in value]
    return None
