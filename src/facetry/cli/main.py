"""Registers the commands, and turns errors into one readable message and an exit code.

Exit codes: 0 done, 1 a fault of ours, 2 the user's mistake, 130 stopped with Ctrl-C.
"""

import os
import sys
from typing import Annotated

import typer

from facetry.cli import check, demo, evaluate, models, predict, sample, train
from facetry.errors import FacetryError

app = typer.Typer(
    name="facetry",
    help="Fill in product attributes from photos, and know how sure to be.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

for command in (
    demo.demo,
    sample.sample,
    check.check,
    train.train,
    evaluate.evaluate,
    predict.predict,
    models.models,
):
    app.command()(command)

Debug = Annotated[bool, typer.Option("--debug", help="Show the trace of an error.")]


@app.callback()
def options(debug: Debug = False) -> None:
    """Fill in product attributes from photos, and know how sure to be."""
    if debug:
        os.environ["FACETRY_DEBUG"] = "1"


def main() -> None:
    """Run the command line."""
    # Torch's threads wait for each other by spinning unless told otherwise before it is imported:
    # beside another busy process on two cores that made training 6 to 14 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except FacetryError as error:
        if os.environ.get("FACETRY_DEBUG"):
            raise
        _complain(error)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(error: FacetryError) -> None:
    from facetry.cli.console import make_console

    console = make_console(stderr=True)
    console.print(f"[bold red]Error:[/] {_plain(error.message)}")
    if error.hint:
        console.print(_plain(error.hint))


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
