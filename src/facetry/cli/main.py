"""Registers the commands, and turns errors and signals into one readable message and an exit code.

Exit codes: 0 done, or stopped by SIGTERM with all work saved; 1 a bug in Facetry, a row of a comparison
or a photo of a download that failed, or drift where `--check` looks for it; 2 an error that the user can
fix; 130 stopped with Ctrl-C.
"""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from facetry.cli import (
    audit,
    calibrate,
    check,
    compare,
    demo,
    drift,
    evaluate,
    export,
    fill,
    fill_audit,
    import_,
    init,
    keys,
    models,
    photos,
    predict,
    review,
    sample,
    search,
    serve,
    split,
    train,
    tune,
)
from facetry.cli.options import refuse_swapped
from facetry.errors import FacetryError
from facetry.runtime.objects import located
from facetry.runtime.signals import Stopped

app = typer.Typer(
    name="facetry",
    help="Fill in product attributes from photos, and know how sure to be.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing Rich would take longer than everything else
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RESUMABLE = frozenset(
    {
        demo.demo,
        audit.audit,
        train.train,
        tune.tune,
        compare.compare,
        evaluate.evaluate,
        predict.predict,
        fill.fill,
        photos.photos,
    }
)
"""Commands that resume where they stopped if `--out` names a folder."""


def _stoppable(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command: if a signal stops it, print how to resume it."""

    @wraps(command)
    def run(**options: object) -> None:
        try:
            options = {name: _located(value) for name, value in options.items()}
            refuse_swapped(command.__name__, options)
            command(**options)
        except Stopped:
            _say("Stopped by SIGTERM. Run the same command again to resume.")
        except KeyboardInterrupt:
            if command in _RESUMABLE and options.get("out"):
                _say("Stopped. Run the same command again to resume.")
            raise

    return run


def _located(value: object) -> object:
    """An option's value; where it is a path, it may be the address of objects."""
    return located(value) if isinstance(value, Path) else value


def _say(text: str) -> None:
    from facetry.cli.console import make_console

    make_console().print(text)


for command in (
    demo.demo,
    sample.sample,
    init.init,
    photos.photos,
    check.check,
    audit.audit,
    split.split,
    train.train,
    tune.tune,
    compare.compare,
    evaluate.evaluate,
    calibrate.calibrate,
    predict.predict,
    fill.fill,
    fill_audit.fill_audit,
    drift.drift,
    export.export,
    serve.serve,
    review.review,
    search.search,
    models.models,
):
    app.command()(_stoppable(command))
app.add_typer(keys.app, name="keys")
app.command("import")(_stoppable(import_.import_))  # a Python keyword, so not the name of a function

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def _show_version(is_wanted: bool) -> None:
    """Print the version and end, if that is what is wanted."""
    from importlib.metadata import version

    if is_wanted:
        typer.echo(f"facetry {version('facetry')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit."),
]


@app.callback()
def options(debug: Debug = False, version: Version = False) -> None:  # noqa: ARG001
    """Fill in product attributes from photos, and know how sure to be."""
    if debug:
        os.environ["FACETRY_DEBUG"] = "1"


def main() -> None:
    """Run the command line; `--debug` is accepted anywhere in it."""
    # By default torch's threads wait for each other by spinning; it must be set before the import.
    # Next to another busy process on two cores, spinning made training 6 to 14 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = sys.argv[1:]
    if "--debug" in words:
        words = ["--debug", *(word for word in words if word != "--debug")]
    try:
        app(words)
    except FacetryError as error:
        _stop(error, error.message, error.hint)
    except ImportError as error:
        _stop_at_import(error)
    except OSError as error:
        if not (reason := _explain(error, words)):
            _stop_at_bug(error)
        _stop(error, reason)
    except Exception as error:  # noqa: BLE001  # the last handler of the process
        _stop_at_bug(error)
    except KeyboardInterrupt:
        sys.exit(130)


_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_WRONG_PATH = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}
)


def _explain(error: OSError, words: Sequence[str]) -> str:
    """The message for an OSError that the user can fix; "" if it is a bug in Facetry.

    The user can fix a full disk, missing permissions, and a wrong path in the command line. Any other
    missing file is a bug.
    """
    path = "" if error.filename is None else os.fsdecode(error.filename)
    where = f"Cannot read or write {path}" if path else "Cannot write"
    if error.errno in _FULL:
        return f"{where}: {_FULL[error.errno]}."
    if error.errno in _DENIED or (error.errno in _WRONG_PATH and _is_named(path, words)):
        return f"{where}: {error.strerror}."
    return ""


def _is_named(path: str, words: Sequence[str]) -> bool:
    """Whether a command line names the path, something below it, or something in the same folder.

    The same folder counts because drafts are written next to the file that was named.
    """
    folder = Path(path).absolute().parent
    named = (Path(word.rpartition("=")[2]).absolute() for word in words)
    return bool(path) and any(each.parent.is_relative_to(folder) for each in named)


def _stop(error: Exception, message: str, hint: str = "") -> NoReturn:
    """Print an error that the user can fix and exit; with `--debug`, raise it."""
    if os.environ.get("FACETRY_DEBUG"):
        raise error
    from rich.text import Text

    from facetry.cli.console import make_console

    console = make_console(stderr=True)
    console.print(Text.assemble(("Error:", "bold red"), " ", message))
    if hint:
        console.print(hint)
    sys.exit(2)


def _stop_at_import(error: ImportError) -> NoReturn:
    """Say which extra installs the package that could not be imported; any other failure is a bug."""
    from facetry.runtime.extras import missing_extra

    if (missing := missing_extra(error)) is None:
        _stop_at_bug(error)
    _stop(error, missing.message, missing.hint)


def _stop_at_bug(error: Exception) -> NoReturn:
    import traceback

    traceback.print_exception(error)
    sys.stderr.write("This is a bug in Facetry: please report it with the lines above.\n")
    sys.exit(1)
