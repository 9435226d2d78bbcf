"""Where a selection goes when another text takes the place of the one it was made in."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from attnwidget.attention.aligning import places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention import AttentionCapture, AttentionStack

Window: TypeAlias = "tuple[int, int, int, int] | None"


def follow(
    before: AttentionStack,
    after: AttentionStack,
    batch: int,
    *,
    query: int | None,
    key: int | None,
    window: Window,
) -> tuple[int | None, int | None, Window]:
    """Find what was selected in one text in another, by what its tokens say.

    Args:
        before: the stack shown so far.
        after: the one that takes its place.
        batch: the example, of both.
        query: the locked query, in `before`.
        key: the locked key, in `before`.
        window: what of a head is shown, in `before`.

    Returns:
        Query, key and window in `after`. None for a token that does not stand there any more, and for a window of which
        one of the four ends does not.
    """
    batches = min(batch, before.n_examples - 1), min(batch, after.n_examples - 1)
    old, new = before.query_tokens[batches[0]], after.query_tokens[batches[1]]
    old_keys, new_keys = before.key_tokens[batches[0]], after.key_tokens[batches[1]]
    queries = places(old, new)
    keys = queries if (old_keys, new_keys) == (old, new) else places(old_keys, new_keys)
    ends: Window = None
    if window is not None:
        firsts = queries.get(window[0]), keys.get(window[2])
        lasts = queries.get(window[1] - 1), keys.get(window[3] - 1)
        if None not in (*firsts, *lasts):
            ends = firsts[0], lasts[0] + 1, firsts[1], lasts[1] + 1  # type: ignore[operator,assignment]
    return (
        None if query is None else queries.get(query),
        None if key is None else keys.get(key),
        ends,
    )


def follow_keys(before: AttentionCapture, after: AttentionCapture, stack: str, keys: Sequence[int]) -> list[int]:
    """Find keys of one text in another, as `follow` does; those that do not stand there any more are left out.

    Args:
        before: the capture shown so far.
        after: the one that takes its place.
        stack: whose keys they are.
        keys: of its first example.
    """
    if not keys or stack not in before.stacks or stack not in after.stacks:
        return []
    found = places(before.stacks[stack].key_tokens[0], after.stacks[stack].key_tokens[0])
    return sorted(found[key] for key in keys if key in found)
