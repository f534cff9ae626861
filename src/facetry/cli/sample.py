"""`facetry sample`: draw a synthetic catalogue to try Facetry on."""

from pathlib import Path
from typing import Annotated

import typer


def sample(
    out: Annotated[Path, typer.Argument(help="Folder to write; it must not exist yet.")],
    products: Annotated[int, typer.Option(min=1, help="How many products, train and test.")] = 3000,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="The same seed draws the same files.")
    ] = 0,
    size: Annotated[int, typer.Option(min=32, max=1024, help="Width of a photo in pixels.")] = 256,
    photos: Annotated[int, typer.Option(min=1, max=9, help="How many photos of each product.")] = 1,
    shop: Annotated[
        bool, typer.Option("--shop", help="Draw it as shops are: an untidy table of their own.")
    ] = False,
) -> None:
    """Draw a catalogue: five garment categories, 42 heads, real label frequencies, planted faults."""
    from facetry.cli.console import make_console, make_reporter
    from facetry.demo.garments import SampleConfig, draw_catalogue, require_free

    if shop:
        _draw_shop(out, products, seed, size)
        return
    config = SampleConfig(num_products=products, seed=seed, size_px=size, photos=photos)
    require_free(out)
    with make_reporter().bar("Drawing photos", products * photos) as advance:
        draw_catalogue(out, config, on_progress=advance)
    console = make_console()
    console.print(f"Drew {products:,} products into {out}. Their true values are in truth.parquet.")
    console.print(f"Next: facetry check {out}")


def _draw_shop(out: Path, products: int, seed: int, size: int) -> None:
    from facetry.cli.console import make_console
    from facetry.demo.shop import ShopConfig, draw_shop

    drawn = draw_shop(out, ShopConfig(num_products=products, seed=seed, size_px=size))
    console = make_console()
    console.print(f"Drew {products:,} products into {out}. Their true values are in truth.csv.")
    console.print(f"Next: facetry init {drawn.table} --images {drawn.images}")
