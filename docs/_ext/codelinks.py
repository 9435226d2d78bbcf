"""Names in code lead to the API: `cap.weights(layer=3)` in a guide, `to_html` in a docstring, without any markup.

Docstrings and guides are read as plain text more often than on the site, so they hold no roles. A name that has a place
in the API is linked there; any other code stays as it is, and is no mistake.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

if TYPE_CHECKING:
    from docutils.parsers.rst.states import Inliner
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

OWNERS = {
    "aw": "attnwidget",
    "cap": "attnwidget.AttentionCapture",
    "view": "attnwidget.AttentionWidget",
    "model": "attnwidget.AttentionModel",
}
"""What the guides call things, always."""
_NAME = re.compile(r"([A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*)*)(\(.*\))?", re.DOTALL)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_role("code-or-link", _role)
    app.config.default_role = "code-or-link"
    app.add_transform(_Literals)
    app.connect("missing-reference", _found_or_plain)
    app.connect("autodoc-process-docstring", _no_type_in_front, priority=400)
    app.connect("autodoc-process-signature", _short_arrays)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _role(
    _name: str, _raw: str, text: str, _line: int, inliner: Inliner, *_rest: object
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    return [_linked(text, inliner.document.settings.env)], []


class _Literals(SphinxTransform):
    default_priority = 400

    def apply(self) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            if not isinstance(literal.parent, (addnodes.pending_xref, nodes.reference, nodes.title)):
                literal.replace_self(_linked(literal.astext(), self.env))


def _linked(text: str, env: BuildEnvironment) -> nodes.Element:
    literal = nodes.literal(text, text)
    found = _NAME.fullmatch(text)
    if found is None:
        return literal
    first, dot, rest = found[1].partition(".")
    target = f"{OWNERS[first]}.{rest}" if dot and first in OWNERS else found[1]
    return addnodes.pending_xref(
        "", literal, refdomain="py", reftype="obj", reftarget=target, refexplicit=True, refdoc=env.docname,
        maybe=True, **{name: env.ref_context.get(name) for name in ("py:module", "py:class")},
    )  # fmt: skip


def _found_or_plain(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """What the Python domain did not find: the one object of this name, wherever it is; else code stays code.

    Annotations name classes as their module imports them (`Tile`, or by the file where it is defined), and the API
    has them where people import them from.
    """
    if node.get("refdomain") != "py":
        return None
    last = node["reftarget"].rpartition(".")[2]
    domain = env.domains.python_domain
    places = [name for name in domain.objects if name.rpartition(".")[2] == last] if last[:1].isupper() else []
    if len(places) == 1:
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", places[0], node, content)
    return content if node.get("maybe") else None


def _short_arrays(*described: Any) -> tuple[str | None, str | None]:  # noqa: ANN401 - as Sphinx calls it
    """Write `NDArray[float32]` as the source does, where Sphinx found out what that stands for."""
    arguments, returned = (
        text and re.sub(r"ndarray\[tuple\[(?:typing\.)?Any, \.\.\.\], dtype\[([\w.]+)\]\]", r"NDArray[\1]", text)
        for text in described[-2:]
    )
    return arguments, returned


def _no_type_in_front(_app: Sphinx, what: str, *rest: object) -> None:
    """Let napoleon read "Bytes held, by where they are: memory, disk" of a property as a sentence, not as a type."""
    lines = rest[-1]
    if what in {"property", "attribute"} and isinstance(lines, list):
        lines[:0] = ["..", ""]  # an empty comment; a blank line alone is skipped
