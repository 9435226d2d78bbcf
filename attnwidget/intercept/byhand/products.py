"""Products of two tensors, written one way: matmul, bmm, mm, baddbmm, inner, tensordot and einsum as labels on axes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_EINSUM = re.compile(r"([a-zA-Z]*)(\.\.\.)?([a-zA-Z]*)")
_VECTOR, _MATRIX, _BATCHED = 1, 2, 3

MATMUL = {torch.matmul, torch.Tensor.matmul, torch.bmm, torch.Tensor.bmm, torch.mm, torch.Tensor.mm}
MATMUL |= {torch.Tensor.__matmul__, torch.linalg.matmul}
BADDBMM = {torch.baddbmm, torch.Tensor.baddbmm}
EINSUM = {torch.einsum}
INNER = {torch.inner, torch.Tensor.inner}
TENSORDOT = {torch.tensordot}
CHAINS = {torch.linalg.multi_dot}
PRODUCTS = MATMUL | BADDBMM | EINSUM | INNER | TENSORDOT | CHAINS


@dataclass(frozen=True, eq=False, slots=True)
class Product:
    """A product of two tensors. An axis with a label in both and not in the result is summed over.

    Attributes:
        left: a tensor.
        right: a tensor.
        left_labels: one for each of its axes.
        right_labels: likewise.
        labels: of the result.
        added: what was added to it, if anything.
        factor: what the product was multiplied with, apart from what was added.
        added_factor: what that was multiplied with.
    """

    left: torch.Tensor
    right: torch.Tensor
    left_labels: tuple[str, ...]
    right_labels: tuple[str, ...]
    labels: tuple[str, ...]
    added: torch.Tensor | None = None
    factor: float = 1.0
    added_factor: float = 1.0

    @property
    def summed(self) -> tuple[str, ...]:
        """Labels summed over."""
        return tuple(label for label in self.left_labels if label in self.right_labels and label not in self.labels)

    def sizes(self, *, left: bool) -> dict[str, int]:
        """Length of one tensor's axes by label."""
        labels, tensor = (self.left_labels, self.left) if left else (self.right_labels, self.right)
        return dict(zip(labels, tensor.shape, strict=True))


def read_product(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Product | None:
    """What a call multiplies; None for anything but one product of two tensors of two axes or more."""
    if func in EINSUM:
        return _read_einsum(args, kwargs)
    if func in CHAINS:
        args, kwargs = tuple(args[0]), {}
        if len(args) != len("ab"):
            return None
    if func in BADDBMM:
        added = args[0] if args else kwargs.get("input")
        left = args[1] if len(args) > 1 else kwargs.get("batch1")
        right = args[2] if len(args) > len("ab") else kwargs.get("batch2")
        factors = float(kwargs.get("alpha", 1)), float(kwargs.get("beta", 1))
    else:
        added, factors = None, (1.0, 1.0)
        left = args[0] if args else kwargs.get("input", kwargs.get("a"))
        right = args[1] if len(args) > 1 else kwargs.get("other", kwargs.get("mat2", kwargs.get("b")))
    if not (isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor)):
        return None
    if left.ndim < _MATRIX or right.ndim < _MATRIX:
        return None
    if func in TENSORDOT | INNER:
        dims = kwargs.get("dims", args[2] if len(args) > len("ab") else len("ij"))
        return _read_tensordot(left, right, ([-1], [-1]) if func in INNER else dims)
    batch = [f"batch{number}" for number in range(max(left.ndim, right.ndim) - _MATRIX, 0, -1)]
    left_labels = (*batch[len(batch) - left.ndim + _MATRIX :], "row", "sum")
    right_labels = (*batch[len(batch) - right.ndim + _MATRIX :], "sum", "column")
    if not isinstance(added, torch.Tensor) or not factors[1]:
        added = None
    return Product(left, right, left_labels, right_labels, (*batch, "row", "column"), added, *factors)


def _read_tensordot(left: torch.Tensor, right: torch.Tensor, dims: Any) -> Product | None:  # noqa: ANN401
    """Summed over the last and the first axes, so many or as listed."""
    if isinstance(dims, int):
        dims = range(left.ndim - dims, left.ndim), range(dims)
    if not isinstance(dims, (tuple, list)) or len(dims) != len("ab"):
        return None
    left_labels = [f"left{number}" for number in range(left.ndim)]
    right_labels = [f"right{number}" for number in range(right.ndim)]
    for one, other in zip(*dims, strict=True):
        right_labels[other] = left_labels[one]
    kept = [label for label in left_labels if label not in right_labels]
    kept += [label for label in right_labels if label not in left_labels]
    return Product(left, right, tuple(left_labels), tuple(right_labels), tuple(kept))


def _read_einsum(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Product | None:
    if kwargs or not args or not isinstance(args[0], str):
        return None
    operands = args[1] if len(args) == len("ab") and isinstance(args[1], (list, tuple)) else args[1:]
    inputs, arrow, output = args[0].replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(operands) != len(terms) or len(terms) != len("ab"):
        return None
    left, right = operands
    left_labels, right_labels = _labels(terms[0], left.ndim), _labels(terms[1], right.ndim)
    if left_labels is None or right_labels is None:
        return None
    if not arrow:
        letters = sorted(letter for letter in set(terms[0] + terms[1]) - {"."} if inputs.count(letter) == 1)
        output = ("..." if "." in inputs else "") + "".join(letters)
    hidden = {label for label in left_labels + right_labels if len(label) > 1}
    labels = _labels(output, len(output.replace("...", "")) + len(hidden))
    every = [*left_labels, *right_labels]
    if labels is None or any(label not in labels and every.count(label) == 1 for label in every):
        return None  # an axis of one tensor alone is summed over: not a plain product
    return Product(left, right, left_labels, right_labels, labels)


def _labels(term: str, ndim: int) -> tuple[str, ...] | None:
    """Labels of one operand's axes; None where a letter stands twice or the term is not understood."""
    match = _EINSUM.fullmatch(term)
    if match is None:
        return None
    before, dots, after = match.groups()
    hidden = ndim - len(before) - len(after)
    if hidden < 0 or (hidden and not dots):
        return None
    labels = (*before, *(f"batch{number}" for number in range(hidden, 0, -1)), *after)
    return labels if len(set(labels)) == len(labels) else None
