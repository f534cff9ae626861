"""`facetry evaluate`: score a model on labelled products."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from facetry.cli.options import (
    CatalogueArgument,
    Dtype,
    Engine,
    Images,
    ModelArgument,
    Repairs,
    engine_config,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from facetry.catalogue.catalogue import Catalogue
    from facetry.catalogue.split import Split
    from facetry.evaluation.metrics import Evaluation
    from facetry.evaluation.robustness.scores import ScoreCache
    from facetry.models.folder import ModelFolder
    from facetry.predictions import Predictor
    from facetry.product import Product

Part = Literal["test", "validation", "train", "all"]

CORRUPTIONS = "poor_light, defocus, motion, noise, occlusion, clutter, watermark, jpeg"
"""The names of all kinds of damage; the module that has the kinds is too slow to import for a help."""


def evaluate(
    model: ModelArgument,
    catalogue: CatalogueArgument,
    images: Images = None,
    repairs: Repairs = None,
    part: Annotated[Part, typer.Option(help="Which part of the model's split to score.")] = "test",
    split: Annotated[
        Path | None, typer.Option(help="Split or folds to use in place of the model's own split.")
    ] = None,
    fold: Annotated[
        int | None, typer.Option(min=0, help="With saved folds: the one to test on.")
    ] = None,
    per_head: Annotated[bool, typer.Option("--per-head", help="Show a row for each head.")] = False,
    report: Annotated[Path | None, typer.Option(help="Also write an HTML report here.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Also write all figures here.")] = None,
    corruptions: Annotated[
        bool, typer.Option("--corruptions", help="Also score damaged photos: noise, blur, JPEG, ...")
    ] = False,
    corruption: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"Only this damage; may be repeated: {CORRUPTIONS}."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for report and figures on damaged photos."),
    ] = None,
    engine: Engine = "torch",
    dtype: Dtype = "auto",
) -> None:
    """Score a model by the challenge's metric on products whose labels are known."""
    import json
    from contextlib import nullcontext

    from facetry.batch.fill.cells import require_own_labels
    from facetry.build.load import load
    from facetry.build.results import evaluate_members, report_model
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.cli.console import make_console, make_reporter
    from facetry.cli.split import given_split
    from facetry.errors import SettingError
    from facetry.evaluation.tables import scores_json, scores_table, unscored_line
    from facetry.images.corruptions import choose_corruptions
    from facetry.models.folder import open_folder
    from facetry.runtime.extras import require
    from facetry.runtime.files import write_text

    kinds = choose_corruptions(corruption or ()) if corruptions or corruption else ()
    if out and not kinds:
        raise SettingError("--out is for damaged photos.", hint="Add --corruptions, or leave it out.")
    if report:
        require("A report", "matplotlib")
    # Without engine options the trained model itself is scored: it is the reference for all engines.
    is_plain = engine == "torch" and dtype == "auto"
    config = None if is_plain else engine_config(engine, dtype)
    folder = open_folder(model)
    opened = open_catalogue(catalogue, images=images, taxonomy=folder.taxonomy, repairs=repairs)
    opened.require_sound()
    opened.require_photos()
    require_own_labels(opened)
    chosen, rows = _choose(opened, model, part, given_split(split, fold, opened))
    products = _labelled_products(opened, rows)
    predictor = load(folder, config, reporter=make_reporter())  # last: it may take a minute
    opened_cache = nullcontext() if out is None else _open_cache(out, folder, opened, products)
    with opened_cache as cache:
        evaluations = evaluate_members(predictor, products, reporter=make_reporter())
        result = list(evaluations.values())[-1]
        facts = {"Model": model.name, "Catalogue": catalogue.name, "Part": part}
        console = make_console()
        for line in _remarks(opened, model, chosen, rows):
            console.print(line)
        console.print(scores_table(result.scores, per_head=per_head))
        if line := unscored_line(result.predictions, result.products):
            console.print(line)
        if json_out:
            write_text(json_out, json.dumps(scores_json(result.scores), indent=1))
        if report:
            report_model(report, folder, evaluations, facts)
            console.print(f"Report: {report}")
        if kinds:
            _score_damaged(predictor, result, kinds, cache, facts)


def _remarks(
    opened: "Catalogue", model: Path, chosen: "Split | None", rows: "NDArray[np.int64]"
) -> "Iterator[str]":
    """What is to be known of the scores: repairs, products learned from, values never learned."""
    from facetry.catalogue.split import unseen_values
    from facetry.evaluation.held_out import count_trained_on

    if line := opened.repairs.describe():
        yield line
    if num_learned := count_trained_on(model, opened, rows):
        yield (
            f"The model has learned from, or was chosen by, {num_learned:,} of these {len(rows):,} "
            "products: on others it will score lower."
        )
    if chosen and (line := unseen_values(opened, chosen, rows)):
        yield line


def _score_damaged(
    predictor: "Predictor",
    clean: "Evaluation",
    kinds: "Sequence[str]",
    cache: "ScoreCache | None",
    facts: dict[str, str],
) -> None:
    """Score photos with each kind of damage; show and write the loss against clean photos."""
    from facetry.cli.console import make_console, make_reporter
    from facetry.evaluation.robustness.page import (
        largest_losses_table,
        robustness_table,
        write_robustness,
    )
    from facetry.evaluation.robustness.scores import score_damaged

    console, products = make_console(), clean.products
    found = score_damaged(
        predictor, products, kinds, clean.scores, cache=cache, reporter=make_reporter()
    )
    console.print(robustness_table(found))
    console.print(largest_losses_table(found))
    if cache:
        write_robustness(cache.folder, f"Facetry: {facts['Model']}", found, products, facts)
        console.print(f"Damaged photos: {cache.folder}")


def _open_cache(
    out: Path, model: "ModelFolder", opened: "Catalogue", products: "list[Product]"
) -> "AbstractContextManager[ScoreCache]":
    """Begin the folder for scores on damaged photos, or resume one of the same model and products."""
    from hashlib import sha256

    from facetry.catalogue.identity import catalogue_identity, upgraded_identity
    from facetry.evaluation.robustness.scores import ScoreCache

    ids = "\n".join(str(product.id) for product in products)
    identity = {
        "model": model.fingerprint,
        **catalogue_identity(opened),
        "products": sha256(ids.encode()).hexdigest(),
    }

    def upgrade(found: "dict[str, Any]") -> "dict[str, Any]":
        """Version 0.1.0 told models apart by their own checksums, without those of members."""
        if found["model"] == sha256(model.checksums_file).hexdigest():
            found = {**found, "model": model.fingerprint}
        return upgraded_identity(found, opened)

    return ScoreCache.open(out, identity, upgrade=upgrade)


def _choose(
    opened: "Catalogue", model: Path, part: Part, split: "Split | None"
) -> "tuple[Split | None, NDArray[np.int64]]":
    """The split that applies, None if all products are scored, and the rows of one part.

    Raises:
        CatalogueError: the part is empty, the split is of another table, or --split does not apply.
    """
    import numpy as np

    from facetry.catalogue.split import read_split
    from facetry.errors import CatalogueError
    from facetry.evaluation.held_out import SPLIT

    if part == "all" and split:
        raise CatalogueError(
            "--part all scores every product, so --split has no effect.", hint="Leave one of them out."
        )
    if part == "all":
        rows = np.arange(len(opened))
    else:
        if split is None:
            _require_own(opened, model)
            split = read_split(model / SPLIT, opened)
        rows = split.rows(part)
    if not len(rows):
        raise CatalogueError(
            f"The split has no {part} product.", hint="Use --part validation or --part all."
        )
    return split, rows


def _labelled_products(opened: "Catalogue", rows: "NDArray[np.int64]") -> "list[Product]":
    """The products of some rows.

    Raises:
        CatalogueError: none of them has a label.
    """
    from facetry.errors import CatalogueError

    products = opened.products(rows)
    if not any(product.labels for product in products):
        raise CatalogueError(
            f"{opened.source.table.name} has no label to score against.",
            hint="`facetry predict` fills in a table without labels.",
        )
    return products


def _require_own(opened: "Catalogue", model: Path) -> None:
    """Raise unless the model was trained on this table: its split does not apply to another."""
    from facetry.catalogue.identity import catalogue_identity
    from facetry.errors import CatalogueError
    from facetry.runtime.resumable import read_record

    job = read_record(model)
    if not job:
        raise CatalogueError(
            f"{str(model)!r} was not trained here, so it has no split of {opened.source.table.name}.",
            hint="Score every product with --part all, or name a split of this table with --split.",
        )
    if job.get("catalogue") != catalogue_identity(opened)["catalogue"]:
        raise CatalogueError(
            f"{opened.source.table.name} is not the table that {str(model)!r} was trained on, so the "
            "model's split does not apply.",
            hint="If labels were repaired for training, name the file with --repairs. Otherwise score "
            "every product with --part all, or name a split of this table with --split.",
        )
