"""The commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnwidget.cli import options as o  # noqa: TC001 - typer reads the annotations
from attnwidget.cli.exporting import Output
from attnwidget.cli.failing import plainly
from attnwidget.cli.running import Run, is_capture_file, read_text
from attnwidget.cli.values import format_of, parse_layers, parse_size
from attnwidget.cli.writing import check_target

_EXIT_CODES = "Exit codes: 0 done; 1 it could not be done, stderr says why; 2 the command line makes no sense."
app = typer.Typer(
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line."""
    app(prog_name="attnwidget")


def _version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        import attnwidget

        typer.echo(f"attnwidget {attnwidget.__version__}")
        raise typer.Exit


@app.callback()
def _attnwidget(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """See what a transformer looks at: pages, figures and captures, made without a notebook."""


@app.command(epilog=_EXIT_CODES, no_args_is_help=True)
def export(
    source: o.SourceArgument,
    *,
    text: o.TextOption = None,
    input_file: o.InputOption = None,
    pair: o.PairOption = None,
    generate: o.GenerateOption = 0,
    layers: o.LayersOption = None,
    device: o.DeviceOption = None,
    dtype: o.DtypeOption = None,
    layer: o.LayerOption = 0,
    head: o.HeadOption = 0,
    panel: o.PanelOption = None,
    output: o.OutputOption,
    format_: o.FormatOption = None,
    max_bytes: o.MaxBytesOption = None,
    force: o.ForceOption = False,
    traceback: o.TraceOption = False,
) -> None:
    """Run a model on a text, and write what it looks at into one file.

    [cyan]attnwidget export bert-base-uncased --text "The cat sat on the mat" -o cat.html[/cyan]

    [cyan]attnwidget export ./my-model --input prompt.txt --generate 20 -o run.safetensors[/cyan]

    [cyan]attnwidget export run.safetensors --layer 3 --head 5 -o head.png[/cyan]
    """
    out = Output(
        path=output.expanduser(),
        format=format_of(output, format_),
        force=force,
        layer=layer,
        head=head,
        panel=panel or "heatmap",
        max_bytes=None if max_bytes is None else parse_size(max_bytes),
    )
    if max_bytes is not None and out.format != "html":
        raise typer.BadParameter(f"--max-bytes is of pages, and {output.name} becomes {out.format}")
    if panel is not None and out.format not in ("png", "svg"):
        raise typer.BadParameter(f"--panel is of figures, and {output.name} becomes {out.format}")
    saved = is_capture_file(source)
    of_a_run = {
        "--text": text,
        "--input": input_file,
        "--pair": pair,
        "--generate": generate or None,
        "--layers": layers,
        "--device": device,
        "--dtype": dtype,
    }
    given = [name for name, value in of_a_run.items() if value is not None]
    if saved and given:
        raise typer.BadParameter(f"{source} is a saved capture, which is not run again: leave out {', '.join(given)}")
    if not saved and (text is None) == (input_file is None):
        which = "neither is there" if text is None else "both are there"
        raise typer.BadParameter(f"a model reads --text or --input, and {which}")
    picked = None if layers is None else parse_layers(layers)
    with plainly(trace=traceback):
        from attnwidget.attention.memory import size_text

        check_target(out.path, force=force)
        if saved:
            from attnwidget.saving import load

            said = out.write(load(source), Path(source).expanduser())
        else:
            read = text if text is not None else read_text(Path(input_file or "-"))
            run = Run(source, read if pair is None else (read, pair), generate, picked, device, dtype)
            said = out.write(run.capture(), None)
        typer.echo(f"{output}: {size_text(out.path.stat().st_size)}. {said}")


@app.command(epilog=_EXIT_CODES, no_args_is_help=True)
def info(
    file: o.FileArgument,
    *,
    json: o.JsonOption = False,
    check: o.CheckOption = False,
    traceback: o.TraceOption = False,
) -> None:
    """Say what a saved capture holds: model, stacks, layers, heads, tokens, and how it was captured.

    Its header is read, and nothing else: it takes no torch, and no memory for a file of any size.
    """
    with plainly(trace=traceback):
        from attnwidget.saving import about, load

        found = about(file)
        if check:
            load(file)
        typer.echo(found.json() if json else found.text())
