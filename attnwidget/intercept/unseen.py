"""What ran beside the attention that was seen: layers of another kind, and attention that Python could not see."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from attnwidget.attention.layertable import NUMBER, ranges, starred
from attnwidget.intercept.scripted import scripted_in
from attnwidget.intercept.written import as_written, written_modules

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

# The short names count as whole parts of a name only. In models of proteins MSA is an alignment of sequences, and what
# embeds one or puts one through a feed-forward layer is no attention. Convolutions of graphs may weigh edges.
_ATTENTION = re.compile(
    r"(?i:attention|attn|multihead)|(?:GAT(?:v2)?|Transformer|HGT|HAN|AGNN|FA)Conv(?![a-z])"
    r"|(?<![A-Z])(?:MHA|MHSA|(?:S?W_?)?MSA)(?![a-z]|\w*(?:Embed|Transition|Input|Head))"
    r"|(?:Mha|Mhsa|Msa)(?![a-z])|(?<![a-z])(?:mha|mhsa|msa)(?![a-z])"
)
# What mixes tokens without a softmax over them, as modules are called: there are no weights to see.
_OTHER = re.compile(
    r"mamba|(?<!cro)ssm|linear_?att|delta_?net|gated_?delta|recurrent|rg_?lru|rwkv|lightning|retention|hyena|short_?conv|kda|"
    r"fourier|lstm|gru|xlstm|mlstm|slstm|gated_?linear",
    re.IGNORECASE,
)
# A part of a layer, kept in a list with its attention (T5), and no layer of another kind.
_FEED_FORWARD = re.compile(r"FF$|FFN|FeedForward|MLP$|Mlp$")
_OUTPUT = re.compile(r"output|projection", re.IGNORECASE)
_OUTPUT_LAST = re.compile(r"(Output|Projection)$")


class Unseen(NamedTuple):
    """What a capture should tell of a run.

    Attributes:
        notes: layers of another kind, named as such.
        doubts: attention that ran and was not seen.
    """

    notes: list[str]
    doubts: list[str]


def unseen(modules: Sequence[tuple[str, nn.Module]], seen: Collection[str], ran: Collection[int]) -> Unseen:
    """Compare what ran with what was seen.

    Args:
        modules: of the watched tree, with their paths.
        seen: paths of the modules whose attention was recorded.
        ran: ids of modules in which a linear map ran.

    Returns:
        Sentences for the capture.
    """
    running = _with_outer(path for path, module in modules if id(module) in ran)
    inside = _with_outer(seen)
    # A model has hundreds of modules, of few classes.
    attending = {kind for kind in {type(module) for _, module in modules} if _speaks(_ATTENTION, kind.__name__)}
    called = [(path, type(module).__name__) for path, module in modules if type(module) in attending]
    # Called attention, and holding attention that was seen: what is called its output is a part of that.
    whole = {path for path, _ in called if path and path in inside}
    blind: dict[str, str] = {}
    for path, kind in called:
        if path not in running or path in inside or _speaks(_OTHER, kind):
            continue
        if _speaks(_OUTPUT, kind) and not whole.isdisjoint(_prefixes(path)):
            continue
        if _speaks(_OUTPUT_LAST, kind) and path.rpartition(".")[0] in inside:  # beside an attention that was seen
            continue
        if not _speaks(_OTHER, path.rpartition(".")[2]) and not _covered(path, seen, inside):
            inner = [other for other in blind if path.startswith(f"{other}.")]
            for outer in inner:  # the innermost is the one that attends
                del blind[outer]
            blind[path] = kind
    others = {
        path: kind
        for path, kind in _others(modules, seen, inside)
        if path in running and not any(_within(one, path) for one in blind)
    }
    notes = [f"{place} hold no softmax attention and so no weights" for place in _places(others)]
    doubts = [f"{place} ran, and no attention of theirs was seen" for place in _places(blind)]
    uncovered = ((path, module) for path, module in modules if path in running and not _covered(path, seen, inside))
    for scripted, kinds in scripted_in(uncovered).items():
        (doubts if scripted.attends else notes).extend(
            f"{scripted.name}, a TorchScript function called by {place}, takes a softmax that Python cannot see: if it "
            "is attention, it is not in this capture"
            for place in _places(kinds)
        )
    return Unseen(notes, doubts)


@lru_cache(maxsize=4096)
def _speaks(words: re.Pattern[str], name: str) -> bool:
    """Whether a name holds one of these words."""
    return words.search(name) is not None


def _with_outer(paths: Iterable[str]) -> set[str]:
    """Paths, and those of the modules they are in, down to the root's."""
    found: set[str] = set()
    for path in paths:
        for prefix in _prefixes(path):
            if prefix in found:
                break
            found.add(prefix)
    return found


def _prefixes(path: str) -> Iterator[str]:
    """A path, and those of the modules it is in, down to the root's."""
    yield path
    while path:
        path = path.rpartition(".")[0]
        yield path


def _others(
    modules: Sequence[tuple[str, nn.Module]], seen: Collection[str], inside: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Layers without attention in lists of layers in which others have it, and the part that mixes tokens in them."""
    for path, module in modules:
        if not isinstance(module, nn.ModuleList) or path not in inside:
            continue
        for name, layer in module.named_children():
            place = f"{path}.{name}" if path else name
            if _covered(place, seen, inside) or _speaks(_FEED_FORWARD, type(layer).__name__):
                continue
            parts = [
                (f"{place}.{part}", type(child).__name__)
                for part, child in written_modules(layer)
                if part and (_speaks(_OTHER, type(child).__name__) or _speaks(_OTHER, part.rpartition(".")[2]))
            ]
            yield parts[0] if parts else (place, type(as_written(layer)).__name__)


def _places(modules: dict[str, str]) -> list[str]:
    """Paths that differ in the number of the layer alone, said once: "layers 0-2, 4 (layers.*.mixer, Mamba)"."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path, kind in modules.items():
        groups[starred(path), kind].append(path)
    texts = []
    for (pattern, kind), paths in groups.items():
        numbers = [[int(number) for number in NUMBER.findall(path)] for path in paths]
        if pattern.count("*") == 1:
            texts.append(f"{pattern} ({kind}; * = {ranges(number for (number,) in numbers)})")
        else:
            shown = paths[0] if len(paths) == 1 else f"{pattern}, {len(paths)} of them,"
            texts.append(f"{shown} ({kind})")
    return texts


def _within(path: str, outer: str) -> bool:
    return not outer or path == outer or path.startswith(f"{outer}.")


def _covered(path: str, seen: Collection[str], inside: Collection[str]) -> bool:
    """Whether attention was recorded in a module, in a part of it, or in what it is part of."""
    return path in inside or any(prefix in seen for prefix in _prefixes(path))
