"""The weights of generate(), a tuple per step with one array per layer, joined to one map per layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.arrays import is_array, to_numpy
from attnwidget.attention.protocol import shape_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NDIM = 4


@dataclass(frozen=True)
class Beams:
    """Which row of each step's batch a returned sequence went through.

    Attributes:
        rows: (sequences, steps) int; below 0 after the end of a sequence.
    """

    rows: NDArray[np.intp]

    @property
    def lengths(self) -> list[int]:
        """Steps of each sequence."""
        return [int(count) for count in (self.rows >= 0).sum(axis=1)]

    def pick(self, array: NDArray[Any], step: int) -> NDArray[Any]:
        """(beams, H, q, k) of a step as (sequences, H, q, k); of a sequence that has ended, any row."""
        picked: NDArray[Any] = array[np.maximum(self.rows[:, step], 0)]
        return picked


def is_steps(weights: object) -> bool:
    """Whether these are tuples of layers, one per step, and not layers."""
    if not isinstance(weights, (list, tuple)):
        return False
    return any(isinstance(step, (list, tuple)) for step in weights) and all(
        step is None or (isinstance(step, (list, tuple)) and all(layer is None or is_array(layer) for layer in step))
        for step in weights
    )


def join_steps(weights: Any, what: str, *, cross: bool, beams: Beams | None = None) -> list[NDArray[Any] | None]:  # noqa: ANN401
    """Join what each step saw to one (B, H, Tq, Tk) per layer.

    Args:
        weights: a tuple per step with one (B, H, q, k) per layer: q is what the step ran, all of the prompt in the
            first one, and k what it saw.
        what: what to call them.
        cross: keys belong to another sequence, and stay the same.
        beams: which rows belong together, where beam search moved them; the rows after the end of a sequence look at
            themselves.

    Returns:
        One array per layer, and None for layers that are None in every step.

    Raises:
        ValueError: steps that do not go on from one another.
    """
    counts = [0 if step is None else len(step) for step in weights]
    if len(set(counts)) != 1:
        raise ValueError(f"the steps of {what} have {sorted(set(counts))} layers; expected the same in every step")
    if beams is not None and beams.rows.shape[1] < len(weights):
        raise ValueError(
            f"beam_indices tell of {beams.rows.shape[1]} steps and {what} have {len(weights)}; expected one per step"
        )
    joined: list[NDArray[Any] | None] = []
    for number in range(counts[0]):
        layer = [step[number] for step in weights]
        missing = [step for step, array in enumerate(layer) if array is None]
        if len(missing) == len(layer):
            joined.append(None)
            continue
        if missing:
            raise ValueError(f"layer {number} of {what} is None in step {missing[0]} and not in others")
        arrays = [_four_dimensional(array, number, step, what) for step, array in enumerate(layer)]
        if beams is not None:
            arrays = [beams.pick(array, step) for step, array in enumerate(arrays)]
        joined.append(_join(arrays, f"layer {number} of {what}", cross=cross))
    if beams is not None:
        _end(joined, beams, first=weights[0])
    return joined


def _four_dimensional(array: Any, number: int, step: int, what: str) -> NDArray[Any]:  # noqa: ANN401
    found = to_numpy(array)
    if found.ndim != _NDIM:
        raise ValueError(
            f"layer {number} of {what} has shape {shape_text(found)} in step {step}; expected (batch, heads, queries, "
            "keys)"
        )
    return found


def _join(arrays: list[NDArray[Any]], what: str, *, cross: bool) -> NDArray[Any]:
    blocks: list[NDArray[Any]] = []
    seen = 0
    for step, array in enumerate(arrays):
        if array.shape[:2] != arrays[0].shape[:2]:
            raise ValueError(
                f"{what} has shape {shape_text(array)} in step {step} and {shape_text(arrays[0])} in step 0; expected "
                "the same batch and heads in every step"
            )
        # Without a cache each step runs all of the text again: only its last rows are new.
        new = array[:, :, seen:] if array.shape[2] > seen > 0 else array
        blocks.append(new)
        seen += new.shape[2]
    n_keys = arrays[0].shape[3] if cross else seen
    joined = np.zeros((*arrays[0].shape[:2], seen, n_keys), dtype=arrays[0].dtype)
    first = 0
    for step, block in enumerate(blocks):
        last = first + block.shape[2]
        wanted = n_keys if cross else last
        given, start = _to_length(block, wanted, f"{what} in step {step}", cross=cross)
        joined[:, :, first:last, start:wanted] = given
        first = last
    return joined


def _to_length(block: NDArray[Any], wanted: int, what: str, *, cross: bool) -> tuple[NDArray[Any], int]:
    """The keys that exist after a step, and the position of the first of them."""
    have = block.shape[3]
    if cross and have != wanted:
        raise ValueError(f"{what} has {have} keys and {wanted} in step 0; expected the same in every step")
    if have > wanted:  # a cache of fixed size has room for keys that do not exist yet
        if block[..., wanted:].any():
            raise ValueError(
                f"{what} looks at {have} keys where {wanted} tokens were run: it went on from an earlier cache, and "
                "what the earlier tokens looked at is not in this output. Run all of the text in one go, or capture it "
                "with AttentionModel.generate"
            )
        return block[..., :wanted], 0
    return block, wanted - have  # a cache of a sliding window has dropped the first keys


def _end(joined: list[NDArray[Any] | None], beams: Beams, first: Any) -> None:  # noqa: ANN401
    """Rows after the end of a sequence, which no run computed."""
    prompt = next(int(array.shape[2]) for array in first if array is not None)
    for array in joined:
        if array is None:
            continue
        for sequence, steps in enumerate(beams.lengths):
            for row in range(prompt + steps - 1, array.shape[2]):
                array[sequence, :, row] = 0
                array[sequence, :, row, min(row, array.shape[3] - 1)] = 1
