"""`facetry demo`: the whole workflow on a synthetic catalogue."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("facetry-demo"),
    products: Annotated[int, typer.Option(min=50, help="How many products to draw.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="One seed drives everything.")] = 0,
) -> None:
    """Draw a catalogue, train two small models on it, ensemble, score, and fill in the blanks."""
    from facetry.cli.console import make_console, make_reporter
    from facetry.demo.run import DemoConfig, run_demo

    run_demo(out, DemoConfig(num_products=products, seed=seed), make_console(), make_reporter())
