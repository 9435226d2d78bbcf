"""Models of transformers with attn_implementation="flex_attention", against their eager weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import transformers as tf

import attnwidget as aw

pytest.importorskip("torch.nn.attention.flex_attention", reason="torch 2.4 has no flex attention")
pytest.importorskip("transformers.masking_utils", reason="this transformers makes flex masks otherwise")
if not hasattr(torch.compiler, "set_stance") or torch.__version__ < "2.9":
    pytest.skip("older torch cannot be told to compile flex attention without a C++ compiler", allow_module_level=True)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*flex_attention.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*_compile.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*was called on a non-relational expression:UserWarning"),
]
PLAIN = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
GROUPED = {**PLAIN, "num_key_value_heads": 2}
SIDES = {"encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
CONFIGS = {
    "llama": (lambda: tf.LlamaConfig(**GROUPED), "causal, padding"),
    "six heads": (
        lambda: tf.LlamaConfig(**{**GROUPED, "hidden_size": 48, "num_attention_heads": 6}),
        "causal, padding",  # transformers repeats the keys where heads are no power of 2
    ),
    "mistral": (lambda: tf.MistralConfig(**GROUPED, sliding_window=4), "causal, window 4, padding"),
    "gemma2": (
        lambda: tf.Gemma2Config(**GROUPED, head_dim=8, sliding_window=4, attn_logit_softcapping=5.0),
        "causal, window 4, padding, soft cap 5",
    ),
    "llama4": (
        lambda: tf.Llama4TextConfig(
            **GROUPED,
            head_dim=8,
            attention_chunk_size=6,
            no_rope_layer_interval=3,
            num_local_experts=2,
            intermediate_size_mlp=32,
            pad_token_id=0,
        ),
        "causal in segments of 6, padding",
    ),
    "bert": (lambda: tf.BertConfig(**PLAIN), "q k float32, padding"),
    "bart": (
        lambda: tf.BartConfig(
            vocab_size=60, d_model=32, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64, **SIDES
        ),
        "q k float32, causal",
    ),
    "t5": (
        lambda: tf.T5Config(
            vocab_size=60, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_decoder_layers=3, num_heads=4
        ),
        "causal, relative bias",
    ),
}
STACKS = {"self": "attentions"}
TWO_SIDED = {"encoder": "encoder_attentions", "decoder": "decoder_attentions", "cross": "cross_attentions"}


@pytest.fixture(autouse=True)
def forget_what_was_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def tensors(output):
    return [value for value in output.values() if isinstance(value, torch.Tensor)]


@pytest.mark.parametrize(
    ("name", "compiled"), [(name, False) for name in CONFIGS] + [("llama", True), ("gemma2", True)]
)
def test_weights_equal_eager_and_outputs_are_the_same_to_the_bit(name, compiled):
    make, words = CONFIGS[name]
    torch.manual_seed(0)
    model = tf.AutoModel.from_config(make(), attn_implementation="flex_attention").eval()
    eager = tf.AutoModel.from_config(copy.deepcopy(model.config), attn_implementation="eager").eval()
    eager.load_state_dict(model.state_dict())
    # The position bias of T5 has one example, and flex attention of this transformers reads as many as there are.
    batch = 1 if name == "t5" else 2
    inputs = {"input_ids": torch.randint(5, 60, (batch, 12)), "attention_mask": torch.ones(batch, 12, dtype=torch.long)}
    inputs["attention_mask"][-1, 8:] = 0
    if name in {"bart", "t5"}:
        inputs["decoder_input_ids"] = torch.randint(5, 60, (batch, 7))
    stance = {"stance": "default", "force_backend": "eager"} if compiled else {"stance": "force_eager"}
    with torch.no_grad(), torch.compiler.set_stance(**stance):
        plain = model(**inputs)
        with aw.capture(model) as cap:
            seen = model(**inputs)
        wanted = eager(**inputs, output_attentions=True)
    assert all(torch.equal(one, other) for one, other in zip(tensors(plain), tensors(seen), strict=True))
    assert words in repr(cap)
    stacks = TWO_SIDED if name in {"bart", "t5"} else STACKS
    assert list(cap.stacks) == list(stacks)
    for stack, attribute in stacks.items():
        for number, weights in enumerate(wanted[attribute]):
            layer = cap.stacks[stack].layers[number]
            assert layer.modifier is None
            assert layer.mask is None or layer.mask.bits is None
            assert layer.probe.errors(layer).max() < 1e-5
            for example in range(batch):
                found = cap.weights(number, batch=example, stack=stack)
                rows = slice(0, 8 if example == batch - 1 and stack != "cross" else None)
                np.testing.assert_allclose(found[:, rows], weights[example].numpy()[:, rows], atol=1e-5)
    assert {info.implementation for info in cap.stacks[stack].infos} == {"flex"}
