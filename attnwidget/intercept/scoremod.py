"""The functions that flex attention is given, taken apart once: what they compute, on copies of what they captured."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attnwidget.attention.mapped import place_of
from attnwidget.attention.packed import BLOCK_BYTES, pack
from attnwidget.intercept.aside import set_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from attnwidget.intercept.keeping import Keeper

    Function = Callable[..., torch.Tensor]
    Positions = NDArray[np.intp]

_INDICES = 4
_RISKY = ("log", "reciprocal", "pow", "div", "rsqrt", "exp2", "atanh")


class Traced:
    """A function of scalars, as the operations it consists of.

    It is traced, not called later: a function may capture what has changed by then, a variable of a loop, say.

    Args:
        function: of `score` (if `scored`) and of b, h, i, j.
        scored: whether it takes a score.
        device: where it runs now.
        home: where it will be asked.
        copy: makes the copies it will be asked with, of the tensors it captured.

    Attributes:
        constants: these copies.
        key: equal for functions that do the same with the same copies.
        holds_minus_infinity: whether a captured tensor does.

    Raises:
        ValueError: it cannot be traced.
    """

    def __init__(
        self,
        function: Function,
        *,
        scored: bool,
        device: torch.device,
        home: torch.device,
        copy: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        self.name = getattr(function, "__name__", type(function).__name__)
        self.graph = graph = _trace(function, self.name, scored=scored, device=device)
        self.constants: list[torch.Tensor] = []
        self.holds_minus_infinity = False
        for target in dict.fromkeys(str(node.target) for node in graph.graph.nodes if node.op == "get_attr"):
            original = getattr(graph, target)
            self.holds_minus_infinity |= original.is_floating_point() and bool(original.isneginf().any())
            self.constants.append(copy(original))
            delattr(graph, target)
            graph.register_buffer(target, self.constants[-1])
        self.key = (graph.code, *map(id, self.constants))
        if home != device:
            for node in graph.graph.nodes:
                if node.kwargs.get("device") is not None:
                    node.kwargs = {**node.kwargs, "device": home}
            graph.recompile()
        self._home = home
        self._everywhere: Any = graph
        for axes in ((None, None, None, 0), (None, None, 0, None), (None, 0, None, None)):
            self._everywhere = torch.vmap(self._everywhere, in_dims=(0, *axes) if scored else axes)

    def __call__(
        self, example: int, heads: Positions, queries: Positions, keys: Positions, scores: torch.Tensor | None = None
    ) -> torch.Tensor:
        """For all of these heads, queries and keys, (h, q, k)."""
        places = [np.array(example), heads, queries, keys]
        indices = [torch.from_numpy(part.astype(np.int32)).to(self._home) for part in places]
        result: torch.Tensor = self._everywhere(*([] if scores is None else [scores]), *indices)
        return result


def _trace(function: Function, name: str, *, scored: bool, device: torch.device) -> torch.fx.GraphModule:
    from torch.fx.experimental.proxy_tensor import make_fx

    indices = [torch.zeros((), dtype=torch.int32, device=device) for _ in range(_INDICES)]
    scores = [torch.zeros((), device=device)] if scored else []

    def call(*arguments: torch.Tensor) -> torch.Tensor:  # a method, say, hides how many it takes
        return function(*arguments)

    put_back = set_aside()
    try:
        # While a call is recorded, function modes are off; here one is needed.
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
            torch._C._EnableTorchFunction(),  # noqa: SLF001 - torch offers no other name for it
            _tensors_as_indices(),
        ):
            return make_fx(call)(*scores, *indices)
    except Exception as error:
        raise ValueError(
            f"{'score_mod' if scored else 'mask_mod'} {name!r} could not be traced ({error}); expected operations "
            "on tensors alone, as torch.compile needs them too"
        ) from error
    finally:
        put_back()


def _tensors_as_indices() -> AbstractContextManager[Any]:
    """So that table[h] with a tensor h is an operation, not a number read from it, as torch does it here."""
    try:
        from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex
    except ImportError:
        return nullcontext()
    return TransformGetItemToIndex()


class ScoreMod:
    """A traced score_mod, applied to the scores that are looked at."""

    def __init__(self, traced: Traced) -> None:
        self._traced = traced
        self.may_forbid = _may_be_minus_infinity(traced)
        name = traced.name
        self.words = "score_mod" if name in {"score_mod", "<lambda>", "partial"} else f"score_mod {name}"

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes of what the function captured, by where they are."""
        held: Counter[str] = Counter()
        for constant in self._traced.constants:
            held[place_of(constant)] += constant.untyped_storage().nbytes()
        return held

    def __call__(
        self, scores: torch.Tensor, example: int, heads: Positions, queries: Positions, keys: Positions
    ) -> torch.Tensor:
        """Scores (h, q, k) -> what the softmax is taken of, float32, a tensor of its own."""
        if not scores.numel():
            return scores
        result = self._traced(example, heads, queries, keys, scores)
        return result.to(torch.float32, copy=True, memory_format=torch.contiguous_format)

    def __repr__(self) -> str:
        return f"ScoreMod({self.words})"


def keep_score_mod(
    function: Function, device: torch.device, home: torch.device, keeper: Keeper
) -> tuple[float | None, ScoreMod | None]:
    """A score_mod as a soft cap, if it is that and nothing else, or as what is applied on demand.

    Returns:
        One of the two, or neither for a function that returns the score.

    Raises:
        ValueError: it cannot be traced.
    """
    traced = Traced(function, scored=True, device=device, home=home, copy=keeper.keep_once)
    result = traced.graph.graph.output_node().args[0]
    if getattr(result, "op", "") == "placeholder" and result is next(iter(traced.graph.graph.nodes)):
        return None, None
    cap = _soft_cap(traced)
    if cap is not None:
        return cap, None
    return None, keeper.made.setdefault(("score_mod", traced.key), ScoreMod(traced))


def _soft_cap(traced: Traced) -> float | None:
    """The cap, if the function is cap * tanh(score / cap)."""
    nodes = list(traced.graph.graph.nodes)
    score, operations = nodes[0], nodes[1 + _INDICES : -1]
    names = [str(node.target).partition(".")[2] for node in operations]
    if names != ["div.Tensor", "tanh.default", "mul.Tensor"]:
        return None
    divided, bent, scaled = operations
    if divided.args[0] is not score or bent.args != (divided,) or scaled.args[0] is not bent:
        return None
    cap = divided.args[1]
    return float(cap) if isinstance(cap, (int, float)) and cap == scaled.args[1] and cap > 0 else None


def _may_be_minus_infinity(traced: Traced) -> bool:
    """Whether a finite score may become minus infinity, as far as can be told without trying."""
    if traced.holds_minus_infinity:
        return True
    for node in traced.graph.graph.nodes:
        name = str(node.target).partition(".")[2].partition(".")[0]
        if any(isinstance(part, float) and math.isinf(part) for part in node.args):
            return True
        if name.startswith(_RISKY) and not (name == "div" and isinstance(node.args[1], (int, float)) and node.args[1]):
            return True
    return False


def evaluate_mask(traced: Traced, shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Ask a mask_mod for every pair, a block at a time.

    Args:
        traced: the function.
        shape: (B | 1, H | 1, Tq, Tk).

    Returns:
        (B | 1, H | 1, Tq, ceil(Tk / 8)), packed.
    """
    batch, heads, n_queries, n_keys = shape
    bits = np.empty((batch, heads, n_queries, -(-n_keys // 8)), dtype=np.uint8)
    step = max(1, BLOCK_BYTES // max(1, n_keys))
    keys = np.arange(n_keys)
    with torch.no_grad():
        for example, head in np.ndindex(batch, heads):
            for start in range(0, n_queries, step):
                rows = np.arange(start, min(start + step, n_queries))
                allowed = traced(example, np.array([head]), rows, keys).bool()  # (1, rows, Tk)
                bits[example, head, rows] = pack(allowed[None], len(rows), n_keys, 0).bits[0, 0]
    return bits
