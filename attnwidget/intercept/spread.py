"""Tensor parallelism: which layers' heads are spread over several processes, seen while they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import distributed

from attnwidget.intercept.configured import configured

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from attnwidget.intercept.records import Record

SPREAD = "heads are spread over ranks"
_HEADS = ("num_attention_heads", "n_head", "num_heads")


def has_ranks() -> bool:
    """Whether this process is one of several that share the work."""
    return distributed.is_available() and distributed.is_initialized()


def spread_over(module: nn.Module, n_heads: int) -> tuple[int, ...]:
    """The ranks that share the heads of a module, if it holds a part of them; else none.

    A tensor-parallel module's parameters are DTensors, cut along one dimension of a mesh of processes. What fully
    sharded data parallelism cut is whole again while the module runs, which is when this is asked.

    Args:
        module: that called attention.
        n_heads: it called it with.

    Returns:
        Global ranks, in the order of their heads.
    """
    if not has_ranks():
        return ()
    for parameter in module.parameters():
        placements: Any = getattr(parameter, "placements", None)
        mesh: Any = getattr(parameter, "device_mesh", None)
        if placements is None or mesh is None:
            continue
        for dimension, placement in enumerate(placements):
            if placement.is_shard() and mesh.size(dimension) > 1:
                if _declared_heads(module) == n_heads:  # projections were put together again
                    return ()
                return tuple(distributed.get_process_group_ranks(mesh.get_group(dimension)))
    return ()


def spread_notes(records: Sequence[Record]) -> Iterator[str]:
    """What a capture should say of heads that are elsewhere."""
    for ranks in dict.fromkeys(record.ranks for record in records if record.ranks):
        place = ranks.index(distributed.get_rank())
        yield (
            f"{SPREAD} {', '.join(map(str, ranks))}, and this capture holds part {place} of {len(ranks)}, counted from "
            "head 0: `with aw.gathered(cap) as whole:`, run by all of them, shows all heads on the first"
        )


def _declared_heads(module: nn.Module) -> int | None:
    return configured(getattr(module, "config", None), *_HEADS)
