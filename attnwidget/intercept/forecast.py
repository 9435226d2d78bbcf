"""How much a capture will hold, told before it does: from a config, or from the first layer of each kind."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

from attnwidget.attention import CaptureError, FactoredAttention
from attnwidget.attention.layertable import starred
from attnwidget.intercept.budget import Budget, Load, is_spread, too_much
from attnwidget.intercept.configured import configured, differs
from attnwidget.intercept.narrowing import key_heads
from attnwidget.intercept.store import MEMORY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from attnwidget.attention import Attention
    from attnwidget.intercept.records import Record
    from attnwidget.intercept.terms import Terms

_ATTENTION = re.compile(r"attention|attn", re.IGNORECASE)
_KINDS = ("layer_types", "layers_block_type", "block_types")
_FLOAT32 = 4


class Forecast:
    """Grows with each kind of layer that is met: what its first takes, times how many there are of it.

    Args:
        root: the watched module.
        paths: of its modules, by `id`.
        terms: what of them is kept.
    """

    def __init__(self, root: nn.Module, paths: Mapping[int, str], terms: Terms) -> None:
        self._root, self._paths, self._terms = root, paths, terms
        self._kinds: dict[str, int] = {}  # what the first layer of each takes
        self._size = 0, 0  # tokens and heads of the first of all
        self._counts: dict[str, int] = {}

    def meets(self, record: Record, nbytes: int) -> bool:
        """Whether this layer is the first of its kind, and takes so many bytes; it counts for all of them.

        One of which nothing is kept stands for them only until another comes.
        """
        kind = starred(record.path)
        if kind in self._kinds and (self._kinds[kind] or not nbytes):
            return False
        if nbytes and not any(self._kinds.values()):
            self._size = record.attention.n_examples * record.attention.n_queries, record.attention.n_heads
        self._kinds[kind] = nbytes
        return True

    def knows(self, path: str) -> bool:
        """Whether layers of this kind were met, and count already."""
        return bool(self._kinds.get(starred(path)))

    def most(self) -> int:
        """What cannot be exceeded by the kinds that were met, if every module is a layer: quickly told."""
        return sum(self._kinds.values()) * len(self._paths)

    def load(self) -> Load:
        """What all layers of the kinds that were met will take."""
        kept = {kind: self._kept(self.n_layers(kind)) for kind in self._kinds}
        nbytes = sum(nbytes * kept[kind] for kind, nbytes in self._kinds.items())
        return Load(nbytes, self._size[0], sum(kept.values()), self._size[1])

    def n_all(self) -> int:
        """Layers of all kinds that were met."""
        return sum(map(self.n_layers, self._kinds))

    def n_layers(self, kind: str) -> int:
        """Layers of a kind: modules whose paths differ in the number alone, or calls of one that is shared."""
        if kind not in self._counts:
            count = sum(starred(path) == kind for path in self._paths.values())
            self._counts[kind] = self._shared(kind) if count == 1 else count
        return self._counts[kind]

    def _shared(self, kind: str) -> int:
        """Calls of the only attention that a model has: one for each layer that its config counts."""
        module = next((path for path, _ in self._root.named_modules() if starred(path) == kind), "")
        others = [
            path
            for path, part in self._root.named_modules()
            if _ATTENTION.search(type(part).__name__) and not _related(path, module)
        ]
        count = getattr(getattr(self._root, "config", None), "num_hidden_layers", None)
        return count if isinstance(count, int) and count > 0 and not others else 1

    def _kept(self, count: int) -> int:
        return count if self._terms.layers is None else len(self._terms.layers.among(count))


def size_of(attention: Attention, terms: Terms) -> int:
    """Bytes that an attention will take that is only lent as yet; masks, which layers share, left out."""
    attention = getattr(attention, "windows", attention)
    size = attention.n_examples * attention.n_heads * attention.n_queries  # rows
    heads = range(attention.n_heads) if terms.heads is None else terms.heads.among(attention.n_heads)
    share = len(heads) / max(1, attention.n_heads)
    if not isinstance(attention, FactoredAttention):
        itemsize = _FLOAT32 if terms.dtype is None else terms.dtype.itemsize
        return int(size * attention.n_keys * itemsize * share)
    dtype = attention.q.dtype if terms.dtype is None else terms.dtype
    n_keys = len(key_heads(heads, attention.n_heads, attention.n_key_heads)) if heads else 0
    keys = attention.k.shape[0] * n_keys * attention.n_keys
    numbers = int(attention.q.numel() * share) + keys * attention.head_size * (1 + terms.values)
    rounds = torch.finfo(dtype).eps > torch.finfo(attention.q.dtype).eps
    lse = 0 if attention.known_lse is None or rounds else int(size * share)
    return numbers * dtype.itemsize + _FLOAT32 * (lse + keys)


def _related(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.")


def estimate(model: nn.Module, inputs: Mapping[str, Any], terms: Terms, *, more: int = 0) -> Load | None:
    """What a capture of a language model will hold in memory, before it runs.

    Args:
        model: of transformers.
        inputs: what it will be called with.
        terms: what is kept.
        more: tokens that will be generated.

    Returns:
        None where config and inputs do not tell (no ids, two sides, unusual configs), or what is kept goes to files.
    """
    ids, config = inputs.get("input_ids"), getattr(model, "config", None)
    if config is None or not isinstance(ids, torch.Tensor) or terms.store not in ("device", "cpu"):
        return None
    if getattr(config, "is_encoder_decoder", False) or inputs.keys() & {"pixel_values", "input_features"}:
        return None
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    if differs(config, "num_attention_heads", "num_key_value_heads", "head_dim"):
        return None
    n_layers, n_heads, size = _layers(config), configured(config, "num_attention_heads"), _head_size(config)
    dtype = _type(model)
    if not (n_layers and n_heads and size) or dtype is None:
        return None
    n_key_heads = configured(config, "num_key_value_heads") or n_heads
    heads = range(n_heads) if terms.heads is None else terms.heads.among(n_heads)
    if n_heads % n_key_heads or not heads:
        return None
    n_keys = len(key_heads(heads, n_heads, n_key_heads)) if len(heads) < n_heads else n_key_heads
    kept = n_layers if terms.layers is None else len(terms.layers.among(n_layers))
    rounds = terms.dtype is not None and torch.finfo(terms.dtype).eps > torch.finfo(dtype).eps
    has_lse = getattr(config, "_attn_implementation", None) == "sdpa" and not rounds
    n_vectors = len(heads) * (1 + terms.gradients) + n_keys * (1 + terms.values)
    each = n_vectors * size * (terms.dtype or dtype).itemsize + _FLOAT32 * (len(heads) * has_lse + n_keys)
    n_tokens = ids.shape[0] * (ids.shape[-1] + more) if ids.ndim > 1 else ids.shape[0] + more
    return Load(each * n_tokens * kept, n_tokens, kept, len(heads))


def refuse_too_much(model: nn.Module, inputs: Mapping[str, Any], terms: Terms, *, more: int = 0) -> None:
    """Refuse a capture that is estimated to hold more than may be held.

    Raises:
        CaptureError: with the estimate, the limit and the ways out.
    """
    load = estimate(model, inputs, terms, more=more)
    if load is None:
        return
    budget = Budget(terms.limit, lambda _: 0)
    if budget.limit is None and is_spread(model, terms):
        return
    first = next((parameter.device for parameter in model.parameters() if not parameter.is_meta), None)
    device = MEMORY if first is None or terms.store != "device" else first
    allowed = budget.allowed(device)
    if load.nbytes > allowed:
        raise CaptureError(too_much(load, allowed, is_given=budget.limit is not None, before=True))


def _layers(config: Any) -> int | None:  # noqa: ANN401 - a transformers config
    """Layers with attention, where a config says which have it."""
    kinds = next((getattr(config, name) for name in _KINDS if isinstance(getattr(config, name, None), list)), None)
    if kinds is not None:
        return sum("attention" in str(kind) and "linear" not in str(kind) for kind in kinds)
    return configured(config, "num_hidden_layers")


def _head_size(config: Any) -> int | None:  # noqa: ANN401
    rope = configured(config, "qk_rope_head_dim")
    if rope:
        return rope + (configured(config, "qk_nope_head_dim") or 0)
    width, heads = configured(config, "hidden_size"), configured(config, "num_attention_heads")
    return configured(config, "head_dim") or (width // heads if width and heads else None)


def _type(model: nn.Module) -> torch.dtype | None:
    """What queries and keys are computed in."""
    first = next((part for part in model.parameters() if part.is_floating_point() and part.dtype.itemsize > 1), None)
    if first is None:
        return None
    device = first.device.type
    casts = device != "meta" and torch.is_autocast_enabled(device)  # what is offloaded says nothing of where it runs
    return torch.get_autocast_dtype(device) if casts else first.dtype
