"""The arguments and options of the commands, and what `--help` says of each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from attnwidget.cli.values import FORMATS, Format

_RUN, _SHOWN, _FILE, _REST = "What is run", "What is shown first", "What is written", "Other"
Dtype: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]
Panel: TypeAlias = Literal["grid", "heatmap", "lines", "graph", "text", "detail"]

SourceArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A name on the model hub, a folder that save_pretrained wrote, or a saved capture (FILE.safetensors), "
        "which needs no text.",
    ),
]
TextOption: TypeAlias = Annotated[
    str | None, typer.Option("--text", "-t", metavar="TEXT", help="What the model reads.", rich_help_panel=_RUN)
]
InputOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--input", "-i", metavar="FILE", help="Read the text from a file; - is stdin.", rich_help_panel=_RUN),
]
PairOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--pair", metavar="TEXT", help="A second text, for models that read two.", rich_help_panel=_RUN),
]
GenerateOption: TypeAlias = Annotated[
    int, typer.Option("--generate", metavar="N", min=0, help="Go on by N tokens.", rich_help_panel=_RUN)
]
LayersOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--layers", metavar="LAYERS", help="Keep only these, from 0: 0,3-5.", rich_help_panel=_RUN),
]
DeviceOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--device", metavar="DEVICE", help="Where it runs: cpu, cuda, cuda:1, mps.", rich_help_panel=_RUN),
]
DtypeOption: TypeAlias = Annotated[
    Dtype | None, typer.Option("--dtype", help="What the weights are loaded as.", rich_help_panel=_RUN)
]
LayerOption: TypeAlias = Annotated[
    int, typer.Option("--layer", metavar="N", min=0, help="Layer, from 0.", rich_help_panel=_SHOWN)
]
HeadOption: TypeAlias = Annotated[
    int, typer.Option("--head", metavar="N", min=0, help="Head, from 0.", rich_help_panel=_SHOWN)
]
PanelOption: TypeAlias = Annotated[
    Panel | None, typer.Option("--panel", help="What a figure shows; heatmap if not said.", rich_help_panel=_SHOWN)
]
OutputOption: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Its ending says what it becomes: a page that works offline (.html), a capture for aw.load "
        "(.safetensors), a figure of one panel (.png, .svg).",
        rich_help_panel=_FILE,
    ),
]
FormatOption: TypeAlias = Annotated[
    Format | None,
    typer.Option("--format", metavar="|".join(FORMATS), help="In place of the ending of -o.", rich_help_panel=_FILE),
]
MaxBytesOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--max-bytes",
        metavar="SIZE",
        help="The most that the weights in a page may take, 8MB if not said. The most useful go first, and the page "
        "says what is left out.",
        rich_help_panel=_FILE,
    ),
]
ForceOption: TypeAlias = Annotated[
    bool, typer.Option("--force", "-f", help="Replace a file that is there.", rich_help_panel=_FILE)
]
TraceOption: TypeAlias = Annotated[
    bool, typer.Option("--traceback", help="Say where an error was raised.", rich_help_panel=_REST)
]
FileArgument: TypeAlias = Annotated[str, typer.Argument(metavar="FILE", help="A capture that cap.save wrote.")]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
CheckOption: TypeAlias = Annotated[
    bool,
    typer.Option("--check", help="Load it as aw.load does, which checks that all of its parts fit each other."),
]
