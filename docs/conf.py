"""How the site is built: `make docs`, into build/docs. Nothing of it is fetched, neither now nor when it is read."""

import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "scripts")]

from live_pages import write  # noqa: E402 - found on the path above

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "attnwidget"
author = "The attnwidget authors"
copyright = author  # noqa: A001 - Sphinx's name
version = release = installed("attnwidget")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "repository",
    "codelinks",
    "measures",
]
exclude_patterns = ["_ext"]
nitpicky = True

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# A dictionary that a default is made of says nothing to who reads a signature.
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
napoleon_numpy_docstring = False
napoleon_use_ivar = False

# Types in signatures that have no place in the API: those of Python, PyTorch and NumPy, since the site is built without
# asking their sites for an index, and short names of ours for things whose description says what they may be.
_OUTSIDE = r"(torch|numpy|np|nn|traitlets|t|os|pathlib|collections|typing)\..*|NDArray|Path|PathLike|float32|float64"
_SHORT = (
    *("Aggregation", "Aligned", "Asked", "Block", "Bools", "Captures", "Dtype", "Floats", "Given", "Index", "LogSums"),
    *("Measuring", "Mode", "OnError", "Picks", "Pooling", "Reduce", "ScoreModifier", "Select", "Span", "Target"),
    *("TokenNames", "Values", "Where"),
)
nitpick_ignore_regex = [("py:(class|exc|obj)", "|".join([_OUTSIDE, *_SHORT]))]

html_theme = "furo"
pygments_style = "friendly"
pygments_dark_style = "github-dark"
html_title = "attnwidget"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["live.js"]
html_copy_source = False
html_show_sourcelink = False
copybutton_exclude = ".linenos, .gp, .go"


def setup(app: "Sphinx") -> None:
    """Put the live views of the gallery beside the pages, where their frames look for them."""
    app.connect("build-finished", lambda built, error: error or write(Path(built.outdir) / "live"))
