"""Maps of one number per head that somebody gives a view: what they are made of, and in which words they are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from attnwidget.analysis import Ablation, LogitAttribution, Survey, SurveyTable
from attnwidget.analysis.definitions import BY_NAME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.attention import AttentionStack

_ATTRIBUTION_ABOUT: Final = (
    (
        "What each head adds to this logit through the residual stream, at position {position}, with the scale of the "
        "final norm held fixed (Elhage et al. 2021; Wang et al. 2022)."
    ),
    (
        "The direct way only: what later layers make of a head's result is in their share. A head that matters much "
        "may add nothing itself."
    ),
)
_ABLATION_ABOUT: Final = (
    "{metric} with the result of this head replaced ({mode}), less the {baseline:.4g} of the model as it is.",
    (
        "A large change says that the output depends on this head, with everything else as it is. A small one does not "
        "say that it does nothing: others may make up for it (Wang et al. 2022; McGrath et al. 2023). Changes of heads "
        "do not add up."
    ),
)
_SURVEY_ABOUT: Final = (
    "Mean ± standard deviation from text to text, each text counted once.",
    (
        "A mean hides heads that do one thing in some texts and another in the rest: look at the spread, and at single "
        "texts."
    ),
)
_NOT_ASKED: Final = "not asked for"
_EXPECTED: Final = (
    "an array (layers, heads), what `model.ablate`, `model.logit_attribution` or `aw.survey` gave, or a survey's table"
)


@dataclass(frozen=True, eq=False)
class HeadMap:
    """One number for each head of a stack.

    Attributes:
        name: by which `sort`, `filter` and `colour_by` know it.
        title: in words, as choosers have it.
        stack: name of the stack.
        values: (L, H) float64; NaN where there is none.
        spread: (L, H) float64, how far each number varies; None where that is not known.
        signed: coloured on either side of 0.
        unit: of the numbers, "" for none.
        label: before the number of one head.
        over: after it, what it was taken over.
        lacking: in the place of a number that is NaN.
        about: what it is, where it comes from, what it cannot show: paragraphs.
        of_one_run: about one text, so that another one may have other numbers.
    """

    name: str
    title: str
    stack: str
    values: NDArray[np.float64]
    spread: NDArray[np.float64] | None = None
    signed: bool = False
    unit: str = ""
    label: str = ""
    over: str = ""
    lacking: str = _NOT_ASKED
    about: tuple[str, ...] = ()
    of_one_run: bool = True

    def on(self, stack: AttentionStack) -> _Cut | str:
        """Where the heads of a stack stand in it: rows and columns; or, in words, why it does not fit.

        A map of the whole model is cut to the layers and heads that a capture has kept.
        """
        n_layers, n_heads = self.values.shape
        rows = _kept(n_layers, stack.n_layers, [info.number for info in stack.infos])
        picked = {(info.picked, info.n_heads) for info in stack.infos}
        whole = n_heads == next(iter(picked))[1] and len(picked) == 1
        columns = _kept(n_heads, stack.n_heads, list(next(iter(picked))[0]) if whole else [])
        if rows is not None and columns is not None:
            return np.ix_(rows, columns)
        return (
            f"it has {n_layers} layers x {n_heads} heads, and stack {stack.name!r} of this capture "
            f"{stack.n_layers} x {stack.n_heads}"
        )


_Cut = tuple[Any, ...]


def _kept(given: int, shown: int, numbers: list[int | None]) -> range | list[int] | None:
    """Which of the rows given are those shown; None where that cannot be told."""
    if given == shown:
        return range(shown)
    known = [number for number in numbers if number is not None]
    return known if len(known) == shown and given > max(known) else None


def head_maps(
    name: object,
    thing: Any,  # noqa: ANN401 - whatever somebody gives
    *,
    stacks: dict[str, AttentionStack],
    shown: str,
    title: str | None = None,
    unit: str = "",
    about: str = "",
    spread: Any = None,  # noqa: ANN401 - an array of any kind
    stack: str | None = None,
) -> list[HeadMap]:
    """The maps that a thing is, by what it is; `AttentionWidget.add_map` says what it may be.

    Args:
        name: of the map; those of a survey are called "name:measure".
        thing: what they are made of.
        stacks: of the capture.
        shown: the stack that an array is of where nothing is said.
        title: instead of that of the thing.
        unit: of the numbers of an array.
        about: instead of what is said of the thing.
        spread: beside an array, of the same shape.
        stack: instead of that of the thing.

    Returns:
        At least one map, each of a stack that the capture has, and which fits it.

    Raises:
        TypeError: it is nothing of the kind, or named by no text.
        ValueError: shapes that do not fit, or a stack that is not there.
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"a map is named {name!r:.60}: expected a text that is not empty")
    if isinstance(thing, Survey | SurveyTable):
        if title or unit or spread is not None:
            raise TypeError(f"map {name!r} is a survey, which has titles, units and spreads: give none of them with it")
        return _of_survey(name, thing, stacks, stack, about)
    made: dict[str, Any] = {"name": name, "unit": unit, "stack": shown if stack is None else stack}
    if isinstance(thing, Ablation):
        words = {"metric": thing.metric, "mode": thing.mode, "baseline": thing.baseline}
        paragraphs = tuple(part.format(**words) for part in _ABLATION_ABOUT)
        made |= {
            "title": f"change of {thing.metric} when ablated ({thing.mode})",
            "label": f"change of {thing.metric}",
            "values": thing.values,
            "signed": True,
            "about": (paragraphs[0][:1].upper() + paragraphs[0][1:], *paragraphs[1:]),
            "stack": thing.stack if stack is None else stack,
        }
    elif isinstance(thing, LogitAttribution):
        made |= {
            "title": f"added to the logit of {thing.token}",
            "values": thing.heads,
            "signed": True,
            "about": tuple(part.format(position=thing.position) for part in _ATTRIBUTION_ABOUT),
        }
    else:
        values = _array(f"map {name!r}", thing)
        made |= {"title": name, "values": values, "signed": bool((values < 0).any())}
        made["about"] = ("A map that was added in Python.",)
    if title:
        made |= {"title": title, "label": title}
    if about:
        made["about"] = (about,)
    if spread is not None:
        made["spread"] = _array(f"the spread of map {name!r}", spread)
        if made["spread"].shape != made["values"].shape:
            raise ValueError(
                f"the spread of map {name!r} has shape {made['spread'].shape}: expected {made['values'].shape}, that "
                f"of "
                "the map"
            )
    return [_checked(HeadMap(**made), stacks)]


def _of_survey(
    name: str, survey: Survey | SurveyTable, stacks: dict[str, AttentionStack], stack: str | None, about: str
) -> list[HeadMap]:
    tables = list(survey.stacks.values()) if isinstance(survey, Survey) else [survey]
    if stack is not None and len(tables) > 1:
        tables = [table for table in tables if table.stack == stack]
    # A capture of one text may have kept some stacks only.
    wanted = [(table, stack or table.stack) for table in tables if (stack or table.stack) in stacks]
    if not wanted:
        found = ", ".join(repr(table.stack) for table in tables) or "none"
        raise ValueError(
            f"map {name!r} is a survey with stacks {found}: this capture has {', '.join(map(repr, stacks))}"
            f"{'' if stack is None else f', and asked for is {stack!r}'}"
        )
    maps = []
    for table, of in wanted:
        for measure, moments in table.moments.items():
            most = int(moments.count.max(initial=0))
            over = f"{most:,} text{'' if most == 1 else 's'}"
            known = BY_NAME.get(measure)
            own = () if known is None else (f"{known.words} {known.caution}",)
            made = HeadMap(
                f"{name}:{measure}", f"{measure}, mean of {over}", of, moments.mean, moments.std,
                signed=bool((moments.mean < 0).any()),
                unit="" if known is None else known.unit.replace("share", ""),
                label=measure, over=f"over {over}", lacking="applies to no text",
                about=(about,) if about else (*own, *_SURVEY_ABOUT), of_one_run=False,
            )  # fmt: skip
            maps.append(_checked(made, stacks))
    return maps


def _array(what: str, values: Any) -> NDArray[np.float64]:  # noqa: ANN401 - an array of any kind
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()  # NumPy knows no bfloat16
    try:
        array = np.asarray(values)
    except ValueError:  # lists of lists that are not of one length
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{what} is {type(values).__name__} {values!r:.60}: expected {_EXPECTED}")
    if array.ndim != 2:  # noqa: PLR2004 - layers and heads
        raise ValueError(f"{what} has shape {array.shape}: expected (layers, heads)")
    return array.astype(np.float64)


def _checked(made: HeadMap, stacks: dict[str, AttentionStack]) -> HeadMap:
    if made.stack not in stacks:
        raise ValueError(
            f"map {made.name!r} is of stack {made.stack!r}: this capture has {', '.join(map(repr, stacks))}; "
            "view.add_map(..., stack=) says which of them it is of"
        )
    fit = made.on(stacks[made.stack])
    if isinstance(fit, str):
        raise ValueError(f"map {made.name!r} does not fit: {fit}")  # noqa: TRY004 - not of the argument, but of its shape
    return made
