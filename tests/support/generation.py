"""Small models that generate, and one eager forward pass over the final sequence to compare a capture with."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest
import torch
import transformers as tf

PLAIN = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 96,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {**PLAIN, "num_key_value_heads": 2}
SIDES = {"encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
EXPERTS = {"num_experts_per_tok": 1, "moe_intermediate_size": 32}
CONFIGS = {
    "gpt2": lambda: tf.GPT2Config(
        vocab_size=60, n_embd=32, n_layer=3, n_head=4, n_positions=96, pad_token_id=0, bos_token_id=1, eos_token_id=2
    ),
    "llama": lambda: tf.LlamaConfig(**GROUPED),
    "mistral": lambda: tf.MistralConfig(**GROUPED, sliding_window=4),
    "gemma2": lambda: tf.Gemma2Config(**GROUPED, head_dim=8, sliding_window=4, attn_logit_softcapping=5.0),
    "gpt_oss": lambda: tf.GptOssConfig(
        **GROUPED, head_dim=8, num_local_experts=2, num_experts_per_tok=1, sliding_window=4
    ),
    "deepseek_v3": lambda: tf.DeepseekV3Config(
        **{**PLAIN, "num_key_value_heads": 4},
        n_routed_experts=4,
        n_group=2,
        topk_group=1,
        first_k_dense_replace=1,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=12,
        n_shared_experts=1,
        **EXPERTS,
    ),
    "llama4": lambda: tf.Llama4TextConfig(
        **GROUPED,
        head_dim=8,
        num_local_experts=2,
        num_experts_per_tok=1,
        attention_chunk_size=4,
        intermediate_size_mlp=32,
        no_rope_layers=[1, 0, 1],
    ),
    "qwen3_next": lambda: tf.Qwen3NextConfig(
        **{**GROUPED, "num_hidden_layers": 4},
        head_dim=8,
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=2,
        shared_expert_intermediate_size=32,
        **EXPERTS,
        layer_types=["linear_attention", "full_attention", "linear_attention", "full_attention"],
    ),
    "jamba": lambda: tf.JambaConfig(
        **{**GROUPED, "num_hidden_layers": 4},
        num_experts=2,
        num_experts_per_tok=1,
        attn_layer_period=2,
        attn_layer_offset=1,
        use_mamba_kernels=False,
        mamba_d_state=4,
        mamba_dt_rank=4,
    ),
    "bart": lambda: tf.BartConfig(
        vocab_size=60,
        d_model=32,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=96,
        **SIDES,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
    ),
    "t5": lambda: tf.T5Config(
        vocab_size=60,
        d_model=32,
        d_kv=8,
        d_ff=32,
        num_layers=3,
        num_decoder_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    ),
}
ONLY_EAGER = {"gemma2", "gpt_oss"}
TWO_SIDED = {"bart", "t5"}


def build(name, implementation=None, seed=0, **changes):
    """A model with random weights large enough that its heads look at some tokens more than at others."""
    torch.manual_seed(seed)
    try:
        config = CONFIGS[name]()
    except AttributeError:
        pytest.skip(f"transformers {tf.__version__} has no {name}")
    for key, value in changes.items():
        setattr(config, key, value)
    kind = tf.AutoModelForSeq2SeqLM if name in TWO_SIDED else tf.AutoModelForCausalLM
    # Older versions of transformers have no sdpa for some.
    has_sdpa = getattr(kind._model_mapping[type(config)], "_supports_sdpa", False)
    implementation = implementation or ("sdpa" if has_sdpa and name not in ONLY_EAGER else "eager")
    model = kind.from_config(config, attn_implementation=implementation).eval()
    for path, parameter in model.named_parameters():
        if "mamba" in path or "linear_attn" in path:
            continue
        parameter.data.mul_(2) if parameter.ndim > 1 else parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model


def whisper():
    """A Whisper of 20 positions for its sound."""
    config = tf.WhisperConfig(
        vocab_size=60,
        d_model=32,
        **SIDES | {"decoder_layers": 2},
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_mel_bins=8,
        max_source_positions=20,
        max_target_positions=40,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
    )
    model = tf.WhisperForConditionalGeneration(config).eval()
    for name in ("suppress_tokens", "begin_suppress_tokens", "forced_decoder_ids"):
        setattr(model.generation_config, name, None)
    return model


def prompts(lengths=(7,), seed=1, *, right=False):
    """(B, T) ids, padded on the left unless said otherwise, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    for row, length in zip(ids, lengths, strict=True):
        row[slice(0, length) if right else slice(width - length, width)] = torch.randint(
            5, 60, (length,), generator=generator
        )
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def generated(model, inputs, options):
    """What generate() returns, called twice, as a cache may be used again. Skips what an old version cannot do."""
    found = []
    for _ in range(2):
        torch.manual_seed(7)
        try:
            found.append(model.generate(**inputs, **options))
        except (AttributeError, RuntimeError, TypeError, ValueError, UserWarning) as error:
            if tf.__version__ >= "5":
                raise
            pytest.skip(f"transformers {tf.__version__} does not get there itself: {error}")
    assert torch.equal(*found)
    return found[0]


def dynamic_cache(model):
    """An empty cache; older versions of transformers take no config."""
    takes_config = "config" in inspect.signature(tf.DynamicCache.__init__).parameters
    return tf.DynamicCache(config=model.config) if takes_config else tf.DynamicCache()


def eager_weights(model, sequence, encoder=None):
    """Weights of one eager forward pass over one sequence of ids: by stack, (L, H, Tq, Tk)."""
    twin = type(model)._from_config(copy.deepcopy(model.config), attn_implementation="eager")
    own = twin.state_dict().keys()  # static caches of older versions of transformers are found among the weights
    twin.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if name in own})
    twin = twin.to(model.dtype).eval()
    ids = torch.as_tensor(sequence)[None]
    with torch.no_grad():
        if encoder is None:
            output = twin(ids, output_attentions=True, use_cache=False)
            found = {"self": output.attentions}
        else:
            output = twin(
                torch.as_tensor(encoder)[None], decoder_input_ids=ids, output_attentions=True, use_cache=False
            )
            found = {
                "encoder": output.encoder_attentions,
                "decoder": output.decoder_attentions,
                "cross": output.cross_attentions,
            }
    return {
        name: torch.cat([one for one in layers if one is not None]).float().numpy() for name, layers in found.items()
    }


def assert_equal_to_one_pass(cap, model, encoders=None, atol=1e-5):
    """Every example of a capture against one pass over that example's tokens alone, without any padding."""
    for example, ids in enumerate(cap.generation.ids):
        stack = "self" if encoders is None else "decoder"
        length = len(cap.stacks[stack].query_tokens[example])
        assert len(ids) - 1 <= length <= len(ids)
        wanted = eager_weights(model, ids[:length], None if encoders is None else encoders[example])
        assert set(cap.stacks) == set(wanted)
        for name, weights in wanted.items():
            place = min(example, cap.stacks[name].n_examples - 1) if name == "encoder" else example
            np.testing.assert_allclose(cap.weights(batch=place, stack=name), weights, atol=atol)
