"""The command line: `attnwidget export` and `attnwidget info`. It loads torch and transformers when a model is run."""

from attnwidget.cli.app import main

__all__ = ["main"]
