"""What each key adds to what each query gets, written down from a model's own parameters, in double precision."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import transformers as tf


class Layer(NamedTuple):
    """Of one layer: weights (B, H, Tq, Tk) by eager attention, and f_h(x_j) = (x W_V + b_V) W_O[h], (B, H, Tk, D)."""

    weights: torch.Tensor
    vectors: torch.Tensor

    def per_head(self) -> torch.Tensor:
        """(B, H, Tq, Tk), the length of each weighted vector."""
        return (self.weights[..., None] * self.vectors[:, :, None]).norm(dim=-1)

    def together(self) -> torch.Tensor:
        """(B, Tq, Tk), the length of their sum over heads."""
        return (self.weights[..., None] * self.vectors[:, :, None]).sum(1).norm(dim=-1)


def bert(n_layers: int = 3, **options: Any) -> Any:
    """4 heads of size 8, biases everywhere, dropout that eval mode leaves out."""
    torch.manual_seed(0)
    config = tf.BertConfig(
        hidden_size=32,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        intermediate_size=32,
        vocab_size=50,
        initializer_range=0.3,
        attention_probs_dropout_prob=0.5,
    )
    model = tf.BertForMaskedLM._from_config(config, **options).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def t5(**options: Any) -> Any:
    """Two layers on each side, 4 heads of size 8 beside states of size 24."""
    torch.manual_seed(0)
    config = tf.T5Config(
        d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=4, vocab_size=50, decoder_start_token_id=0
    )
    return tf.T5ForConditionalGeneration._from_config(config, **options).eval()


def of_gpt2(model: Any, ids: torch.Tensor) -> list[Layer]:
    output = model.double()(ids, output_attentions=True, output_hidden_states=True)
    size = model.config.n_embd
    return [
        _layer(
            weights,
            block.ln_1(x),
            block.attn.c_attn.weight[:, 2 * size :],
            block.attn.c_attn.bias[2 * size :],
            block.attn.c_proj.weight,
        )
        for block, weights, x in zip(model.transformer.h, output.attentions, output.hidden_states, strict=False)
    ]


def of_llama(model: Any, ids: torch.Tensor) -> list[Layer]:
    output = model.double()(ids, output_attentions=True, output_hidden_states=True)
    return [
        _layer(
            weights,
            block.input_layernorm(x),
            block.self_attn.v_proj.weight.T,
            None,
            block.self_attn.o_proj.weight.T,
        )
        for block, weights, x in zip(model.model.layers, output.attentions, output.hidden_states, strict=False)
    ]


def of_bert(model: Any, ids: torch.Tensor) -> list[Layer]:
    output = model.double()(ids, output_attentions=True, output_hidden_states=True)
    return [
        _layer(
            weights,
            x,
            block.attention.self.value.weight.T,
            block.attention.self.value.bias,
            block.attention.output.dense.weight.T,
        )
        for block, weights, x in zip(model.bert.encoder.layer, output.attentions, output.hidden_states, strict=False)
    ]


def of_t5_cross(model: Any, ids: torch.Tensor) -> list[Layer]:
    output = model.double()(ids, decoder_input_ids=ids[:, :7], output_attentions=True)
    x = output.encoder_last_hidden_state
    parts = [block.layer[1].EncDecAttention for block in model.decoder.block]
    return [
        _layer(weights, x, part.v.weight.T, None, part.o.weight.T)
        for part, weights in zip(parts, output.cross_attentions, strict=True)
    ]


def of_multihead(module: torch.nn.MultiheadAttention, x: torch.Tensor) -> Layer:
    module, x = module.double(), x.double()
    _, weights = module(x, x, x, average_attn_weights=False)
    size = module.embed_dim
    value = module.in_proj_weight[2 * size :].T, module.in_proj_bias[2 * size :]
    return _layer(weights, x, *value, module.out_proj.weight.T)


def _layer(
    weights: torch.Tensor, x: torch.Tensor, w_v: torch.Tensor, b_v: torch.Tensor | None, w_o: torch.Tensor
) -> Layer:
    values = x @ w_v if b_v is None else x @ w_v + b_v  # (B, T, Hkv * dv)
    n_heads, (batch, n_keys) = weights.shape[1], values.shape[:2]
    size = w_o.shape[0] // n_heads
    by_head = values.view(batch, n_keys, -1, size).transpose(1, 2)
    by_head = by_head.repeat_interleave(n_heads // by_head.shape[1], dim=1)
    return Layer(weights.detach(), torch.einsum("bhkd,hde->bhke", by_head, w_o.view(n_heads, size, -1)).detach())
