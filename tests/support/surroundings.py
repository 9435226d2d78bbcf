"""All that a capture could leave changed in the process, to be compared before and after."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch._dynamo import eval_frame
from torch.overrides import _get_current_function_mode_stack
from transformers import GenerationMixin
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.gpt2 import modeling_gpt2
from transformers.models.llama import modeling_llama

from attnwidget.intercept import replaced
from attnwidget.intercept.byhand import trails
from attnwidget.intercept.recorder import ACTIVE

try:
    from torch.nn.attention import flex_attention
except ImportError:  # torch 2.4
    flex_attention = None

_IDENTICAL = {"get_interface", "getitem", "sdpa", "multihead", "eager", "eager of GPT-2", "flex", "stance"}


def surroundings() -> dict[str, Any]:
    """What there is now."""
    return {
        # What there is to wrap depends on the version of transformers.
        "get_interface": type(ALL_ATTENTION_FUNCTIONS).__dict__.get("get_interface"),
        "getitem": type(ALL_ATTENTION_FUNCTIONS).__dict__.get("__getitem__"),
        "eager": modeling_llama.eager_attention_forward,
        "eager of GPT-2": modeling_gpt2.eager_attention_forward,
        "generate": dict(GenerationMixin.__dict__),
        "functions": {name: ALL_ATTENTION_FUNCTIONS[name] for name in ALL_ATTENTION_FUNCTIONS},
        "sdpa": torch.nn.functional.scaled_dot_product_attention,
        "multihead": torch.nn.functional.multi_head_attention_forward,
        "flex": getattr(flex_attention, "setup_compilation_env", None),
        "stance": getattr(eval_frame, "_stance", None),
        "modes": _get_current_function_mode_stack(),
        "active": ACTIVE.get(),
        "watchers": (trails._local.watchers, replaced._watchers),
        "hooks": (dict(nn.modules.module._global_forward_hooks), dict(nn.modules.module._global_forward_pre_hooks)),
        "fastpath": torch.backends.mha.get_fastpath_enabled(),
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Compare, where it can be by identity."""
    for name, value in before.items():
        if name in _IDENTICAL:
            assert after[name] is value, name
        else:
            assert after[name] == value, name
