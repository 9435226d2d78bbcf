"""Runs one model type every way, and says what became of it."""

from __future__ import annotations

import copy
import math
import os
import re
import sys
import time
import traceback
import warnings
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

import attnwidget as aw
from sweep import inputs as making
from sweep.compare import TOLERANCE, Comparison, compare
from sweep.contrast import LADDER, sharpen
from sweep.kinds import model_class
from sweep.reference import Reference, all_tensors, eager_reference, run
from sweep.packages import bring_in
from sweep.special import NEEDS_TIMM, special_class, special_inputs, tiny_configs
from sweep.witness import Witness

if TYPE_CHECKING:
    from torch import nn

EXACT, DENSE, PARTLY, REFUSED, NOTHING, NOT_BUILT, WRONG = (
    "captured exactly",
    "captured densely",
    "captured partly",
    "refused",
    "has no attention",
    "not built",
    "wrong",
)
FLAT = 0.98
_TRIES = 60
_CALLED = re.compile(r"attention|attn|multihead", re.IGNORECASE)
_LARGEST = 120_000_000
_APART, _WILD = 1e-2, 1e3



@dataclass
class Result:
    """One row of the table."""

    model_type: str
    category: str = NOT_BUILT
    model: str = ""
    stacks: dict[str, int] = field(default_factory=dict)
    checked_by: str = ""
    compared: int = 0
    error: float | None = None
    flat: int = 0
    reason: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    implementation: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def judge(model_type: str) -> Result:
    """Everything about one model type; never raises."""
    began = time.perf_counter()
    result = Result(model_type)
    try:
        _judge(result)
    except Exception as error:  # noqa: BLE001 - one model must not end the sweep
        result.reason = result.reason or _told(error)
        if result.category == NOT_BUILT:
            result.reason = f"{result.reason}"
    result.seconds = round(time.perf_counter() - began, 1)
    return result


def _judge(result: Result) -> None:
    kind = special_class(result.model_type) or model_class(result.model_type)
    result.model = kind.__name__
    model, config, given = build(result.model_type, kind)
    result.implementation = str(getattr(model.config, "_attn_implementation", ""))
    result.inputs = {
        name: list(value.shape) if hasattr(value, "shape") else repr(value)[:60] for name, value in given.items()
    }
    made = {name: value.clone() for name, value in model.state_dict().items()}
    tries = []
    for gain in LADDER:
        attempt = replace(result, notes=[], problems=[])
        model.load_state_dict(made)
        sharpen(model, gain)
        try:
            _look(attempt, kind, config, model, given)
        except _Wild as error:
            attempt.category, attempt.reason = NOT_BUILT, str(error)
        tries.append(attempt)
        if attempt.category not in {NOT_BUILT, WRONG} and not attempt.flat:
            break
    # All of them tell the truth; the first is the likeliest to show what is wrong.
    best = min(tries, key=lambda one: (one.category == NOT_BUILT, one.category == WRONG, one.flat))
    vars(result).update(vars(best))


class _Wild(ValueError):
    """Activations grew so large that float32 cannot tell weights apart."""


def _look(result: Result, kind: Any, config: Any, model: nn.Module, given: dict[str, Any]) -> None:  # noqa: ANN401
    with torch.no_grad():
        plain, again = run(model, given), run(model, given)
    steady = _equal(plain, again)
    sizes = [float(one.abs().max()) for one in all_tensors(plain) if one.is_floating_point() and one.numel()]
    if not all(size < _WILD for size in sizes):
        raise _Wild(f"outputs as large as {max(sizes, key=lambda one: one if one == one else math.inf):.0e}")
    witness = Witness(model)
    try:
        with torch.no_grad(), witness:
            run(model, given)
    finally:
        witness.close()
    seen = dict(witness.seen)
    try:
        with warnings.catch_warnings(record=True) as told, torch.no_grad():
            warnings.simplefilter("always")
            with aw.capture(model) as cap:
                captured = run(model, given)
    except aw.CaptureError as error:
        result.reason = str(error)
        result.category = REFUSED
        if "no attention call" in result.reason and not seen and not _own_attention(kind, config, model, given):
            result.category = NOTHING
            result.reason = "no module is called attention, none returns weights, no softmax is multiplied with values"
        else:
            result.notes.append(f"seen by the witness: {_witnessed(seen)}")
        return
    result.notes += [str(one.message) for one in told if issubclass(one.category, aw.AttentionWarning)]
    result.notes += list(cap.notes)
    result.stacks = {name: stack.n_layers for name, stack in cap.stacks.items()}
    if not steady:
        result.notes.append("outputs differ from run to run by themselves")
    elif not _equal(plain, captured):
        result.problems.append("outputs with capture differ from those without")
    twin = kind._from_config(copy.deepcopy(config), attn_implementation="eager").eval()
    twin.load_state_dict(model.state_dict())
    reference = eager_reference(twin, given)
    comparison = compare(cap, reference, _padding(given))
    result.compared, result.error = len(comparison.compared), comparison.error
    result.flat = sum(layer.flatness > FLAT for layer in comparison.compared)
    result.notes += [f"the model hands out its own weights {lens}" for lens in comparison.lenses]
    result.notes += [f"the model's own {name} hold no weights" for name in comparison.odd]
    told = any(layer is not None for layers in comparison.by_output.values() for layer in layers)
    result.checked_by = "values" if not comparison.compared else "outputs" if told else "modules"
    result.problems += comparison.problems
    if comparison.error > TOLERANCE or comparison.missing:
        other = _by_itself(result, twin, given, reference, plain, cap)
        if other is not None:
            comparison = other
        elif comparison.error > TOLERANCE:
            _in_double(result, kind, config, model, given)
    if result.flat and result.flat == result.compared:
        result.problems.append("rows of the reference look everywhere alike")
    result.problems += _by_values(cap)
    named = _named(result.notes)
    lost = comparison.missing + _not_seen(seen, comparison)
    result.problems += [f"missing: {one}" for one in lost if not _is_named(one, named)]
    dense = sum(type(layer.attention).__name__ == "DenseAttention" for layer in comparison.layers)
    beside = [note for note in named if "no softmax attention" not in note]
    result.category = WRONG if result.problems else PARTLY if lost or beside else DENSE if dense else EXACT
    if result.category == PARTLY:
        result.reason = "; ".join([*lost[:3], *beside[:2]])
    elif dense and not result.problems:
        result.reason = f"{dense} of {len(comparison.layers)} layers are kept as weights"


def build(model_type: str, kind: Any) -> tuple[nn.Module, Any, dict[str, Any]]:  # noqa: ANN401
    """A tiny model that runs, its config, and inputs.

    Raises:
        Exception: whatever the first try ended with, if none works.
    """
    if model_type in NEEDS_TIMM:
        bring_in()
    first: Exception | None = None
    configs = tiny_configs(model_type)
    while True:
        try:
            config = next(configs)
            _check_size(kind, config)
            torch.manual_seed(0)
            model = kind._from_config(copy.deepcopy(config)).eval()
            return model, config, find_inputs(model_type, model)
        except StopIteration:
            raise first or ValueError("no config to try") from None
        except Exception as error:  # noqa: BLE001 - configs and models say in every way that they do not fit
            if first is not None:
                raise first from None
            first = error


def _check_size(kind: Any, config: Any) -> None:  # noqa: ANN401
    """Raise if the model would be too large to be worth it."""
    try:
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in kind._from_config(copy.deepcopy(config)).parameters())
    except Exception:  # noqa: BLE001 - not every model can be made without memory
        return
    if size > _LARGEST:
        raise ValueError(f"still {size / 1e6:.0f} million parameters when shrunk")


def _own_attention(kind: Any, config: Any, model: nn.Module, given: dict[str, Any]) -> bool:  # noqa: ANN401
    """Whether a model in which nothing was seen says that it attends, by the names of its modules or its outputs."""
    if any(_CALLED.search(type(module).__name__) for module in model.modules()):
        return True
    twin = kind._from_config(copy.deepcopy(config), attn_implementation="eager").eval()
    return any(eager_reference(twin, given).outputs.values())


def _padding(given: dict[str, Any]) -> Any:  # noqa: ANN401
    mask = given.get("attention_mask")
    return None if mask is None or mask.ndim != 2 else (mask == 0).numpy()  # noqa: PLR2004


def _by_itself(
    result: Result,
    twin: nn.Module,
    given: dict[str, Any],
    reference: Reference,
    plain: Any,  # noqa: ANN401 - a model's output
    cap: aw.AttentionCapture,
) -> Comparison | None:
    """If the model computes something else with eager attention than by default: the capture of eager attention."""
    with torch.no_grad(), aw.capture(twin) as other:
        output = run(twin, given)
    pairs = zip(all_tensors(plain), all_tensors(output), strict=False)
    apart = max((float((a - b).abs().max()) for a, b in pairs if a.shape == b.shape and a.is_floating_point()), default=0)
    comparison = compare(other, reference, _padding(given))
    if apart < _APART or comparison.error > TOLERANCE or comparison.problems or not cap.verify().ok:
        return None
    result.compared, result.error = len(comparison.compared), comparison.error
    result.notes.append(
        f"{result.implementation} and eager attention of this model differ by themselves (outputs by {apart:.1e}): "
        "compared with eager attention, and under its default by the output of the run"
    )
    return comparison


def _in_double(result: Result, kind: Any, config: Any, model: nn.Module, given: dict[str, Any]) -> None:
    """Where float32 itself is noisy, both again in float64: there is no rounding to hide behind."""
    worst = result.error
    fine = {
        name: value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for name, value in given.items()
    }
    try:
        double = kind._from_config(copy.deepcopy(config)).eval()
        double.load_state_dict(model.state_dict())
        double.double()
        twin = kind._from_config(copy.deepcopy(config), attn_implementation="eager").eval()
        twin.load_state_dict(model.state_dict())
        twin.double()
        reference = eager_reference(twin, fine)
        with torch.no_grad(), aw.capture(double) as cap:
            run(double, fine)
    except Exception as error:  # noqa: BLE001
        result.problems.append(f"error {worst:.1e} in float32, and in float64: {_told(error)}")
        return
    exact = compare(cap, reference).error
    if exact > TOLERANCE:
        result.problems.append(f"error {worst:.1e} in float32, {exact:.1e} in float64")
    else:
        result.notes.append(f"float32 alone differs by {worst:.1e}; in float64 the difference is {exact:.1e}")
        result.error = exact


def find_inputs(model_type: str, model: nn.Module) -> dict[str, Any]:
    """Inputs that the model takes.

    Raises:
        ValueError: none were found; with what the model said to the first ones.
    """
    own = special_inputs(model_type, model)
    if own is not None:
        with torch.no_grad():
            run(model, own)
        return own
    first: Exception | None = None
    waiting = list(making.styles(model))
    for _ in range(_TRIES):
        if not waiting:
            break
        style = waiting.pop(0)
        try:
            given = making.make_inputs(model, style)
            with torch.no_grad():
                run(model, given)
        except Exception as error:  # noqa: BLE001 - models say in every way that an input does not fit
            first = first or error
            other = making.adapted(style, error)
            if other is not None:
                waiting.insert(0, other)
        else:
            return given
    raise ValueError(f"no inputs found: {_told(first)}") from first


def _equal(one: Any, other: Any) -> bool:
    left, right = all_tensors(one), all_tensors(other)
    return len(left) == len(right) and all(torch.equal(a.nan_to_num() if a.is_floating_point() else a, b.nan_to_num() if b.is_floating_point() else b) for a, b in zip(left, right, strict=True))


def _not_seen(seen: dict[tuple[str, str], int], comparison: Comparison) -> list[str]:
    """What the witness saw and the capture has not."""
    captured = [layer.path for layer in comparison.layers]
    return [
        f"attention of {path or 'the model'} ({how}, {count} calls)"
        for (path, how), count in seen.items()
        if not any(path == one or one.startswith(f"{path}.") or path.startswith(f"{one}.") for one in captured)
    ]


def _by_values(cap: aw.AttentionCapture) -> list[str]:
    return [
        f"values: {layer.path} leads to another output ({layer.error:.1e})" for layer in cap.verify().wrong
    ]


def _named(notes: list[str]) -> list[str]:
    """Notes of a capture that name what it does not hold."""
    words = ("no attention of", "no softmax attention", "not in this capture")
    return [note for note in notes if any(word in note for word in words)]


def _is_named(lost: str, named: list[str]) -> bool:
    """Whether one of the notes is about something that is missing: by its path, where it has one."""
    path = re.search(r"of (\S+\.\S+)", lost)
    if path is None:
        return bool(named)
    for note in named:
        place = re.search(r"^\S+|first in (\S+)", note)
        pattern = re.escape((place[1] or place[0]) if place else note).replace(r"\*", r"\d+")
        pattern = re.sub(r"(?<![\w])\d+(?![\w])", r"\\d+", pattern)  # "the first in layer 0": the others are like it
        if re.match(pattern, path[1]) or re.search(rf"^{re.escape(path[1])}\.", place[1] or place[0] if place else ""):
            return True
    return False


def _witnessed(seen: dict[tuple[str, str], int]) -> str:
    return ", ".join(f"{path} ({how})" for path, how in list(seen)[:6]) or "nothing"


def _told(error: BaseException | None) -> str:
    if error is None:
        return "nothing to try"
    frames = traceback.extract_tb(error.__traceback__)
    place = next((f"{os.path.basename(f.filename)}:{f.lineno}" for f in reversed(frames) if "models" in f.filename), "")
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" + (f" ({place})" if place else "")
