"""Rows to stdout, in the format that was asked for."""

import sys
from collections.abc import Mapping, Sequence

import click

from etl.report.render import FORMATS, render

format_option = click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="How rows are written."
)


def write(rows: Sequence[Mapping[str, object]], columns: Sequence[str], form: str, hint: str = "") -> None:
    """Write rows; where there are none, the hint on stderr says so, or what to do."""
    sys.stdout.write(render(rows, columns, form, terminal=sys.stdout.isatty()))
    if not rows and hint:
        sys.stderr.write(hint + "\n")
