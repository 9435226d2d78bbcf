"""Attention written out by hand, whose weights and results a test changes as it likes."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import tiny
import torch
import transformers as tf
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


class Written:
    """A function for transformers' interface: repeat, score, bound, mask, softmax (with sinks), product.

    Attributes:
        causal: later keys are forbidden.
        cut: (layer, head, query, key) whose scores are -infinity.
        even: (layer, head) whose weights are even over what may be looked at.
    """

    def __init__(self, *, causal):
        self.causal, self.cut, self.even = causal, [], []
        self.layer = 0

    def __call__(self, module, query, key, value, attention_mask=None, scaling=None, softcap=None, s_aux=None, **_):
        group = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
        scores = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        if softcap:
            scores = torch.tanh(scores / softcap) * softcap
        forbidden = torch.zeros(scores.shape[1:], dtype=torch.bool)
        if self.causal:
            forbidden |= torch.ones(scores.shape[2:], dtype=torch.bool).triu(1)
        for layer, head, i, j in self.cut:
            if layer == self.layer:
                forbidden[head, i, j] = True
        for layer, head in self.even:
            if layer == self.layer:
                scores[:, head] = 0
        scores = scores.masked_fill(forbidden, -torch.inf)
        if s_aux is not None:
            sinks = s_aux.reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)
            weights = torch.cat([scores, sinks], -1).softmax(-1)[..., :-1]
        else:
            weights = scores.softmax(-1).nan_to_num(0)
        self.layer += 1
        return (weights @ value).transpose(1, 2).contiguous(), weights

    def run(self, model, ids):
        """Logits (T, V), or states, of one forward pass of a twin of the model that attends like this."""
        self.layer = 0
        ALL_ATTENTION_FUNCTIONS["written"] = self
        own = model.config._attn_implementation
        model.config._attn_implementation = "written"
        try:
            with torch.no_grad():
                return first(model(ids))
        finally:
            model.config._attn_implementation = own
            del ALL_ATTENTION_FUNCTIONS["written"]


def first(output):
    """Logits, or the last states, of the first example."""
    found = output.logits if hasattr(output, "logits") else output.last_hidden_state
    return found[0].detach()


@contextmanager
def results_changed(projection, change):
    """Have a function write to what goes into a projection, as (T, H * dv) of the first example."""

    def hook(_, args):
        changed = args[0].clone()
        change(changed[0])
        return (changed, *args[1:])

    handle = projection.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def bert(**options):
    """3 layers of 4 heads of size 8, with a head for masked tokens."""
    torch.manual_seed(0)
    config = tf.BertConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=32,
        vocab_size=50,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    return tf.BertForMaskedLM._from_config(config, **options).eval()


IDS = tiny.ids(1, 9)
HEADS = [(0, 0), (1, 3), (2, 1)]
"""Some of each of the models below, whose heads are all of size 8."""

_KINDS = {
    "gpt2": (tiny.gpt2, lambda model, layer: model.transformer.h[layer].attn.c_proj, True),
    "llama": (tiny.llama, lambda model, layer: model.model.layers[layer].self_attn.o_proj, True),
    "bert": (bert, lambda model, layer: model.bert.encoder.layer[layer].attention.output.dense, False),
}
EACH_KIND = pytest.mark.parametrize(
    "case", [(kind, path) for kind in _KINDS for path in ("sdpa", "eager")], ids="-".join
)


def made(case):
    """The model of a case; a function that gives the output projection of a layer of it; whether it is causal."""
    kind, path = case
    make, projection, causal = _KINDS[kind]
    return make(attn_implementation=path), projection, causal


def numbers(output):
    """A metric that looks at everything, in a way that no symmetry hides."""
    found = first(output).double()
    return (found * torch.arange(found.numel()).sin().reshape(found.shape)).sum()


def expect(found, expected):
    """Equal to what rounding of float32 leaves."""
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
