"""Registers the commands, and turns errors into one readable message and an exit code.

Exit codes: 0 done, 1 a fault of ours, 2 the user's mistake, 130 stopped with Ctrl-C.
"""

import os
import sys
from typing import Annotated, NoReturn

import typer

from facetry.cli import (
    audit,
    check,
    compare,
    demo,
    evaluate,
    export,
    import_,
    models,
    predict,
    sample,
    search,
    split,
    train,
    tune,
)
from facetry.errors import FacetryError

app = typer.Typer(
    name="facetry",
    help="Fill in product attributes from photos, and know how sure to be.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich would take longer to import than all the rest
)

for command in (
    demo.demo,
    sample.sample,
    check.check,
    audit.audit,
    split.split,
    train.train,
    tune.tune,
    compare.compare,
    evaluate.evaluate,
    predict.predict,
    export.export,
    search.search,
    models.models,
):
    app.command()(command)
app.command("import")(import_.import_)  # a word that no function can be called by

Debug = Annotated[bool, typer.Option("--debug", help="Show the trace of an error.")]


@app.callback()
def options(debug: Debug = False) -> None:
    """Fill in product attributes from photos, and know how sure to be."""
    if debug:
        os.environ["FACETRY_DEBUG"] = "1"


def main() -> None:
    """Run the command line; `--debug` may stand anywhere."""
    # Torch's threads wait for each other by spinning unless told otherwise before it is imported:
    # beside another busy process on two cores that made training 6 to 14 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = sys.argv[1:]
    if "--debug" in words:
        words = ["--debug", *(word for word in words if word != "--debug")]
    try:
        app(words)
    except FacetryError as error:
        _stop(error, error.message, error.hint)
    except OSError as error:
        _stop(error, _reason(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _reason(error: OSError) -> str:
    """A failure of the system in words: a full disk, a file where a folder should be."""
    if error.filename is None:
        return error.strerror or str(error)
    return f"Cannot read or write {os.fsdecode(error.filename)}: {error.strerror}."


def _stop(error: Exception, message: str, hint: str = "") -> NoReturn:
    if os.environ.get("FACETRY_DEBUG"):
        raise error
    from rich.text import Text

    from facetry.cli.console import make_console

    console = make_console(stderr=True)
    console.print(Text.assemble(("Error:", "bold red"), " ", message))
    if hint:
        console.print(hint)
    sys.exit(2)
