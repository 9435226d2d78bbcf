"""Inputs for models that nothing generic fits, by model type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from sweep.inputs import BATCH, SHORT, TEXT, Style, make_inputs, of

if TYPE_CHECKING:
    from collections.abc import Callable

Inputs = dict[str, Any]


def _ids(length: int = TEXT, high: int = 90) -> torch.Tensor:
    return torch.randint(5, high, (BATCH, length))


def _with(style: Style | None = None, drop: tuple[str, ...] = (), **more: Callable[[Any], Any]) -> Callable[[Any], Inputs]:
    """Generic inputs in one style, less some, plus some made from the config."""

    def make(model: Any) -> Inputs:  # noqa: ANN401
        made = make_inputs(model, style or Style())
        made = {name: value for name, value in made.items() if name not in drop}
        return {**made, **{name: create(model.config) for name, create in more.items()}}

    return make


def _mask() -> torch.Tensor:
    mask = torch.ones(BATCH, TEXT, dtype=torch.long)
    mask[-1, -3:] = 0
    return mask


def _only(**more: Callable[[Any], Any]) -> Callable[[Any], Inputs]:
    """Exactly these, made from the config."""

    def make(model: Any) -> Inputs:  # noqa: ANN401
        torch.manual_seed(1)
        return {name: create(model.config) for name, create in more.items()}

    return make


def _images(config: Any, *before: int) -> torch.Tensor:  # noqa: ANN401
    size = of(config, "image_size", 64, tower="image")
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    return torch.randn(BATCH, *before, of(config, "num_channels", 3), height, width)


def _ones(*shape: int, dtype: torch.dtype = torch.long) -> Callable[[Any], torch.Tensor]:
    return lambda _: torch.ones(*shape, dtype=dtype)


def _randn(*shape: int | str) -> Callable[[Any], torch.Tensor]:
    """A tensor whose sizes are numbers or fields of the config."""
    return lambda config: torch.randn(*(size if isinstance(size, int) else of(config, size) for size in shape))


def _mel(frames: int = 64) -> Callable[[Any], torch.Tensor]:
    return lambda config: torch.randn(BATCH, frames, of(config, "num_mel_bins", 80))


_GRID = torch.tensor([[4, 4]] * BATCH)
_TEXT_ONLY = Style(modalities=("text",))
_FRAMES_FIRST = Style(audio="frames first")

INPUTS: dict[str, Callable[[Any], Inputs]] = {
    # vision towers with inputs of their own
    "mllama_vision_model": _only(
        pixel_values=lambda config: _images(config, 1, 4),
        aspect_ratio_ids=_ones(BATCH, 1),
        aspect_ratio_mask=_ones(BATCH, 1, 4),
    ),
    "mllama": _with(
        _TEXT_ONLY,
        pixel_values=lambda config: _images(config, 1, 4),
        aspect_ratio_ids=_ones(BATCH, 1),
        aspect_ratio_mask=_ones(BATCH, 1, 4),
        cross_attention_mask=_ones(BATCH, TEXT, 1, 4),
    ),
    **dict.fromkeys(
        ("siglip2", "siglip2_vision_model"),
        _with(
            Style(modalities=("text",)),
            pixel_values=lambda config: torch.randn(BATCH, 16, 3 * of(config, "patch_size", tower="image") ** 2),
            pixel_attention_mask=_ones(BATCH, 16),
            spatial_shapes=lambda _: _GRID,
        ),
    ),
    "gemma4_vision": _only(
        pixel_values=lambda config: torch.rand(BATCH, 36, 3 * config.patch_size**2),
        pixel_position_ids=lambda _: torch.cartesian_prod(torch.arange(6), torch.arange(6)).expand(BATCH, -1, -1),
    ),
    "idefics2_perceiver": _only(context=_randn(BATCH, 16, "hidden_size"), attention_mask=_ones(BATCH, 16)),
    "idefics": _with(
        _TEXT_ONLY,
        pixel_values=lambda config: _images(config, 1),
        image_attention_mask=_ones(BATCH, TEXT, 1),
    ),
    **dict.fromkeys(
        ("minicpm_ocr_vision", "minicpmv4_6_vision", "minicpmv4_7_vision"),
        _only(
            pixel_values=lambda config: torch.randn(1, 3, config.patch_size, config.patch_size * 16 * BATCH),
            target_sizes=lambda _: _GRID.int(),
        ),
    ),
    "kimi_k25_vision": _only(
        pixel_values=lambda config: torch.randn(16 * BATCH, 3, config.patch_size, config.patch_size),
        grid_thw=lambda _: torch.tensor([[1, 4, 4]] * BATCH),
    ),
    "paddleocr_vl_vision": _only(
        pixel_values=lambda config: torch.randn(1, 16 * BATCH, 3, config.patch_size, config.patch_size),
        grid_thw=lambda _: torch.tensor([[1, 4, 4]] * BATCH),
    ),
    **dict.fromkeys(
        ("pix2struct_vision_model", "kosmos_2_5_vision_model"),
        _only(
            flattened_patches=lambda config: torch.cat(
                [
                    torch.cartesian_prod(torch.arange(1.0, 5), torch.arange(1.0, 5)).expand(BATCH, -1, -1),
                    torch.randn(BATCH, 16, config.patch_embed_hidden_size),
                ],
                dim=-1,
            )
        ),
    ),
    "pix2struct": _with(
        flattened_patches=lambda config: torch.cat(
            [
                torch.cartesian_prod(torch.arange(1.0, 5), torch.arange(1.0, 5)).expand(BATCH, -1, -1),
                torch.randn(BATCH, 16, config.vision_config.patch_embed_hidden_size),
            ],
            dim=-1,
        ),
        attention_mask=_ones(BATCH, 16),
    ),
    **dict.fromkeys(("lightglue", "superglue"), _only(pixel_values=lambda _: torch.rand(BATCH, 2, 3, 64, 64))),
    "seggpt": _only(
        pixel_values=lambda config: torch.randn(BATCH, 3, config.image_size[0] // 2, config.image_size[1]),
        prompt_pixel_values=lambda config: torch.randn(BATCH, 3, config.image_size[0] // 2, config.image_size[1]),
        prompt_masks=lambda config: torch.randn(BATCH, 3, config.image_size[0] // 2, config.image_size[1]),
    ),
    "oneformer": _with(task_inputs=lambda config: torch.randint(0, 90, (BATCH, config.task_seq_len))),
    **dict.fromkeys(
        ("videomt", "videoprism_vision_model", "videoprism"),
        _with(_TEXT_ONLY, pixel_values_videos=lambda config: _images(config, of(config, "num_frames", 2))),
    ),
    "timesfm": lambda model: {
        "past_values": torch.randn(BATCH, model.config.context_length),
        "past_values_padding": torch.zeros(BATCH, model.config.context_length),
        "freq": torch.zeros(BATCH, 1, dtype=torch.long),
    },
    # audio
    **dict.fromkeys(
        ("audio-spectrogram-transformer",),
        _only(input_values=lambda config: torch.randn(BATCH, config.max_length, config.num_mel_bins)),
    ),
    "audioflamingo3_encoder": _with(input_features_mask=_ones(BATCH, 64)),
    **dict.fromkeys(
        ("fun_asr_nano_encoder",),
        _only(input_features=_randn(BATCH, 64, "input_size"), input_features_mask=_ones(BATCH, 64)),
    ),
    "qwen3_asr_encoder": _only(input_features=_randn(BATCH, "num_mel_bins", 100), input_features_mask=_ones(BATCH, 100)),
    "gemma3n_audio": _only(
        audio_mel=lambda config: torch.randn(BATCH, 64, config.input_feat_size),
        audio_mel_mask=lambda _: torch.zeros(BATCH, 64, dtype=torch.bool),
    ),
    **dict.fromkeys(
        ("qwen2_5_omni_audio_encoder", "qwen3_omni_moe_audio_encoder"),
        _only(
            input_features=lambda config: torch.randn(config.num_mel_bins, 64),
            feature_lens=lambda _: torch.tensor([40, 24]),
            aftercnn_lens=lambda _: torch.tensor([20, 12]),
        ),
    ),
    "phi4_multimodal_audio": _only(
        hidden_states=lambda config: torch.randn(BATCH, 64, config.input_size),
        mask=lambda _: torch.ones(BATCH, 64, dtype=torch.bool),
    ),
    **dict.fromkeys(
        ("clap", "clap_audio_model"),
        _with(
            _TEXT_ONLY,
            input_features=lambda config: torch.randn(BATCH, 1, 64, of(config, "num_mel_bins")),
            is_longer=lambda _: torch.zeros(BATCH, 1, dtype=torch.bool),
        ),
    ),
    "inkling_audio": _only(
        audio_input_ids=lambda config: torch.randint(0, config.mel_vocab_size, (BATCH, 8, config.n_mel_bins))
    ),
    "speech-encoder-decoder": _only(input_values=_randn(BATCH, 3200), decoder_input_ids=lambda _: _ids(SHORT)),
    "speecht5": _only(input_values=_randn(BATCH, TEXT, 64), decoder_input_values=_randn(BATCH, SHORT, 64)),
    **dict.fromkeys(("fastspeech2_conformer_hifigan", "speecht5_hifigan"), _only(spectrogram=_randn(BATCH, 16, "model_in_dim"))),
    **dict.fromkeys(("musicgen_decoder", "musicgen_melody_decoder"), lambda model: {
        "input_ids": torch.randint(5, 90, (BATCH * model.config.num_codebooks, TEXT)),
        "encoder_hidden_states": torch.randn(BATCH, SHORT, model.config.hidden_size),
    }),
    "dia_decoder": lambda model: {
        "input_ids": torch.randint(5, 90, (BATCH, TEXT, model.config.num_channels)),
        "encoder_hidden_states": torch.randn(BATCH, SHORT, model.config.cross_hidden_size),
    },
    "dia": lambda model: {
        "input_ids": _ids(),
        "decoder_input_ids": torch.randint(5, 90, (BATCH, SHORT, model.config.decoder_config.num_channels)),
    },
    # text and more
    "lxmert": _with(visual_feats=_randn(BATCH, 5, "visual_feat_dim"), visual_pos=_randn(BATCH, 5, "visual_pos_dim")),
    "canine": _only(input_ids=lambda _: torch.randint(5, 1000, (BATCH, 32)), attention_mask=_ones(BATCH, 32)),
    "decision_transformer": _only(
        states=_randn(BATCH, 5, "state_dim"),
        actions=_randn(BATCH, 5, "act_dim"),
        rewards=_randn(BATCH, 5, 1),
        returns_to_go=_randn(BATCH, 5, 1),
        timesteps=lambda _: torch.arange(5).expand(BATCH, 5).contiguous(),
        attention_mask=_ones(BATCH, 5),
    ),
    "perceiver": _only(inputs=_randn(BATCH, TEXT, "d_model")),
    "kosmos-2": _with(image_embeds_position_mask=lambda config: torch.tensor([[1] * config.latent_query_num + [0] * (TEXT - config.latent_query_num)] * BATCH)),
    "rag": lambda model: {
        "input_ids": _ids(),
        "attention_mask": torch.ones(BATCH, TEXT, dtype=torch.long),
        "context_input_ids": torch.randint(5, 90, (BATCH * model.config.n_docs, TEXT)),
        "context_attention_mask": torch.ones(BATCH * model.config.n_docs, TEXT, dtype=torch.long),
        "doc_scores": torch.randn(BATCH, model.config.n_docs),
        "decoder_input_ids": _ids(SHORT),
    },
    "blip_2_qformer": _only(query_embeds=_randn(BATCH, 8, "hidden_size"), encoder_hidden_states=_randn(BATCH, 9, "encoder_hidden_size")),
    **dict.fromkeys(("instructblip_qformer", "instructblipvideo_qformer"), _only(
        input_ids=lambda _: _ids(), query_embeds=_randn(BATCH, 8, "hidden_size"), encoder_hidden_states=_randn(BATCH, 9, "encoder_hidden_size"))),
    **dict.fromkeys(("sam3_detr_encoder", "sam3_lite_text_detr_encoder"), _only(
        vision_features=lambda config: [torch.randn(BATCH, config.hidden_size, 4, 4)],
        text_features=_randn(BATCH, SHORT, "hidden_size"),
        vision_pos_embeds=lambda config: [torch.randn(BATCH, config.hidden_size, 4, 4)],
    )),
    **dict.fromkeys(("sam3_detr_decoder", "sam3_lite_text_detr_decoder"), _only(
        vision_features=_randn(BATCH, 16, "hidden_size"),
        text_features=_randn(BATCH, SHORT, "hidden_size"),
        vision_pos_encoding=_randn(BATCH, 16, "hidden_size"),
        spatial_shapes=lambda _: torch.tensor([[4, 4]]),
    )),
    **dict.fromkeys(("sam3_mask_decoder", "sam3_lite_text_mask_decoder"), _only(
        decoder_queries=_randn(BATCH, 8, "hidden_size"),
        backbone_features=lambda config: [torch.randn(BATCH, config.hidden_size, size, size) for size in (16, 8, 4)],
        encoder_hidden_states=_randn(BATCH, 16, "hidden_size"),
        prompt_features=_randn(BATCH, SHORT, "hidden_size"),
    )),
    "xmod": lambda model: (model.set_default_language("en_XX"), make_inputs(model, Style()))[1],
    "moshi_depth": lambda model: {
        "input_ids": torch.randint(5, 90, (BATCH, 6)),
        "last_hidden_state": torch.randn(BATCH, 1, model.config.input_size),
    },
    "qwen3_omni_moe_talker_code_predictor": _only(inputs_embeds=_randn(BATCH, TEXT, "hidden_size")),
    "muse_glimmer_assistant": _only(noise_embeds=_randn(BATCH, 4, "hidden_size"), context_hidden_states=_randn(BATCH, TEXT, 320)),
    "deepseek_ocr2_encoder": _only(inputs_embeds=_randn(BATCH, 16, "hidden_size"), num_patches=lambda _: 16),
    "molmo2_adapter": _only(
        image_features=lambda config: torch.randn(BATCH, 16, config.hidden_size * len(config.vision_feature_layer)),
        pooled_patches_idx=lambda _: torch.arange(32).view(8, 4)),
    "blip-2": _with(Style(counts={"image": 8})),
    "instructblip": _with(Style(counts={"image": 8}), qformer_input_ids=lambda _: _ids()),
    "instructblipvideo": _with(
        Style(counts={"video": 32}), qformer_input_ids=lambda _: _ids(), pixel_values=lambda config: _images(config, 4)
    ),
    "florence_vision": _only(hidden_states=lambda config: _images(config)),
    "gemma4_audio": _only(
        input_features=_randn(BATCH, 64, 128), attention_mask=lambda _: torch.ones(BATCH, 64, dtype=torch.bool)
    ),
    **dict.fromkeys(
        ("granite_speech5_ctc", "granite_speech5_encoder"), _only(input_features=_randn(BATCH, 24, 320))
    ),
    **dict.fromkeys(
        ("granite_speech_encoder", "granite_speech_plus_encoder"), _only(hidden_states=_randn(BATCH, 24, "input_dim"))
    ),
    "jev": lambda model: {
        "input_ids": _ids()[:1],
        "marks": torch.tensor([[4, 9]]),
        "num_options": torch.tensor([[2, 3]]),
        "question_type_ids": torch.tensor([[0, 1]]),
    },
    "molmo2_vision": lambda model: {
        "pixel_values": torch.randn(BATCH, len(model.positional_embedding), model.config.patch_size**2 * 3)
    },
    **dict.fromkeys(
        ("muse_glimmer_vision", "muse_spark_vision"),
        _only(
            pixel_values=lambda config: torch.randn(16 * BATCH, 3 * config.patch_temporal * config.patch_size**2),
            grid_thw=lambda _: torch.tensor([[1, 4, 4]] * BATCH),
        ),
    ),
    "pi0": lambda model: {
        **make_inputs(model, Style(image="list", counts={"image": 4})),
        "action_embeds": torch.randn(BATCH, 5, 64),
    },
    "video_llama_3_vision": _with(Style(image="packed"), merge_sizes=lambda _: torch.tensor([2, 2])),
    "xclip_vision_model": _only(pixel_values=lambda config: _images(config).repeat(config.num_frames, 1, 1, 1)),
    "unlimited_ocr_vision_encoder": _only(patch_embeds=_randn(BATCH, "hidden_size", 4, 4)),
    "dots3_note_audio_encoder": _with(chunk_sample_lengths=lambda _: torch.tensor([64 * 160] * BATCH)),
    "muse_spark_audio": _only(input_values=_randn(BATCH, 3840)),
    "t5gemma2_decoder": _with(encoder_hidden_states=_randn(BATCH, SHORT, "hidden_size")),
    "qwen3_omni_moe_talker_text": _only(inputs_embeds=_randn(BATCH, TEXT, "hidden_size")),
    "shieldgemma2": _with(Style(counts={"image": 4})),
    "musicgen": lambda model: {
        "input_ids": _ids(),
        "attention_mask": _mask(),
        "decoder_input_ids": torch.randint(5, 90, (BATCH * model.config.decoder.num_codebooks, SHORT)),
    },
    "tvp": _with(pixel_values=lambda config: torch.randn(BATCH, 4, 3, 64, 64)),
    "prophetnet": lambda model: {
        "input_ids": _ids(), "decoder_input_ids": _ids(SHORT), "use_cache": False, "attention_mask": _mask()
    },
    "voxtral_realtime": lambda model: {
        "input_ids": _ids(8), "input_features": torch.randn(BATCH, 128, 64), "use_cache": False
    },
}
