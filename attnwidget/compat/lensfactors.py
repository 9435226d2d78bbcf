"""One layer of a TransformerLens cache: its weights, and the queries and keys that explain them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attnwidget.attention import DenseAttention, FactoredAttention
from attnwidget.attention.masks import Mask
from attnwidget.attention.protocol import shape_text
from attnwidget.attention.recognise import recognise_mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from attnwidget.attention.protocol import Attention

_TOLERANCE = 1e-4
_UNBATCHED, _BATCHED = 3, 4
_ADDS_TO_SCORES = ("alibi", "relative_positional_bias", "shortformer")
_OFF = -1.0
"""How a config says that it has no scale of its own, or no soft cap."""


@dataclass(frozen=True)
class Terms:
    """How weights come from queries and keys, where a person or the model's config says so.

    Attributes:
        causal: queries see only keys up to their own; None: not known.
        scale: what q · k is multiplied with; None: 1 / sqrt(d).
        softcap: of the scores; None: there is none.
        positions: how the config says that positions come in.
        local: the config says that some layers have a window.
        model: what the config calls the model.
    """

    causal: bool | None = None
    scale: float | None = None
    softcap: float | None = None
    positions: str = ""
    local: bool = False
    model: str | None = None

    @classmethod
    def of(cls, config: Any, causal: bool | None, scale: float | None, softcap: float | None) -> Terms:  # noqa: ANN401, FBT001
        """From a config of TransformerLens, which may be None, and what a person says, which goes first."""
        told = float(getattr(config, "attn_scale", _OFF) or _OFF)
        cap = float(getattr(config, "attn_scores_soft_cap", _OFF) or _OFF)
        direction = getattr(config, "attention_dir", None)
        if scale is None and not getattr(config, "use_attn_scale", True):
            scale = 1.0
        if scale is None and told > 0:
            scale = 1 / told
        return cls(
            causal if causal is not None or direction is None else direction == "causal",
            scale,
            softcap if softcap is not None or cap <= 0 else cap,
            str(getattr(config, "positional_embedding_type", "")),
            bool(getattr(config, "use_local_attn", False)),
            getattr(config, "model_name", None),
        )

    @property
    def words(self) -> str:
        """For a note: "causal, scale 1 / sqrt(d)"."""
        words = ["causal" if self.causal else "every key allowed"]
        words.append("scale 1 / sqrt(d)" if self.scale is None else f"scale {self.scale:.4g}")
        if self.softcap is not None:
            words.append(f"soft cap {self.softcap:g}")
        return ", ".join(words)


def weights_of(hooks: Mapping[str, torch.Tensor], path: str) -> torch.Tensor | None:
    """(B, H, Tq, Tk) weights of a layer, None where only queries and keys are known."""
    for name in ("pattern", "attn_scores"):
        if name not in hooks:
            continue
        found = hooks[name][None] if hooks[name].ndim == _UNBATCHED else hooks[name]
        if found.ndim != _BATCHED:
            raise ValueError(
                f"{path}.hook_{name} has shape {shape_text(hooks[name])}; expected (batch, heads, queries, keys) or "
                "(heads, queries, keys)"
            )
        return found if name == "pattern" or _are_weights(found) else found.float().softmax(dim=-1)
    return None


def explained(dense: Attention, hooks: Mapping[str, torch.Tensor], terms: Terms) -> FactoredAttention | None:
    """The same weights as queries and keys; None where these are not there, or do not give them."""
    if not isinstance(dense, DenseAttention):
        return None
    weights = torch.from_numpy(np.ascontiguousarray(dense.array))
    for q, k in _factors(hooks, dense.n_heads):
        fits = (q.shape[0], q.shape[2], k.shape[2]) == (weights.shape[0], *weights.shape[2:])
        if not fits or q.shape[1] != dense.n_heads or q.shape[3] != k.shape[3] or q.shape[1] % k.shape[1]:
            continue
        for scale in {terms.scale, None, 1.0}:
            for mask in _masks(dense, hooks):
                found = FactoredAttention(q, k, scale=scale, softcap=terms.softcap, mask=mask)
                if _agree(found, weights):
                    return found
    return None


def factors_alone(hooks: Mapping[str, torch.Tensor], path: str, terms: Terms, *, cross: bool) -> FactoredAttention:
    """A layer of which only queries and keys are known."""
    q, k = next(_factors(hooks, None))
    if q.ndim != _BATCHED or k.ndim != _BATCHED:
        raise ValueError(
            f"{path} has queries of shape {shape_text(q)} and no hook_pattern; expected (batch, positions, heads, "
            "head size): add hook_pattern to what run_with_cache keeps"
        )
    why = ""
    if any(terms.positions.startswith(kind) for kind in _ADDS_TO_SCORES):
        why = f"the model adds something to its scores ({terms.positions})"
    elif terms.local:
        why = "some layers of the model have a window"
    elif terms.positions == "rotary" and "rot_q" not in hooks:
        why = "the model turns queries and keys by their positions, and the cache has no hook_rot_q and hook_rot_k"
    elif terms.causal is None and not cross:
        why = "nothing says which keys a query may see (causal=True or False would)"
    if why:
        raise ValueError(
            f"{path} has queries and keys and no hook_pattern, and cannot be worked out from them: {why}; add "
            "hook_pattern to what run_with_cache keeps"
        )
    mask = None
    if terms.causal and not cross:
        mask = Mask(q.shape[2], k.shape[2], highest=k.shape[2] - q.shape[2])
    return FactoredAttention(q, k, scale=terms.scale, softcap=terms.softcap, mask=mask)


def _factors(hooks: Mapping[str, torch.Tensor], n_heads: int | None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Queries and keys (B, H, T, d), those after rotation first."""
    for names in (("rot_q", "rot_k"), ("q", "k")):
        if not all(name in hooks for name in names):
            continue
        q, k = (hooks[name] for name in names)
        if n_heads is not None and q.ndim == _UNBATCHED and q.shape[1] != n_heads and q.shape[2] % n_heads == 0:
            size = q.shape[2] // n_heads  # heads side by side, in a batch
            if k.shape[-1] % size == 0:
                q, k = q.reshape(*q.shape[:2], n_heads, size), k.reshape(*k.shape[:2], -1, size)
        if q.ndim == _UNBATCHED and k.ndim == _UNBATCHED:
            q, k = q[None], k[None]
        if q.ndim == _BATCHED and k.ndim == _BATCHED:
            yield q.transpose(1, 2), k.transpose(1, 2)


def _masks(dense: DenseAttention, hooks: Mapping[str, torch.Tensor]) -> Iterator[Mask | None]:
    """Masks that may be the model's: what the zeros look like, and what the scores forbid."""
    yield dense.mask
    scores = hooks.get("attn_scores")
    if scores is not None:
        scores = scores[None] if scores.ndim == _UNBATCHED else scores
        if scores.ndim == _BATCHED and not _are_weights(scores):
            allowed = scores > torch.finfo(scores.dtype).min / 2
            yield recognise_mask(allowed, n_queries=dense.n_queries, n_keys=dense.n_keys)


def _agree(found: FactoredAttention, weights: torch.Tensor) -> bool:
    everything = slice(0, found.n_heads), slice(0, found.n_queries), slice(0, found.n_keys)
    return all(
        float(np.abs(found.weights(example, *everything) - wanted.numpy()).max()) <= _TOLERANCE
        for example, wanted in enumerate(weights)
    )


def _are_weights(found: torch.Tensor) -> bool:
    """Some models of TransformerLens 4 hand on their weights as hook_attn_scores too."""
    low, high = torch.aminmax(found.float())
    sums = found.float().sum(dim=-1)
    return bool(low >= 0) and bool(high <= 1 + _TOLERANCE) and bool((sums - 1).abs().max() < 1e-2)  # noqa: PLR2004
