"""Names for the tokens of a generation: those of the prompt as they were given, the rest as the tokenizer reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnwidget.attention import Tokens
from attnwidget.inputs.encodings import tokens_of_ids
from attnwidget.inputs.prepare import widen
from attnwidget.intercept.naming import Axis, Naming

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention import Generation
    from attnwidget.intercept.passes.outcome import Outcome


def name_generated(prompt: Axis | None, outcome: Outcome, tokenizer: Any, *, two_sided: bool) -> Naming:  # noqa: ANN401
    """Names for the sequences that generate() returned.

    Args:
        prompt: names of the prompts, padding included; None where nobody knows them.
        outcome: what was returned.
        tokenizer: of the model, or None.
        two_sided: the prompt went to an encoder, and what was generated is a decoder's.

    Returns:
        Names for queries and keys.
    """
    count, total = len(outcome.ids), outcome.past + outcome.n_rows
    prompts = _repeated(prompt, count)
    starts = starts_of(prompt, outcome, two_sided=two_sided)
    tokens, spans = [], []
    for number, start in enumerate(starts):
        stop = outcome.past + int(outcome.ends[number])
        given = None if two_sided or prompts is None else prompts.tokens[number]
        named = _sequence(outcome, number, start, tokenizer, given)
        tokens.append(widen(named[: stop - start], start, total))
        spans.append((start, stop))
    axis = Axis(tuple(tokens), tuple(spans))
    if two_sided:
        return Naming(axis, prompts, {"encoder": prompts})
    if not outcome.past:
        return Naming(axis)
    past = outcome.past
    queries = Axis(
        tuple(names[past:] for names in tokens), tuple((max(start - past, 0), stop - past) for start, stop in spans)
    )
    return Naming(queries, axis)


def describe_generated(
    prompt: Axis | None,
    outcome: Outcome,
    tokenizer: Any,  # noqa: ANN401 - may be None
    *,
    two_sided: bool,
) -> Generation:
    """What was given and what was generated, in the words of a capture."""
    texts = None
    if tokenizer is not None:
        new = [ids[outcome.prompt : length].tolist() for ids, length in zip(outcome.ids, outcome.lengths, strict=True)]
        texts = [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in new]
    return outcome.generation(starts_of(prompt, outcome, two_sided=two_sided), texts)


def starts_of(prompt: Axis | None, outcome: Outcome, *, two_sided: bool) -> Sequence[int]:
    """Per sequence, where its padding ends."""
    count = len(outcome.ids)
    prompts = None if two_sided else _repeated(prompt, count)
    return [0] * count if prompts is None or prompts.spans is None else [start for start, _ in prompts.spans]


def _repeated(prompt: Axis | None, count: int) -> Axis | None:
    """One entry per returned sequence: there may be several for each prompt."""
    if prompt is None or count % len(prompt.tokens):
        return None
    times = count // len(prompt.tokens)

    def each(entries: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(entry for entry in entries for _ in range(times))

    return Axis(each(prompt.tokens), None if prompt.spans is None else each(prompt.spans))


def _sequence(outcome: Outcome, number: int, start: int, tokenizer: Any, given: Tokens | None) -> Tokens:  # noqa: ANN401
    """Names from a position on, to the end of the sequence."""
    length, shift = int(outcome.lengths[number]), outcome.shift
    if tokenizer is None:
        return Tokens.numbered(shift + length - start)
    ids = outcome.ids[number, max(start - shift, 0) : length].tolist()
    named = tokens_of_ids(tokenizer, ids)
    unnamed = max(shift - start, 0)  # what came as embeddings, or in an earlier run
    if unnamed:
        return _end_to_end(Tokens.numbered(unnamed), named)
    prompt = outcome.prompt - (start - shift)
    if given is None or shift or len(given) != outcome.prompt:
        return named
    return _end_to_end(given[start:], named, prompt)


def _end_to_end(first: Tokens, then: Tokens, skip: int = 0) -> Tokens:
    """Some tokens, and those of others behind as many that are left out."""
    columns = ((getattr(part, name) for part in (first, then)) for name in Tokens.__dataclass_fields__)
    return Tokens(*(one + other[skip:] for one, other in columns))
