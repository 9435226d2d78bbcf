"""From whatever a person holds (NumPy, torch on any device, any float type) to a NumPy array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def is_tensor(value: object) -> bool:
    """Whether this is a torch tensor, without loading torch."""
    return hasattr(value, "detach") and hasattr(value, "cpu") and hasattr(value, "dtype") and hasattr(value, "shape")


def is_array(value: object) -> bool:
    """Whether this is an array or a tensor, and not a list of them."""
    return is_tensor(value) or (hasattr(value, "__array__") and hasattr(value, "shape") and hasattr(value, "dtype"))


def to_numpy(value: Any) -> NDArray[Any]:  # noqa: ANN401 - torch tensors are recognised by what they can do
    """A NumPy view where there can be one, else a copy; bfloat16, unknown to NumPy, becomes float32."""
    if not is_tensor(value):
        return np.asarray(value)
    tensor = value.detach().cpu().resolve_conj().resolve_neg()
    if tensor.dtype.is_floating_point and str(tensor.dtype) not in {"torch.float16", "torch.float32", "torch.float64"}:
        tensor = tensor.float()
    array: NDArray[Any] = tensor.numpy()
    return array
