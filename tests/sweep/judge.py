"""Runs one model type every way, and says what became of it."""

from __future__ import annotations

import re
import time
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

import attnwidget as aw
from sweep.compare import TOLERANCE, Comparison, compare
from sweep.contrast import LADDER, sharpen
from sweep.naming import is_named, names_attention, naming_notes, not_seen
from sweep.reference import Reference, all_tensors, eager_reference, run
from sweep.results import DENSE, EXACT, NOT_BUILT, NOTHING, PARTLY, REFUSED, WRONG, Result, told
from sweep.subject import Subject, build
from sweep.witness import witnessed

if TYPE_CHECKING:
    from collections.abc import Mapping

FLAT = 0.98
"""Rows nearer than this to looking everywhere alike prove nothing."""
_APART, _WILD = 1e-2, 1e3
_CALLED = re.compile(r"attention|attn|multihead", re.IGNORECASE)


class WildError(ValueError):
    """Activations grew so large that float32 cannot tell weights apart."""


def judge(model_type: str, device: str = "cpu") -> Result:
    """Everything about one model type; never raises."""
    began = time.perf_counter()
    result = Result(model_type)
    try:
        subject = build(model_type).on(device)
        result.model = subject.kind.__name__
        result.implementation = str(getattr(subject.model.config, "_attn_implementation", ""))
        result.inputs = {name: list(getattr(value, "shape", ())) for name, value in subject.given.items()}
        result.notes = ["run on text alone"] if subject.is_text_alone else []
        result = _best(result, subject)
    except Exception as error:  # noqa: BLE001 - one model must not end the sweep
        result.reason = told(error)
    result.seconds = round(time.perf_counter() - began, 1)
    return result


def _best(result: Result, subject: Subject) -> Result:
    """The first of several sizes of random weights at which the comparison proves something."""
    made = {name: value.clone() for name, value in subject.model.state_dict().items()}
    tries = []
    for gain in LADDER:
        attempt = replace(result, notes=[*result.notes], problems=[])
        subject.model.load_state_dict(made)
        sharpen(subject.model, gain)
        try:
            _look(attempt, subject)
        except WildError as error:
            attempt.category, attempt.reason = NOT_BUILT, str(error)
        tries.append(attempt)
        if attempt.is_told and not attempt.flat:
            break
    best = min(tries, key=lambda one: (one.category == NOT_BUILT, one.category == WRONG, one.flat))
    if best.is_told:
        best.notes += [f"with other weights: {text}" for one in tries if one.category == WRONG for text in one.problems]
    return best


def _look(result: Result, subject: Subject) -> None:
    """Run plainly, watched by the witness and under capture, and compare."""
    plain, again = subject.run(), subject.run()
    _check_size_of(plain)
    seen = witnessed(subject.model, lambda: run(subject.model, subject.given))
    try:
        cap, captured, warned = _captured(subject)
    except aw.CaptureError as error:
        _refused(result, subject, str(error), seen)
        return
    result.notes += [*warned, *cap.notes]
    result.stacks = {name: stack.n_layers for name, stack in cap.stacks.items()}
    if not equal(plain, again):
        result.notes.append("outputs differ from run to run by themselves")
    elif not equal(plain, captured):
        result.problems.append("outputs with capture differ from those without")
    comparison = _compared(result, subject, cap, plain)
    _conclude(result, cap, comparison, seen)


def _check_size_of(output: Any) -> None:
    sizes = [float(one.abs().max()) for one in all_tensors(output) if one.is_floating_point() and one.numel()]
    if not all(size < _WILD for size in sizes):  # nan is not
        raise WildError(f"outputs grow beyond {_WILD:.0f} with random weights")


def _captured(subject: Subject) -> tuple[aw.AttentionCapture, Any, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with torch.no_grad(), aw.capture(subject.model) as cap:
            output = run(subject.model, subject.given)
    return cap, output, [str(one.message) for one in caught if issubclass(one.category, aw.AttentionWarning)]


def _refused(result: Result, subject: Subject, text: str, seen: Mapping[tuple[str, str], int]) -> None:
    result.category, result.reason = REFUSED, text
    attends = any(_CALLED.search(type(module).__name__) for module in subject.model.modules())
    if "no attention call" in text and not seen and not attends and not _reference(subject).outputs:
        result.category = NOTHING
        result.reason = "no module is called attention, none returns weights, no softmax is multiplied with values"


def _reference(subject: Subject) -> Reference:
    return eager_reference(subject.eager().model, subject.given)


def _compared(result: Result, subject: Subject, cap: aw.AttentionCapture, plain: Any) -> Comparison:
    """Compare with the model's own weights; where these are not to be had in this way, in another."""
    reference = _reference(subject)
    comparison = compare(cap, reference, subject.padding)
    result.notes += [f"the model hands out its own weights {lens}" for lens in comparison.lenses]
    result.notes += [f"the model's own attentions hold no weights: {name}" for name in comparison.odd]
    result.error = comparison.error
    if comparison.error > TOLERANCE or comparison.missing:
        other = _by_itself(result, subject, reference, plain, cap)
        if other is not None:
            comparison = other
            result.error = comparison.error
        elif comparison.error > TOLERANCE:
            _in_double(result, subject)
    listed = any(layer is not None for layers in comparison.by_output.values() for layer in layers)
    result.compared = len(comparison.compared)
    result.checked_by = "values" if not comparison.compared else "outputs" if listed else "modules"
    result.flat = sum(layer.flatness > FLAT for layer in comparison.compared)
    result.problems += comparison.problems
    return comparison


def _by_itself(
    result: Result, subject: Subject, reference: Reference, plain: Any, cap: aw.AttentionCapture
) -> Comparison | None:
    """If the model computes something else with eager attention than by default: the capture of eager attention."""
    eager, output, _ = _captured(subject.eager())
    pairs = zip(all_tensors(plain), all_tensors(output), strict=False)
    apart = [float((a - b).abs().max()) for a, b in pairs if a.shape == b.shape and a.is_floating_point()]
    comparison = compare(eager, reference, subject.padding)
    good = comparison.error <= TOLERANCE and not comparison.problems and cap.verify().ok
    if max(apart, default=0) < _APART or not good:
        return None
    result.notes.append(
        f"{result.implementation} and eager attention of this model differ by themselves (outputs by "
        f"{max(apart):.1e}): compared with eager attention, and by default checked by the output of the run"
    )
    return comparison


def _in_double(result: Result, subject: Subject) -> None:
    """Where float32 itself is noisy, both again in float64: there is no rounding to hide behind."""
    noise = f"{result.error:.1e}"
    try:
        fine = subject.double()
        exact = compare(_captured(fine)[0], _reference(fine)).error
    except Exception as error:  # noqa: BLE001 - some models cannot run in float64
        result.problems.append(f"error {noise} in float32, and in float64: {told(error)}")
        return
    if exact > TOLERANCE:
        result.problems.append(f"error {noise} in float32, {exact:.1e} in float64")
    else:
        result.notes.append(f"float32 alone differs by {noise}; in float64 the difference is {exact:.1e}")
        result.error = exact


def _conclude(
    result: Result, cap: aw.AttentionCapture, comparison: Comparison, seen: Mapping[tuple[str, str], int]
) -> None:
    """The category, and the reason for it."""
    if result.flat and result.flat == result.compared:
        result.problems.append("rows of the reference look everywhere alike")
    wrong = cap.verify().wrong
    result.problems += [f"values: {layer.path} leads to another output ({layer.error:.1e})" for layer in wrong]
    naming = naming_notes(result.notes)
    lost = comparison.missing + not_seen(seen, (layer.path for layer in comparison.layers))
    result.problems += [f"missing: {one}" for one in lost if not is_named(one, naming)]
    beside = [note for note in naming if names_attention(note)]
    dense = sum(isinstance(layer.attention, aw.DenseAttention) for layer in comparison.layers)
    if result.problems:
        result.category = WRONG
    elif lost or beside:
        result.category, result.reason = PARTLY, "; ".join([*lost[:3], *beside[:2]])
    elif dense:
        result.category = DENSE
        result.reason = f"{dense} of {len(comparison.layers)} layers are kept as weights"
    else:
        result.category = EXACT


def equal(one: Any, other: Any) -> bool:
    """Whether two outputs are the same to the bit."""
    left, right = all_tensors(one), all_tensors(other)
    return len(left) == len(right) and all(
        torch.equal(a.nan_to_num(), b.nan_to_num()) if a.is_floating_point() else torch.equal(a, b)
        for a, b in zip(left, right, strict=True)
    )
