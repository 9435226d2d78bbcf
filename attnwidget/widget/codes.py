"""Weights as integers on one fixed log2 axis: small to send, and coloured in the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from attnwidget.widget.protocol import (
    CODE_FIRST,
    CODE_MASKED,
    CODE_MISSING,
    CODE_ZERO,
    LOG2_MIN,
    SQRT_FIRST,
    SQRT_STEPS,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

CodeType = Literal["u8", "u16"]
CODE_TYPES: tuple[CodeType, ...] = get_args(CodeType)
DTYPES: dict[CodeType, np.dtype[Any]] = {"u8": np.dtype("u1"), "u16": np.dtype("<u2")}


def encode(weights: NDArray[np.floating], dtype: CodeType) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Turn weights into codes.

    Args:
        weights: any shape, in [0, 1]; NaN where the mask does not allow the pair, infinity where the weight is not a
            number.
        dtype: `"u16"`, right to 0.02 %, or `"u8"`, right to 4.5 %.

    Returns:
        Codes of the same shape: `3 + round((log2(w) + 32) * (max - 3) / 32)`, 2 below 2^-32, 1 for infinity, 0 for
        NaN.
    """
    out = DTYPES[dtype]
    steps = (np.iinfo(out).max - CODE_FIRST) / -LOG2_MIN
    with np.errstate(divide="ignore", invalid="ignore"):
        position = np.rint((np.log2(np.minimum(weights, 1.0), dtype=np.float64) - LOG2_MIN) * steps)
    masked = np.isnan(weights)
    position = np.where(position < 0, CODE_ZERO - CODE_FIRST, position)
    codes: NDArray[np.uint8] | NDArray[np.uint16]
    codes = np.where(masked, CODE_MASKED, np.where(masked, 0, position) + CODE_FIRST).astype(out)
    codes[np.isposinf(weights)] = CODE_MISSING
    return codes


def encode_sqrt(weights: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Turn weights into codes even in their square root: a byte each, for weights that are stored and not asked for.

    Args:
        weights: any shape, in [0, 1]; NaN where the mask does not allow the pair, infinity where the weight is not a
            number.

    Returns:
        `2 + round(128 * sqrt(w))`, so that square roots are right to 1/256; 1 for infinity, 0 for NaN.
    """
    masked, lost = np.isnan(weights), np.isposinf(weights)
    roots = np.sqrt(np.where(masked | lost, 0, np.minimum(weights, 1)), dtype=np.float64)
    codes: NDArray[np.uint8] = (SQRT_FIRST + np.rint(SQRT_STEPS * roots)).astype(np.uint8)
    codes[masked] = CODE_MASKED
    codes[lost] = CODE_MISSING
    return codes


def decode(codes: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float64]:
    """Turn codes back into weights.

    Args:
        codes: any shape, uint8 or uint16, as `encode` gives them.

    Returns:
        float64 weights of the same shape; NaN for masked cells, infinity where the weight is not a number.
    """
    steps = (np.iinfo(codes.dtype).max - CODE_FIRST) / -LOG2_MIN
    weights = np.exp2((codes.astype(np.float64) - CODE_FIRST) / steps + LOG2_MIN)
    weights[codes == CODE_ZERO] = 0.0
    weights[codes == CODE_MASKED] = np.nan
    weights[codes == CODE_MISSING] = np.inf
    return weights
