"""`model.ablate` and `ablate_jointly`: results of heads are replaced, one at a time or all in one run."""

from __future__ import annotations

import operator
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from attnwidget.analysis import Ablation, Effect
from attnwidget.attention.selection import check_index
from attnwidget.bars import bar
from attnwidget.intercept.edits import Mean, Uniform, Watch, Zero
from attnwidget.interventions.baseline import Baseline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from attnwidget.attention import AttentionStack
    from attnwidget.intercept.changing import Edit
    from attnwidget.interventions.asking import Interventions
    from attnwidget.outputs.measuring import Asked, Metric

    Pair = tuple[int, int]

Mode: TypeAlias = 'Literal["zero", "mean", "uniform"]'
_MODES = ("zero", "mean", "uniform")


class Ablating:
    """Heads replaced one after another: what was done so far is kept from one step to the next.

    Args:
        baseline: the run without a change.
        stack: of its capture.
        pairs: the heads, in order.
        mode: what replaces their results.
        metric: what is measured.
        means: by layer, where the mode is "mean".
        at_once: how many heads may run as one batch.

    Attributes:
        at_once: as given.
        total: how many heads there are.
        ablation: what is known so far; heads that are still to come are NaN.
    """

    def __init__(
        self,
        baseline: Baseline,
        stack: AttentionStack,
        pairs: Sequence[Pair],
        *,
        mode: Mode,
        metric: Metric,
        means: Mapping[int, torch.Tensor],
        at_once: int,
    ) -> None:
        self._baseline, self._stack, self._mode = baseline, stack, mode
        self._metric, self._means = metric, means
        self._pairs, self._ran, self._pace = pairs, 0, 1
        self.at_once, self.total = at_once, len(pairs)
        values = np.full((stack.n_layers, stack.n_heads), np.nan)
        self.ablation = Ablation(stack.name, mode, metric.words, metric.measure(baseline.output, 0), values)

    @classmethod
    def of(
        cls,
        model: Interventions,
        inputs: Any,  # noqa: ANN401
        heads: Iterable[Pair] | None,
        *,
        mode: Mode,
        asked: Asked,
        about: Mapping[str, Any],
        stack: str | None,
        reference: Any = None,  # noqa: ANN401
        at_once: int | None = None,
        forward_kwargs: Mapping[str, Any] | None = None,
    ) -> Ablating:
        """Run what all heads are compared with; arguments and errors are those of `Interventions.ablate`."""
        kwargs = forward_kwargs or {}
        _check_mode(mode, reference)
        _check_at_once(at_once)
        baseline = Baseline.of(model, inputs, kwargs)
        shown = baseline.stack(stack)
        metric = baseline.metric(asked, about)
        pairs = pairs_of(heads, shown)
        means = _means(baseline, shown, reference, kwargs) if mode == "mean" else {}
        count = baseline.most_copies(metric)
        count = count if at_once is None else min(at_once, count if count == 1 else at_once)
        return cls(baseline, shown, pairs, mode=mode, metric=metric, means=means, at_once=count)

    @property
    def done(self) -> float:
        """The share of the heads that were replaced."""
        return self._ran / self.total

    def next(self, most: int) -> int:
        """Run the next heads as one batch.

        Args:
            most: how many, at most.

        Returns:
            How many there were; 0 once all are done.
        """
        some = self._pairs[self._ran : self._ran + most]
        if not some:
            return 0
        edits: dict[int, list[Edit]] = {}
        for example, (layer, head) in enumerate(some):
            edit = _edit(self._mode, self._stack, layer, (head,), self._means, example)
            edits.setdefault(layer, []).append(edit)
        output = self._baseline.rerun(self._stack, edits, copies=len(some))
        for example, pair in enumerate(some):
            self.ablation.values[pair] = self._metric.measure(output, example) - self.ablation.baseline
        self._ran += len(some)
        return len(some)

    def step(self, seconds: float = 0.1) -> bool:
        """Go on for about so long; one head at least is replaced in any case.

        Args:
            seconds: how long. Batches are as large as fits in it, by how long those before took.

        Returns:
            Whether all heads are done.
        """
        until = time.perf_counter() + seconds
        while self._ran < self.total:
            began = time.perf_counter()
            count = self.next(self._pace)
            now = time.perf_counter()
            self._pace = max(1, min(self.at_once, int(count * seconds / max(now - began, 1e-6))))
            if now >= until:
                break
        return self._ran == self.total


def ablate(
    model: Interventions,
    inputs: Any,  # noqa: ANN401
    heads: Iterable[Pair] | None,
    *,
    progress: bool,
    **options: Any,  # noqa: ANN401 - those of `Ablating.of`
) -> Ablation:
    """See `Interventions.ablate`."""
    work = Ablating.of(model, inputs, heads, **options)
    with bar(work.total, f"ablating {model.name}", "head", wanted=progress) as shown:
        while count := work.next(work.at_once):
            shown.update(count)
    return work.ablation


def ablate_jointly(
    model: Interventions,
    inputs: Any,  # noqa: ANN401
    heads: Iterable[Pair] | None,
    *,
    mode: Mode,
    asked: Asked,
    about: Mapping[str, Any],
    stack: str | None,
    reference: Any,  # noqa: ANN401
    forward_kwargs: Mapping[str, Any],
) -> Effect:
    """See `Interventions.ablate_jointly`."""
    _check_mode(mode, reference)
    baseline = Baseline.of(model, inputs, forward_kwargs)
    shown = baseline.stack(stack)
    metric = baseline.metric(asked, about)
    before = metric.measure(baseline.output, 0)
    by_layer = by_layer_of(pairs_of(heads, shown))
    means = _means(baseline, shown, reference, forward_kwargs) if mode == "mean" else {}
    edits = {layer: [_edit(mode, shown, layer, tuple(some), means, 0)] for layer, some in by_layer.items()}
    after = metric.measure(baseline.rerun(shown, edits), 0)
    return Effect(f"{mode} ablation of {where_text(by_layer)} of stack {shown.name!r}", metric.words, before, after)


def pairs_of(heads: Iterable[Pair] | None, stack: AttentionStack) -> list[Pair]:
    """The heads that are asked for, each once; all of them if None.

    Raises:
        TypeError: they are no pairs.
        ValueError: there are none.
        IndexError: a head does not exist.
    """
    if heads is None:
        return list(np.ndindex(stack.n_layers, stack.n_heads))
    where = f"stack {stack.name!r}"
    found: dict[Pair, None] = {}
    given = list(heads) if isinstance(heads, Iterable) else [heads]
    for pair in given:
        try:
            layer, head = (operator.index(number) for number in pair)
        except TypeError:
            raise TypeError(f"heads hold {pair!r:.60}; expected pairs of numbers, [(layer, head), ...]") from None
        except ValueError:
            raise ValueError(f"heads hold {pair!r:.60}; expected pairs of numbers, [(layer, head), ...]") from None
        found[check_index("layer", layer, stack.n_layers, where), check_index("head", head, stack.n_heads, where)] = (
            None
        )
    if not found:
        raise ValueError("heads is empty; expected [(layer, head), ...], or None for all of them")
    return list(found)


def by_layer_of(pairs: Iterable[Pair]) -> dict[int, list[int]]:
    """Heads by their layer."""
    by_layer: dict[int, list[int]] = {}
    for layer, head in pairs:
        by_layer.setdefault(layer, []).append(head)
    return by_layer


def where_text(by_layer: Mapping[int, list[int]]) -> str:
    """Heads in words: "layer 0 head 1", "3 heads of 2 layers"."""
    pairs = [(layer, head) for layer, some in by_layer.items() for head in some]
    if len(pairs) == 1:
        return "layer {} head {}".format(*pairs[0])
    return f"{len(pairs)} heads of {len(by_layer)} layer{'s' if len(by_layer) > 1 else ''}"


def _edit(
    mode: Mode,
    stack: AttentionStack,
    layer: int,
    heads: tuple[int, ...],
    means: Mapping[int, torch.Tensor],
    example: int,
) -> Edit:
    if mode == "zero":
        return Zero(heads, example)
    if mode == "mean":
        return Mean(heads, means[layer], example)
    return Uniform(heads, stack.layers[layer], example)


def _means(
    baseline: Baseline,
    stack: AttentionStack,
    reference: Any,  # noqa: ANN401
    forward_kwargs: Mapping[str, Any],
) -> dict[int, torch.Tensor]:
    """The mean result (H, dv) of all heads, by layer, over the tokens of one run, or of several."""
    runs: list[Baseline] = [baseline]
    if reference is not None:
        _refuse_capture(reference)
        several = reference if isinstance(reference, list) and not _is_ids(reference) else [reference]
        runs = [Baseline.of(baseline.model, one, forward_kwargs) for one in several]
    watches: dict[int, list[Watch]] = {}
    for run in runs:
        own = run.stack(stack.name)
        edits = {number: [Watch(slice(*own.query_spans[0]))] for number in range(own.n_layers)}
        run.rerun(own, edits)
        for number, (watch,) in edits.items():
            watches.setdefault(number, []).append(watch)
    return {number: Watch.mean_of(each) for number, each in watches.items()}


def _is_ids(reference: list[Any]) -> bool:
    return bool(reference) and all(isinstance(number, (int, np.integer)) for number in reference)


def _refuse_capture(reference: object) -> None:
    from attnwidget.attention import AttentionCapture

    if isinstance(reference, AttentionCapture):
        raise TypeError(
            "reference is a capture, which keeps queries and keys and not what heads put out; expected the text it was "
            "made from, or several in a list"
        )


def _check_mode(mode: str, reference: object) -> None:
    if mode not in _MODES:
        raise ValueError(f"mode is {mode!r}; expected one of {', '.join(map(repr, _MODES))}")
    if reference is not None and mode != "mean":
        raise ValueError(f"reference is given with mode={mode!r}; expected it with mode='mean'")


def _check_at_once(at_once: int | None) -> None:
    if at_once is not None and (isinstance(at_once, bool) or not isinstance(at_once, int) or at_once < 1):
        raise ValueError(f"at_once is {at_once!r}; expected 1 head or more, or None")
