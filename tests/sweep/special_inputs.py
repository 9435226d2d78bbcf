"""Inputs for models that nothing generic fits, by model type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from sweep.fields import of
from sweep.inputs import SHORT, TEXT, make_inputs
from sweep.makers import GRID, TEXT_ONLY, generic_with, ids, images, ones, only, randn, text_mask
from sweep.styles import BATCH, Style

if TYPE_CHECKING:
    from collections.abc import Callable

INPUTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    # vision towers with inputs of their own
    "mllama_vision_model": only(
        pixel_values=lambda config: images(config, 1, 4),
        aspect_ratio_ids=ones(BATCH, 1),
        aspect_ratio_mask=ones(BATCH, 1, 4),
    ),
    "mllama": generic_with(
        TEXT_ONLY,
        pixel_values=lambda config: images(config, 1, 4),
        aspect_ratio_ids=ones(BATCH, 1),
        aspect_ratio_mask=ones(BATCH, 1, 4),
        cross_attention_mask=ones(BATCH, TEXT, 1, 4),
    ),
    **dict.fromkeys(
        ("siglip2", "siglip2_vision_model"),
        generic_with(
            Style(modalities=("text",)),
            pixel_values=lambda config: torch.randn(BATCH, 16, 3 * of(config, "patch_size", tower="image") ** 2),
            pixel_attention_mask=ones(BATCH, 16),
            spatial_shapes=lambda _: GRID,
        ),
    ),
    "gemma4_vision": only(
        pixel_values=lambda config: torch.rand(BATCH, 36, 3 * config.patch_size**2),
        pixel_position_ids=lambda _: torch.cartesian_prod(torch.arange(6), torch.arange(6)).expand(BATCH, -1, -1),
    ),
    "idefics2_perceiver": only(context=randn(BATCH, 16, "hidden_size"), attention_mask=ones(BATCH, 16)),
    "idefics": generic_with(
        TEXT_ONLY,
        pixel_values=lambda config: images(config, 1),
        image_attention_mask=ones(BATCH, TEXT, 1),
    ),
    **dict.fromkeys(
        ("minicpm_ocr_vision", "minicpmv4_6_vision", "minicpmv4_7_vision"),
        only(
            pixel_values=lambda config: torch.randn(1, 3, config.patch_size, config.patch_size * 16 * BATCH),
            target_sizes=lambda _: GRID.int(),
        ),
    ),
    "kimi_k25_vision": only(
        pixel_values=lambda config: torch.randn(16 * BATCH, 3, config.patch_size, config.patch_size),
        grid_thw=lambda _: torch.tensor([[1, 4, 4]] * BATCH),
    ),
    "paddleocr_vl_vision": only(
        pixel_values=lambda config: torch.randn(1, 16 * BATCH, 3, config.patch_size, config.patch_size),
        grid_thw=lambda _: torch.tensor([[1, 4, 4]] * BATCH),
    ),
    **dict.fromkeys(
        ("pix2struct_vision_model", "kosmos_2_5_vision_model"),
        only(
            flattened_patches=lambda config: torch.cat(
                [
                    torch.cartesian_prod(torch.arange(1.0, 5), torch.arange(1.0, 5)).expand(BATCH, -1, -1),
                    torch.randn(BATCH, 16, config.patch_embed_hidden_size),
                ],
                dim=-1,
            )
        ),
    ),
    "pix2struct": generic_with(
        flattened_patches=lambda config: torch.cat(
            [
                torch.cartesian_prod(torch.arange(1.0, 5), torch.arange(1.0, 5)).expand(BATCH, -1, -1),
                torch.randn(BATCH, 16, config.vision_config.patch_embed_hidden_size),
            ],
            dim=-1,
        ),
        attention_mask=ones(BATCH, 16),
    ),
    **dict.fromkeys(("lightglue", "superglue"), only(pixel_values=lambda _: torch.rand(BATCH, 2, 3, 64, 64))),
    "seggpt": only(
        pixel_values=lambda config: torch.randn(BATCH, 3, config.image_size[0] // 2, config.image_size[1]),
        prompt_pixel_values=lambda config: torch.randn(BATCH, 3, config.image_size[0] // 2, config.image_size[1]),
        prompt_masks=lambda config: torch.randn(BATCH, 3, config.image_size[0] // 2, config.image_size[1]),
    ),
    "oneformer": generic_with(task_inputs=lambda config: torch.randint(0, 90, (BATCH, config.task_seq_len))),
    **dict.fromkeys(
        ("videomt", "videoprism_vision_model", "videoprism"),
        generic_with(TEXT_ONLY, pixel_values_videos=lambda config: images(config, of(config, "num_frames", 2))),
    ),
    "timesfm": lambda model: {
        "past_values": torch.randn(BATCH, model.config.context_length),
        "past_values_padding": torch.zeros(BATCH, model.config.context_length),
        "freq": torch.zeros(BATCH, 1, dtype=torch.long),
    },
    # audio
    **dict.fromkeys(
        ("audio-spectrogram-transformer",),
        only(input_values=lambda config: torch.randn(BATCH, config.max_length, config.num_mel_bins)),
    ),
    "audioflamingo3_encoder": generic_with(input_features_mask=ones(BATCH, 64)),
    **dict.fromkeys(
        ("fun_asr_nano_encoder",),
        only(input_features=randn(BATCH, 64, "input_size"), input_features_mask=ones(BATCH, 64)),
    ),
    "qwen3_asr_encoder": only(input_features=randn(BATCH, "num_mel_bins", 100), input_features_mask=ones(BATCH, 100)),
    "gemma3n_audio": only(
        audio_mel=lambda config: torch.randn(BATCH, 64, config.input_feat_size),
        audio_mel_mask=lambda _: torch.zeros(BATCH, 64, dtype=torch.bool),
    ),
    **dict.fromkeys(
        ("qwen2_5_omni_audio_encoder", "qwen3_omni_moe_audio_encoder"),
        only(
            input_features=lambda config: torch.randn(config.num_mel_bins, 64),
            feature_lens=lambda _: torch.tensor([40, 24]),
            aftercnn_lens=lambda _: torch.tensor([20, 12]),
        ),
    ),
    "phi4_multimodal_audio": only(
        hidden_states=lambda config: torch.randn(BATCH, 64, config.input_size),
        mask=lambda _: torch.ones(BATCH, 64, dtype=torch.bool),
    ),
    **dict.fromkeys(
        ("clap", "clap_audio_model"),
        generic_with(
            TEXT_ONLY,
            input_features=lambda config: torch.randn(BATCH, 1, 64, of(config, "num_mel_bins")),
            is_longer=lambda _: torch.zeros(BATCH, 1, dtype=torch.bool),
        ),
    ),
    "inkling_audio": only(
        audio_input_ids=lambda config: torch.randint(0, config.mel_vocab_size, (BATCH, 8, config.n_mel_bins))
    ),
    "speech-encoder-decoder": only(input_values=randn(BATCH, 3200), decoder_input_ids=lambda _: ids(SHORT)),
    "speecht5": only(input_values=randn(BATCH, TEXT, 64), decoder_input_values=randn(BATCH, SHORT, 64)),
    **dict.fromkeys(
        ("fastspeech2_conformer_hifigan", "speecht5_hifigan"), only(spectrogram=randn(BATCH, 16, "model_in_dim"))
    ),
    **dict.fromkeys(
        ("musicgen_decoder", "musicgen_melody_decoder"),
        lambda model: {
            "input_ids": torch.randint(5, 90, (BATCH * model.config.num_codebooks, TEXT)),
            "encoder_hidden_states": torch.randn(BATCH, SHORT, model.config.hidden_size),
        },
    ),
    "dia_decoder": lambda model: {
        "input_ids": torch.randint(5, 90, (BATCH, TEXT, model.config.num_channels)),
        "encoder_hidden_states": torch.randn(BATCH, SHORT, model.config.cross_hidden_size),
    },
    "dia": lambda model: {
        "input_ids": ids(),
        "decoder_input_ids": torch.randint(5, 90, (BATCH, SHORT, model.config.decoder_config.num_channels)),
    },
    # text and more
    "lxmert": generic_with(
        visual_feats=randn(BATCH, 5, "visual_feat_dim"), visual_pos=randn(BATCH, 5, "visual_pos_dim")
    ),
    "canine": only(input_ids=lambda _: torch.randint(5, 1000, (BATCH, 32)), attention_mask=ones(BATCH, 32)),
    "decision_transformer": only(
        states=randn(BATCH, 5, "state_dim"),
        actions=randn(BATCH, 5, "act_dim"),
        rewards=randn(BATCH, 5, 1),
        returns_to_go=randn(BATCH, 5, 1),
        timesteps=lambda _: torch.arange(5).expand(BATCH, 5).contiguous(),
        attention_mask=ones(BATCH, 5),
    ),
    "perceiver": only(inputs=randn(BATCH, TEXT, "d_model")),
    "kosmos-2": generic_with(
        image_embeds_position_mask=lambda config: torch.tensor(
            [[1] * config.latent_query_num + [0] * (TEXT - config.latent_query_num)] * BATCH
        )
    ),
    "rag": lambda model: {
        "input_ids": ids(),
        "attention_mask": torch.ones(BATCH, TEXT, dtype=torch.long),
        "context_input_ids": torch.randint(5, 90, (BATCH * model.config.n_docs, TEXT)),
        "context_attention_mask": torch.ones(BATCH * model.config.n_docs, TEXT, dtype=torch.long),
        "doc_scores": torch.randn(BATCH, model.config.n_docs),
        "decoder_input_ids": ids(SHORT),
    },
    "blip_2_qformer": only(
        query_embeds=randn(BATCH, 8, "hidden_size"), encoder_hidden_states=randn(BATCH, 9, "encoder_hidden_size")
    ),
    **dict.fromkeys(
        ("instructblip_qformer", "instructblipvideo_qformer"),
        only(
            input_ids=lambda _: ids(),
            query_embeds=randn(BATCH, 8, "hidden_size"),
            encoder_hidden_states=randn(BATCH, 9, "encoder_hidden_size"),
        ),
    ),
    **dict.fromkeys(
        ("sam3_detr_encoder", "sam3_lite_text_detr_encoder"),
        only(
            vision_features=lambda config: [torch.randn(BATCH, config.hidden_size, 4, 4)],
            text_features=randn(BATCH, SHORT, "hidden_size"),
            vision_pos_embeds=lambda config: [torch.randn(BATCH, config.hidden_size, 4, 4)],
        ),
    ),
    **dict.fromkeys(
        ("sam3_detr_decoder", "sam3_lite_text_detr_decoder"),
        only(
            vision_features=randn(BATCH, 16, "hidden_size"),
            text_features=randn(BATCH, SHORT, "hidden_size"),
            vision_pos_encoding=randn(BATCH, 16, "hidden_size"),
            spatial_shapes=lambda _: torch.tensor([[4, 4]]),
        ),
    ),
    **dict.fromkeys(
        ("sam3_mask_decoder", "sam3_lite_text_mask_decoder"),
        only(
            decoder_queries=randn(BATCH, 8, "hidden_size"),
            backbone_features=lambda config: [
                torch.randn(BATCH, config.hidden_size, size, size) for size in (16, 8, 4)
            ],
            encoder_hidden_states=randn(BATCH, 16, "hidden_size"),
            prompt_features=randn(BATCH, SHORT, "hidden_size"),
        ),
    ),
    "xmod": lambda model: (model.set_default_language("en_XX"), make_inputs(model, Style()))[1],
    "moshi_depth": lambda model: {
        "input_ids": torch.randint(5, 90, (BATCH, 6)),
        "last_hidden_state": torch.randn(BATCH, 1, model.config.input_size),
    },
    "qwen3_omni_moe_talker_code_predictor": only(inputs_embeds=randn(BATCH, TEXT, "hidden_size")),
    "muse_glimmer_assistant": only(
        noise_embeds=randn(BATCH, 4, "hidden_size"), context_hidden_states=randn(BATCH, TEXT, 320)
    ),
    "deepseek_ocr2_encoder": only(inputs_embeds=randn(BATCH, 16, "hidden_size"), num_patches=lambda _: 16),
    "molmo2_adapter": only(
        image_features=lambda config: torch.randn(BATCH, 16, config.hidden_size * len(config.vision_feature_layer)),
        pooled_patches_idx=lambda _: torch.arange(32).view(8, 4),
    ),
    "blip-2": generic_with(Style(counts={"image": 8})),
    "instructblip": generic_with(Style(counts={"image": 8}), qformer_input_ids=lambda _: ids()),
    "instructblipvideo": generic_with(
        Style(counts={"video": 32}), qformer_input_ids=lambda _: ids(), pixel_values=lambda config: images(config, 4)
    ),
    "florence_vision": only(hidden_states=images),
    "gemma4_audio": only(
        input_features=randn(BATCH, 64, 128), attention_mask=lambda _: torch.ones(BATCH, 64, dtype=torch.bool)
    ),
    **dict.fromkeys(("granite_speech5_ctc", "granite_speech5_encoder"), only(input_features=randn(BATCH, 24, 320))),
    **dict.fromkeys(
        ("granite_speech_encoder", "granite_speech_plus_encoder"), only(hidden_states=randn(BATCH, 24, "input_dim"))
    ),
    "jev": lambda model: {
        "input_ids": ids()[:1],
        "marks": torch.tensor([[4, 9]]),
        "num_options": torch.tensor([[2, 3]]),
        "question_type_ids": torch.tensor([[0, 1]]),
    },
    "molmo2_vision": lambda model: {
        "pixel_values": torch.randn(BATCH, len(model.positional_embedding), model.config.patch_size**2 * 3)
    },
    **dict.fromkeys(
        ("muse_glimmer_vision", "muse_spark_vision"),
        only(
            pixel_values=lambda config: torch.randn(16 * BATCH, 3 * config.patch_temporal * config.patch_size**2),
            grid_thw=lambda _: torch.tensor([[1, 4, 4]] * BATCH),
        ),
    ),
    "pi0": lambda model: {
        **make_inputs(model, Style(image="list", counts={"image": 4})),
        "action_embeds": torch.randn(BATCH, 5, 64),
    },
    "video_llama_3_vision": generic_with(Style(image="packed"), merge_sizes=lambda _: torch.tensor([2, 2])),
    "xclip_vision_model": only(pixel_values=lambda config: images(config).repeat(config.num_frames, 1, 1, 1)),
    "unlimited_ocr_vision_encoder": only(patch_embeds=randn(BATCH, "hidden_size", 4, 4)),
    "dots3_note_audio_encoder": generic_with(chunk_sample_lengths=lambda _: torch.tensor([64 * 160] * BATCH)),
    "muse_spark_audio": only(input_values=randn(BATCH, 3840)),
    "t5gemma2_decoder": generic_with(encoder_hidden_states=randn(BATCH, SHORT, "hidden_size")),
    "qwen3_omni_moe_talker_text": only(inputs_embeds=randn(BATCH, TEXT, "hidden_size")),
    "shieldgemma2": generic_with(Style(counts={"image": 4})),
    "musicgen": lambda model: {
        "input_ids": ids(),
        "attention_mask": text_mask(),
        "decoder_input_ids": torch.randint(5, 90, (BATCH * model.config.decoder.num_codebooks, SHORT)),
    },
    "tvp": generic_with(pixel_values=lambda config: torch.randn(BATCH, 4, 3, 64, 64)),
    "prophetnet": lambda model: {
        "input_ids": ids(),
        "decoder_input_ids": ids(SHORT),
        "use_cache": False,
        "attention_mask": text_mask(),
    },
    "voxtral_realtime": lambda model: {
        "input_ids": ids(8),
        "input_features": torch.randn(BATCH, 128, 64),
        "use_cache": False,
    },
}
