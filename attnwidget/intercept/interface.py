"""Route 1: transformers' attention interface. Its look-up is wrapped while a capture runs."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnwidget.attention import CaptureError
from attnwidget.intercept.byhand.trails import is_watched
from attnwidget.intercept.calls import record_call
from attnwidget.intercept.changing import CHANGES, AttentionCall
from attnwidget.intercept.factors import from_interface, take_interface
from attnwidget.intercept.passes import generating
from attnwidget.intercept.recorder import ACTIVE
from attnwidget.intercept.records import InterfaceCall
from attnwidget.intercept.sdpa import CURRENT
from attnwidget.intercept.windows.framing import framed

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

    from attnwidget.intercept.changing import Changer

    AttentionFunction = Callable[..., Any]
    Undo = Callable[[], None]

OTHER_THREAD = (
    "the model ran in another thread than the one in which the block began, as asyncio.to_thread and copied contexts "
    "have it, and most of what it computes there cannot be seen: open the block in the thread that runs the model"
)
_EAGER = "eager_attention_forward"
_PASSING_ON = {"integrations/sdpa_attention.py", "integrations/flex_attention.py"}
"""Where in transformers the functions are that hand their kernel the keys they were given."""


def install() -> list[Undo]:
    """Wrap the look-up, where transformers is in use.

    Returns:
        What puts everything back.
    """
    modeling = sys.modules.get("transformers.modeling_utils")
    if modeling is None:  # no model of transformers can be running
        return []
    undo: list[Undo] = []
    generating.wrap(undo)
    functions = modeling.ALL_ATTENTION_FUNCTIONS
    kind = type(functions)
    if kind is dict:  # 4.48 and 4.49: there is no look-up to wrap, so the entries are
        for name, original in list(functions.items()):
            functions[name] = watched(original)
            undo.append(functools.partial(functions.__setitem__, name, original))
    else:
        undo.append(_wrap_method(kind, "__getitem__"))
    if hasattr(kind, "get_interface"):  # 5.x
        undo.append(_wrap_method(kind, "get_interface"))
        return undo
    for name, module in list(sys.modules.items()):
        # Up to 4.57 eager attention is a function beside each model, which is not looked up anywhere.
        original = getattr(module, "__dict__", {}).get(_EAGER) if name.startswith("transformers") else None
        if original is not None:
            setattr(module, _EAGER, watched(original))
            undo.append(functools.partial(setattr, module, _EAGER, original))
    return undo


def _home() -> Path:
    return Path(str(sys.modules["transformers"].__file__)).parent


def _wrap_method(kind: type, name: str) -> Undo:
    own = kind.__dict__.get(name)
    setattr(kind, name, _looking_up(getattr(kind, name)))
    return functools.partial(setattr, kind, name, own) if own is not None else functools.partial(delattr, kind, name)


def _looking_up(lookup: Callable[..., AttentionFunction]) -> Callable[..., AttentionFunction]:
    made: dict[int, AttentionFunction] = {}  # each holds the function that it is known by

    @functools.wraps(lookup)
    def look_up(*args: Any, **kwargs: Any) -> AttentionFunction:  # noqa: ANN401
        found = lookup(*args, **kwargs)
        if not ((ACTIVE.get() or CHANGES.get()) and callable(found)):
            return found
        known = made.get(id(found))
        if known is None:
            known = made[id(found)] = watched(found)
        return known

    return look_up


def watched(original: AttentionFunction) -> AttentionFunction:
    """An attention function that also records; without a capture in this thread it only calls the original."""
    if hasattr(original, "_attnwidget_original"):
        return original
    name = _name(original)
    # By the file, since `functools.wraps` gives a function of anybody's the names of the one that it is around.
    file = Path(getattr(getattr(original, "__code__", None), "co_filename", ""))
    is_known = "transformers" in sys.modules and _home() in file.parents
    passes_on = is_known and file.relative_to(_home()).as_posix() in _PASSING_ON

    @functools.wraps(original)
    def attention(
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *args: Any,  # noqa: ANN401 - every model has options of its own
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        changer = CHANGES.get()
        if not ACTIVE.get() and changer is None:
            return original(module, query, key, value, attention_mask, *args, **kwargs)
        if not is_watched():
            _refuse_thread()
        call = InterfaceCall(module, query, key, value, attention_mask, kwargs, name, is_known, passes_on)
        token = CURRENT.set(call)
        try:
            result = original(module, query, key, value, attention_mask, *args, **kwargs)
        finally:
            CURRENT.reset(token)
        notes: list[str] = []
        record_call(
            lambda keeper: framed(from_interface(call, result, keeper, notes), query, key, keeper.places, notes),
            take=lambda keeper: take_interface(call, result, keeper),
            module=module,
            implementation=call.implementation,
            notes=notes,
            outputs=(result[0], *(hand.output for hand in call.by_hand)),
        )
        return result if changer is None else _changed(changer, call, result)

    attention._attnwidget_original = original  # type: ignore[attr-defined]  # noqa: SLF001 - our own mark
    return attention


def _refuse_thread() -> None:
    """A capture came here with its context, as `asyncio.to_thread` takes one along, and its function mode did not."""
    for recorder in ACTIVE.get():
        if not recorder.ended and recorder.caller() is not None:
            recorder.fail(CaptureError(OTHER_THREAD))


def _changed(changer: Changer, call: InterfaceCall, result: Any) -> Any:  # noqa: ANN401
    """What a function returned, its output (B, Tq, H, dv) as somebody wants it to be."""
    output = changer.change(
        AttentionCall(call.value, result[0].transpose(1, 2), (call.query, call.key)), module=call.module
    )
    return (output.transpose(1, 2), *result[1:])


def _name(function: AttentionFunction) -> str:
    return getattr(function, "__name__", type(function).__name__).removesuffix("_forward").removesuffix("_attention")
