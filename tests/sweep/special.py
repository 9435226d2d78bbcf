"""What the rules cannot know of single model types: fields of the config, the class, inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers

from sweep.kinds import config_class
from sweep.shrink import shrink
from sweep.special_inputs import INPUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SECTIONS = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}}


def _each(names: tuple[str, ...], fields: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: dict(fields) for name in names}


_SERIES = {"prediction_length": 8, "context_length": 16, "lags_sequence": [1, 2, 3], "num_time_features": 2}
_RESNET = {"model_type": "resnet", "embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1]}
FIELDS: dict[str, dict[str, Any]] = {
    **_each(
        (
            "qwen2_vl_text",
            "qwen2_5_vl_text",
            "qwen2_5_omni_text",
            "qwen2_5_omni_talker",
            "paddleocr_vl_text",
            "glm4v_text",
            "glm_image_text",
            "glm_ocr_text",
        ),
        _SECTIONS,
    ),
    "glm4v_moe_text": {"rope_parameters": {**_SECTIONS["rope_parameters"], "mrope_section": [1, 1, 2]}},
    "t5": {"num_decoder_layers": 3},
    "mt5": {"num_decoder_layers": 3},
    "umt5": {"num_decoder_layers": 3},
    "longt5": {"num_decoder_layers": 3},
    "switch_transformers": {"num_decoder_layers": 3},
    "udop": {"num_decoder_layers": 3},
    "pop2piano": {"num_decoder_layers": 3},
    **_each(("swin", "swinv2", "donut-swin", "maskformer-swin"), {"window_size": 4, "image_size": 128}),
    "swin2sr": {"window_size": 4},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "num_hidden_layers": 4},
    "audio-spectrogram-transformer": {"max_length": 48, "num_mel_bins": 32},
    "mllama_vision_model": {"intermediate_layers_indices": [0, 1], "num_global_layers": 2, "vision_output_dim": 192},
    "perceiver": {
        "d_latents": 64,
        "d_model": 64,
        "num_self_attends_per_block": 2,
        "num_latents": 8,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4,
    },
    "phi4_multimodal_audio": {
        "nemo_conv_channels": 64,
        "ext_pw_out_channel": 64,
        "depthwise_separable_out_channel": 64,
        "num_blocks": 2,
    },
    **_each(
        ("detr", "conditional_detr", "dab-detr", "table-transformer"),
        {"use_timm_backbone": False, "backbone_config": _RESNET},
    ),
    "deformable_detr": {
        "use_timm_backbone": False,
        "backbone_config": {**_RESNET, "out_features": ["stage2", "stage3", "stage4"]},
    },
    "cohere_compass_text": {
        "layer_types": ["full_attention", "sliding_attention"],
        "rope_parameters": dict.fromkeys(("full_attention", "sliding_attention"), _SECTIONS["rope_parameters"]),
    },
    "deepseek_ocr2_text": {"mlp_layer_types": ["dense", "sparse"]},
    "unlimited_ocr_text": {"mlp_layer_types": ["dense", "sparse"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": {"head_dim": 8},
    "chameleon": {
        "vocabulary_map": {f"IMGIMG{letter}Z": number for number, letter in enumerate("ABCD", 100)} | {"<image>": 99}
    },
    "emu3": {
        "vocabulary_map": {f"<|visual token {number:06d}|>": 100 + number for number in range(8)}
        | {"<image>": 99, "<|extra_200|>": 98}
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8},
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "ernie4_5_vl_moe_text": {
        "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0, "mrope_section": [3, 3, 2]}
    },
    "hunyuan_vl_text": {
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2, 2]}
    },
    "mamba2": {"num_heads": 8, "head_dim": 16, "hidden_size": 64},
    "molmo2_adapter": {"vision_feature_layer": [1, 0]},
    "diffusion_gemma_text": {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 64},
    "nemotron": {"num_key_value_heads": 2},
    **_each(("eomt", "eomt_dinov3", "videomt"), {"num_hidden_layers": 3, "num_blocks": 2}),
    "chmv2": {
        "backbone_config": {
            "model_type": "dinov3_vit",
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": 64,
            "key_bias": True,
            "out_indices": [1, 2, 3, 4],
            "reshape_hidden_states": True,
            "apply_layernorm": True,
            "return_class_token": True,
        }
    },
    "lw_detr": {"projector_scale_factors": [1.0]},
    "upernet": {"backbone_config": {**_RESNET, "out_features": ["stage1", "stage2", "stage3", "stage4"]}},
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 8,
        "indexer_compress_ratio": 4,
        "ngram_vocab_size_base": 128,
        "split_ngram_parts": 1,
        "hc_lowrank": 8,
        "heads_per_ngram": 2,
    },
    "qwen3_omni_moe_talker_text": {"shared_expert_intermediate_size": 64},
    **_each(("t5gemma2_text", "t5gemma2_decoder"), {"dropout_rate": 0.0}),
    "pix2struct_text_model": {"initializer_range": 0.02},
    "blip-2": {"image_token_index": 96},
    **_each(("instructblip",), {"image_token_index": 96}),
    "instructblipvideo": {"video_token_index": 96},
    "dots3_note_audio_encoder": {"adapter_input_size": 64},
    "fun_asr_nano_adaptor": {"intermediate_size": 16},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gemma4_unified_assistant": {"num_kv_shared_layers": 0},
    "hiera": {"image_size": [128, 128]},
    "llama4_vision_model": {"intermediate_size": 256},
    "muse_spark_audio": {"num_hidden_layers": 4},
    "nemotron_h": {"n_groups": 1, "mamba_head_dim": 16},
    "gradium_phonon_flow_head": {"condition_dim": 64},
    "sam2_hiera_det_model": {
        "hidden_size": 16,
        "num_attention_heads": 1,
        "image_size": [128, 128],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [16, 32, 64, 128],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [8, 4, 4, 2],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    },
    "sam2_vision_model": {
        "backbone_channel_list": [128, 64, 32, 16],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
    },
    "step3p5": {"sliding_window": 4, "layer_types": ["full_attention", "sliding_attention"]},
    "granite4_vision": {"deepstack_layer_map": [[0, 0], [1, 1]], "spatial_target_layers": [0, 1]},
    "zamba": {"num_hidden_layers": 3, "layer_types": ["linear_attention", "hybrid", "hybrid"]},
    "moonshine_streaming": {"num_key_value_heads": 4},
    "tvp": {"max_img_size": 64, "visual_prompt_size": 8, "num_frames": 4},
    "sam2_mask_decoder": {"attention_downsample_rate": 2},
    "timm_backbone": {"backbone": "resnet18", "use_pretrained_backbone": False},
    "timm_wrapper": {"architecture": "vit_tiny_patch16_224", "model_args": {"img_size": 64, "depth": 2}},
    **_each(("llava_next", "llava_onevision", "llava_next_video"), {"image_grid_pinpoints": [[56, 56]]}),
    "voxtral": {"audio_token_id": 97},
    "mllama_text_model": {"cross_attention_layers": [1], "num_hidden_layers": 3},
    "aria": {"projector_patch_to_query_dict": {"16": 8}},
    "informer": {**_SERIES, "decoder_layers": 3},
    "autoformer": {**_SERIES, "decoder_layers": 3},
    "time_series_transformer": {**_SERIES, "decoder_layers": 3},
    "bamba": {"attn_layer_indices": [1]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "num_hidden_layers": 2},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "kosmos-2": {"latent_query_num": 4},
    "fastspeech2_conformer_hifigan": {"model_in_dim": 80},
    "esm": {"vocab_size": 40, "pad_token_id": 1, "mask_token_id": 32},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 4},
    "reformer": {
        "axial_pos_embds_dim": [32, 32],
        "axial_pos_shape": [4, 4],
        "attn_layers": ["local", "lsh"],
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "num_buckets": 4,
    },
}
NEEDS_TIMM = {
    "timm_backbone",
    "timm_wrapper",
    "edgetam",
    "edgetam_video",
    "edgetam_vision_model",
    "fast_vlm",
    "gemma3n",
    "gemma3n_vision",
    "omdet-turbo",
    "pe_video",
    "pe_video_encoder",
    "pe_audio_video",
    "pe_audio_video_encoder",
    "perception_lm",
}
CLASSES: dict[str, str] = {
    "blip_text_model": "BlipTextModel",
    "musicgen": "MusicgenForConditionalGeneration",
    "musicgen_melody": "MusicgenMelodyForConditionalGeneration",
}


def tiny_configs(model_type: str) -> Iterator[Callable[[], Any]]:
    """What makes configs of a type to try: tiny, and as wide as by default but shallow."""
    for widths in (True, False):
        yield lambda widths=widths: shrink(config_class(model_type)(), FIELDS, widths=widths)


def special_class(model_type: str) -> Any:
    """The class to make, where it is not the one that the auto mappings name."""
    name = CLASSES.get(model_type)
    return None if name is None else getattr(transformers, name)


def special_inputs(model_type: str, model: Any) -> dict[str, Any] | None:
    """Inputs for models that nothing generic fits."""
    make = INPUTS.get(model_type)
    if make is None:
        return None
    torch.manual_seed(1)
    return make(model)
