"""`facetry split`: divide a catalogue into training, validation and test part, or into folds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from facetry.cli.options import CatalogueArgument, Images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy import int64
    from numpy.typing import NDArray
    from rich.table import Table

    from facetry.catalogue.catalogue import Catalogue
    from facetry.catalogue.split import Folds, GroupCounts, PartSummary, Split, SplitConfig
    from facetry.runtime.progress import Reporter


def split(
    catalogue: CatalogueArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .parquet or .csv.")],
    images: Images = None,
    method: Annotated[
        Literal["stratified", "random", "id_blocks"],
        typer.Option(
            help="All values evenly and near duplicates together; random; or by blocks of ids."
        ),
    ] = "stratified",
    validation: Annotated[float, typer.Option(min=0, max=1, help="Share for validation.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share for the test.")] = 0.1,
    calibration: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share for promises; default 0.1 from 1,000 products on."),
    ] = None,
    block_size: Annotated[int, typer.Option(min=1, help="Number of ids in a block of id_blocks.")] = 50,
    folds: Annotated[
        int | None,
        typer.Option(min=3, max=100, help="Write this many folds for cross-validation, not parts."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Another seed, another split.")] = 0,
) -> None:
    """Split a catalogue into parts or folds, for --split of train and evaluate."""
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.catalogue.split import (
        SplitConfig,
        count_groups,
        find_groups,
        require_split_name,
        summarise,
    )
    from facetry.cli.console import make_console, make_reporter

    require_split_name(out)
    if validation + test + (calibration or 0) >= 1:
        raise typer.BadParameter("validation, test and calibration together leave nothing to train on.")
    if folds is not None and method != "stratified":
        raise typer.BadParameter("folds are always stratified: leave out --method.")
    config = SplitConfig(
        method=method,
        validation=validation,
        test=test,
        calibration=calibration,
        block_size=block_size,
        seed=seed,
    )
    opened = open_catalogue(catalogue, images=images)
    opened.require_sound()
    reporter = make_reporter()
    groups = find_groups(opened, reporter=reporter)
    made, shares = _split(opened, groups, config, folds, reporter)
    made.save(out, opened)
    summaries = summarise(opened, made.codes, shares)
    console = make_console()
    console.print(_table(summaries))
    console.print(_lines(summaries, count_groups(groups, made.codes)))
    console.print(f"Written to {out}")


def given_split(path: Path | None, fold: int | None, catalogue: "Catalogue") -> "Split | None":
    """The split that --split and --fold name, if any.

    Raises:
        CatalogueError: --fold without --split, or a file that does not fit the catalogue.
    """
    from facetry.catalogue.split import read_split
    from facetry.errors import CatalogueError

    if path is not None:
        return read_split(path, catalogue, fold=fold)
    if fold is not None:
        raise CatalogueError("--fold needs a file of saved folds.", hint="Name --split FILE.")
    return None


def _split(
    catalogue: "Catalogue",
    groups: "NDArray[int64]",
    config: "SplitConfig",
    num_folds: int | None,
    reporter: "Reporter",
) -> "tuple[Split | Folds, dict[str, float]]":
    """The split or, with `num_folds`, the folds; and the intended share of each part."""
    from facetry.catalogue.split import Folds, make_folds, make_split

    seed = config.seed or 0
    if num_folds is None:
        split = make_split(catalogue, config, seed=seed, groups=groups, reporter=reporter)
        return split, {str(part): share for part, share in config.shares(len(catalogue)).items()}
    codes = make_folds(catalogue, num_folds, seed=seed, groups=groups, reporter=reporter)
    shares = {f"fold {fold}": 1 / num_folds for fold in range(num_folds)}
    return Folds(codes, num_folds, groups), shares


def _table(parts: "Sequence[PartSummary]") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from facetry.catalogue.split.stratify import MIN_EXAMPLES

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("part")
    for name in ("products", "share", "target", "labels", "off by"):
        table.add_column(name, justify="right")
    table.add_column(f"at worst (values with {MIN_EXAMPLES} examples)", ratio=1)
    for part in parts:
        table.add_row(
            part.name,
            f"{part.num_products:,}",
            f"{part.share:.2%}",
            f"{part.requested:.2%}",
            f"{part.num_labels:,}",
            f"{part.deviation:.2%}" if part.worst else "-",
            Text(part.worst or "-"),
        )
    return table


def _lines(parts: "Sequence[PartSummary]", groups: "GroupCounts") -> str:
    """How many groups of near-duplicate photos are divided, and which parts lack values."""
    num_whole = groups.num_shared - groups.num_cut
    counted = f"{groups.num_shared:,} of several products ({groups.num_groups:,} in all)"
    lines = [
        f"Groups of near-duplicate photos: {counted}, {num_whole:,} whole, {groups.num_cut:,} divided.",
    ]
    lines += [
        f"Values that are absent from {part.name}: {part.num_absent:,}."
        for part in parts
        if part.num_absent
    ]
    return "\n".join(lines)
