"""`python -m attnwidget`: the command line."""

from attnwidget.cli import main

main()
