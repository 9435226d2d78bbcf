"""Tiny models of random weights, the same each time."""

from __future__ import annotations

from typing import Any

import torch
import transformers as tf


def llama(n_layers: int = 4, **options: Any) -> Any:
    """Grouped queries: 8 heads on 2 key heads of size 8."""
    torch.manual_seed(0)
    config = tf.LlamaConfig(
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=n_layers,
        vocab_size=50,
        num_attention_heads=8,
        num_key_value_heads=2,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    )
    return tf.LlamaForCausalLM._from_config(config, **options).eval()


def gpt2(n_layers: int = 3, **options: Any) -> Any:
    """4 heads of size 8, learned positions."""
    torch.manual_seed(0)
    config = tf.GPT2Config(
        n_embd=32,
        n_layer=n_layers,
        n_head=4,
        n_positions=4096,
        vocab_size=50,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
    )
    return tf.GPT2LMHeadModel._from_config(config, **options).eval()


def bart(encoder: int = 4, decoder: int = 2, **options: Any) -> Any:
    """Three stacks: 2 heads in the encoder, 4 in the decoder."""
    torch.manual_seed(0)
    config = tf.BartConfig(
        d_model=16,
        encoder_layers=encoder,
        decoder_layers=decoder,
        encoder_attention_heads=2,
        decoder_attention_heads=4,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        vocab_size=50,
        init_std=0.3,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
    )
    return tf.BartForConditionalGeneration._from_config(config, **options).eval()


def deberta() -> Any:
    """Its weights are not explained by queries and keys alone, and are kept themselves."""
    torch.manual_seed(0)
    config = tf.DebertaV2Config(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=32,
        vocab_size=50,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        initializer_range=0.2,
    )
    return tf.DebertaV2Model(config).eval()


def ids(batch: int = 2, length: int = 24, *, seed: int = 0) -> torch.Tensor:
    """Random, none of them a special one."""
    return torch.randint(3, 50, (batch, length), generator=torch.Generator().manual_seed(seed))
