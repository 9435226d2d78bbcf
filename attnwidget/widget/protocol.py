"""The constants of the wire. The same names stand in `js/src/protocol.ts`; a test compares the two."""

from __future__ import annotations

from typing import Final

PROTOCOL_VERSION: Final = 2

LOG2_MIN: Final = -32
"""The smallest weight a code tells from zero is 2 to this power."""

CODE_MASKED: Final = 0
CODE_MISSING: Final = 1
CODE_ZERO: Final = 2
CODE_FIRST: Final = 3
SQRT_FIRST: Final = 2
SQRT_STEPS: Final = 128
"""Codes of stored weights are even in their square root: the first stands for 0, the one so many steps on for 1."""

THUMBNAIL: Final = 48
"""Cells a side, at most, of a head in the grid."""

TILE: Final = 512
"""Cells a side, at most, of a head in the heatmap."""

PYRAMID_TILE: Final = 256
"""Cells a side of a tile of the pyramid, whose level l has cells of 2^l tokens a side."""

EXACT_CELLS: Final = 2**24
"""Weights under a tile up to which it is asked for exactly at once; larger ones are sampled first, then refined."""

SAMPLE_ROWS: Final = 2
"""Queries looked at under each cell of a sampled tile."""

MAX_REPLY_BYTES: Final = 16 * 2**20
MAX_IN_FLIGHT: Final = 2

EMBED_BUDGET: Final = 1_000_000
"""Bytes, compressed, of weights that travel inside the widget's state."""

PANELS: Final = ("grid", "heatmap", "lines", "graph", "text", "detail", "output")
DEFAULT_PANELS: Final = ("grid", "heatmap", "lines", "text")
"""The panels shown unless somebody says otherwise."""
DIRECTIONS: Final = ("from", "to")
SCALES: Final = ("linear", "sqrt", "log", "quantile")
COLORMAPS: Final = ("oslo", "cividis", "magma", "viridis")
THEMES: Final = ("auto", "light", "dark")
COMPONENTS: Final = ("size", "index")
THRESHOLD_KINDS: Final = ("weight", "mass")
MEASURES: Final = (
    *("weight", "lift", "score", "value-weighted", "value-weighted-layer"),
    *("rollout", "flow", "gradient"),
)
"""What a view shows of a pair: `attnwidget.analysis.PAIR_MEASURES`."""
DIVERGING: Final = ("auto", "vik", "berlin")
ABLATIONS: Final = ("zero", "mean", "uniform")
"""What takes the place of a head's result."""
METRICS: Final = ("loss", "probability", "logits")
"""Which number of the output is compared."""
AGGREGATES: Final = ("mean", "max")
OVER: Final = ("heads", "layer", "layers")
"""Of which heads an aggregate is: those selected in the layer, all of the layer, all of all layers."""
