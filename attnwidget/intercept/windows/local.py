"""Whether modules may attend within windows of their input, which decides that the data is followed and no more."""

from __future__ import annotations

import re
from functools import lru_cache
from types import CodeType, FunctionType
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HINT = re.compile(
    r"(?<!sliding_)window|partition|unfold|strided|^roll$|_roll|unroll|shift_size|seq_?lens|(?i:axial|temporal)|num_frames"
    r"|(num|n)_(chunk|block|segment|patches_)|(chunk|block|segment)(_len|s_count|ed_(query|key|q_|k_))|split_into"
    r"|(?<![a-z_])local_(att|radius|mask|win|block|causal)|Local(ly)?[A-Z]|Window|^ws$|query_block|context_size|rearrange|Prob[A-Z]"
)
"""Words of code that cuts a sequence up. `sliding_window` is none: such windows are masks."""
_PLUMBING = ("torch.", "transformers.modeling_", "transformers.generation", "transformers.utils", "transformers.integ")


def may_cut(modules: Iterable[nn.Module]) -> bool:
    """Whether the code of one of these modules speaks of windows, chunks or blocks.

    Following costs some time for each operation, which other models need not spend.
    """
    return any(_speaks(kind) for kind in set(map(type, modules)))


@lru_cache(maxsize=4096)
def _speaks(kind: type) -> bool:
    if _HINT.search(kind.__name__):
        return True
    for base in kind.__mro__:
        if issubclass(base, nn.Module) and base is not nn.Module and not base.__module__.startswith(_PLUMBING):
            for value in vars(base).values():
                function = getattr(value, "__func__", value)
                function = getattr(function, "__wrapped__", function)
                if isinstance(function, FunctionType) and any(map(_HINT.search, _words(function.__code__))):
                    return True
    return False


def _words(code: CodeType) -> Iterator[str]:
    """A function's name, those of whatever it uses, and of what its inner functions use."""
    yield code.co_name
    yield from code.co_names
    yield from code.co_varnames
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _words(constant)
