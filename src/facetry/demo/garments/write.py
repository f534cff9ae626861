"""Write a drawn catalogue in the challenge's layout, with titles; all of it or, after an error, nothing.

Titles have a generator of their own, so that photos and labels do not depend on them.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final

import polars as pl

from facetry.catalogue.values import write_attribute_list
from facetry.demo.garments.config import SampleConfig, SampleSummary
from facetry.demo.garments.labels import MISSING, Indices, load_facts
from facetry.demo.garments.plan import Block, Plan, plan_products
from facetry.demo.garments.render import render_photos
from facetry.errors import FolderMismatch, FolderOccupied
from facetry.runtime.files import writing_folder
from facetry.taxonomy import Taxonomy

UNTITLED_SHARE: Final = 0.15
"""The share of products without a title."""

NAMED_SHARE: Final = 0.5
"""How often a title names an attribute."""

MISSPELT_SHARE: Final = 0.05
"""The share of words that are misspelt."""

NUM_COLUMNS: Final = 10
"""The table's label columns; a category with fewer attributes leaves the rest empty."""

_SUMMARY: Final = "truth.json"
_KEYS: Final = SampleConfig.model_fields.keys() - {"workers"}
"""The settings that the drawn files depend on."""

_SEVERAL_PHOTOS: Final = """table: train.csv
images: train_images
taxonomy: category_attributes.parquet
photo_pattern: "{id:06d}*.jpg"
"""

_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "Men Tshirts": ("t-shirt for men", "men tshirt", "mens tee"),
    "Sarees": ("saree", "sari", "saree with blouse piece"),
    "Kurtis": ("kurti", "women kurti", "kurta for women"),
    "Women Tshirts": ("t-shirt for women", "women tshirt", "ladies top"),
    "Women Tops & Tunics": ("top", "women top", "tunic for women"),
}
_OPENINGS: Final = ("", "", "trendy ", "stylish ", "new ", "beautiful ", "premium ")
_LEADING: Final = {"color": "", "pattern": "", "print_or_pattern_type": ""}
_TRAILING: Final = {
    "neck": "neck",
    "neck_collar": "neck",
    "border": "border",
    "border_width": "border",
    "pallu_details": "pallu",
    "blouse_pattern": "blouse",
    "sleeve_length": "",
    "sleeve_styling": "sleeves",
    "fit_shape": "fit",
    "length": "length",
    "ornamentation": "work",
    "surface_styling": "",
    "occasion": "wear",
    "ocassion": "wear",
}
"""Attributes that titles name before or after the kind of garment -> the word that follows the value"""


def draw_titles(block: Block, seed: int) -> list[str | None]:
    """Draw a title for each product of a block, None for some."""
    return [
        draw_title(
            block.facts.name, block.values(index), Random(f"{seed}/{block.first_number + index}/title")
        )
        for index in range(len(block))
    ]


def draw_title(category: str, values: Mapping[str, str], rng: Random) -> str | None:
    """Draw a title, or None, for a product with these true values.

    >>> draw_title("Sarees", {"color": "navy blue", "border": "zari"}, Random(3))
    'New sari zari border'
    """
    if rng.random() < UNTITLED_SHARE:
        return None
    before, after = (_named_values(values, words, rng) for words in (_LEADING, _TRAILING))
    rng.shuffle(after)
    text = rng.choice(_OPENINGS) + " ".join([*before, rng.choice(_KINDS[category]), *after])
    title = " ".join(_misspell(word, rng) for word in text.split())
    return title.title() if rng.random() < 0.3 else title[0].upper() + title[1:]


def _named_values(values: Mapping[str, str], words: Mapping[str, str], rng: Random) -> list[str]:
    """Draw the values that a title names, each with the word that follows it."""
    named = []
    for attribute, word in words.items():
        value = values.get(attribute, "")
        has_name = value and value != "default" and not value.startswith("same as")
        if rng.random() < NAMED_SHARE and has_name:
            named.append(value if value.endswith((word, "sleeveless")) else f"{value} {word}")
    return list(dict.fromkeys(named))


def _misspell(word: str, rng: Random) -> str:
    """The word, but sometimes with two letters swapped or one left out."""
    if rng.random() >= MISSPELT_SHARE or len(word) < 4:
        return word
    index = rng.randrange(1, len(word) - 1)
    if rng.random() < 0.5:
        return word[:index] + word[index + 1 :]
    return word[:index] + word[index + 1] + word[index] + word[index + 2 :]


def draw_catalogue(
    out: Path, config: SampleConfig, *, on_progress: Callable[[int], None] | None = None
) -> SampleSummary:
    """Draw a catalogue into `out`: tables, photos and, in `truth.*`, the products' true values.

    With several photos per product a `catalogue.yaml` is written that finds them all; without it only
    the first is found. `on_progress` is called with the number of photos done since the last call. The
    same configuration gives the same bytes in every file, whatever the number of workers.

    Raises:
        FolderOccupied: `out` exists and is not an empty folder.
    """
    plan = plan_products(config)
    summary = _summarise(plan, config, out)
    require_free(out)
    with writing_folder(out, is_durable=False) as folder:
        _write_tables(plan, folder, config.seed)
        _write_truth(plan, summary, config, folder)
        if config.photos > 1:
            (folder / "catalogue.yaml").write_text(_SEVERAL_PHOTOS, encoding="utf-8")
        render_photos(plan, folder, config, on_progress or (lambda _: None))
    return summary


def require_free(out: Path) -> None:
    """Refuse to draw into `out` if there is something in it.

    Raises:
        FolderOccupied: `out` exists and is not an empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FolderOccupied(
            f"{str(out)!r} exists and is not an empty folder.",
            hint="Name a folder that does not exist yet, or delete this one.",
        )


def require_drawn(folder: Path, config: SampleConfig) -> None:
    """Refuse a folder that was not drawn from `config`.

    Raises:
        FolderMismatch: the folder has another drawn catalogue.
        FolderOccupied: the folder has no drawn catalogue.
    """
    hint = "Name another folder, or delete this one."
    try:
        about = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
        drawn = _settings(SampleConfig.model_validate({key: about[key] for key in about.keys() & _KEYS}))
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # pydantic's are ValueErrors
        raise FolderOccupied(f"{str(folder)!r} is not a drawn catalogue.", hint=hint) from error
    wanted = _settings(config)
    differing = [f"{key} {drawn[key]}, not {wanted[key]}" for key in wanted if drawn[key] != wanted[key]]
    if differing:
        raise FolderMismatch(
            f"{str(folder)!r} holds another drawn catalogue: {'; '.join(differing)}.", hint=hint
        )


def _write_tables(plan: Plan, folder: Path, seed: int) -> None:
    for split, rows_of in (("train", _train_rows), ("test", _id_rows)):
        parts = [
            rows_of(block).with_columns(pl.Series("title", draw_titles(block, seed), dtype=pl.String))
            for block in plan.split(split)
        ]
        pl.concat(parts).write_csv(folder / f"{split}.csv")
    facts = sorted(load_facts().values(), key=lambda each: each.splits["train"].first_id)
    taxonomy = Taxonomy.of({each.name: dict.fromkeys(each.attributes, ()) for each in facts})
    write_attribute_list(taxonomy, folder / "category_attributes.parquet")


def _id_rows(block: Block) -> pl.DataFrame:
    return pl.DataFrame({"id": block.ids}).with_columns(Category=pl.lit(block.facts.name))


def _train_rows(block: Block) -> pl.DataFrame:
    names = [f"attr_{number}" for number in range(1, NUM_COLUMNS + 1)]
    labels = dict(zip(names, _name_values(block, block.labels), strict=False))
    return _id_rows(block).with_columns(
        pl.lit(len(block.facts.heads)).alias("len"),
        *(labels.get(name, pl.lit(None, dtype=pl.String)).alias(name) for name in names),
    )


def _name_values(block: Block, codes: Indices) -> list[pl.Series]:
    """One column for each head: the values with these codes (N, H), null for MISSING."""
    columns = []
    for head, column in zip(block.facts.heads, codes.T, strict=True):
        names = [None if code == MISSING else head.values[code] for code in column]
        columns.append(pl.Series(head.attribute, names, dtype=pl.String))
    return columns


def _write_truth(plan: Plan, summary: SampleSummary, config: SampleConfig, folder: Path) -> None:
    truth = pl.concat([_truth_rows(block) for block in plan.blocks], how="diagonal")
    truth.write_parquet(folder / "truth.parquet")
    about = {
        **_settings(config),
        "num_train": summary.num_train,
        "num_test": summary.num_test,
        "num_wrong_labels": summary.num_wrong_labels,
        "num_conflicting": summary.num_conflicting,
        "num_faults": dict(summary.num_faults),
    }
    (folder / _SUMMARY).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _settings(config: SampleConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", include=set(_KEYS))


def _truth_rows(block: Block) -> pl.DataFrame:
    """Split, id, category, planted faults, and the true value of every attribute."""
    duplicated = block.ids[block.originals] != block.ids
    original_ids = [
        int(block.ids[original]) if copied else None
        for original, copied in zip(block.originals, duplicated, strict=True)
    ]
    wrong = [[block.facts.attributes[column] for column in row.nonzero()[0]] for row in block.wrong]
    return pl.DataFrame(
        [
            pl.Series("split", [block.split] * len(block), dtype=pl.String),
            pl.Series("id", block.ids),
            pl.Series("category", [block.facts.name] * len(block), dtype=pl.String),
            pl.Series("fault", [str(fault) for fault in block.faults], dtype=pl.String),
            pl.Series("duplicate_of", original_ids, dtype=pl.Int64),
            pl.Series("conflicting", block.conflicting),
            pl.Series("wrong_labels", wrong, dtype=pl.List(pl.String)),
            *_name_values(block, block.truth),
        ]
    )


def _summarise(plan: Plan, config: SampleConfig, out: Path) -> SampleSummary:
    return SampleSummary(
        out=out,
        num_train=sum(len(block) for block in plan.split("train")),
        num_test=sum(len(block) for block in plan.split("test")),
        num_wrong_labels=sum(
            int(block.wrong[~block.conflicting].sum()) for block in plan.split("train")
        ),
        num_conflicting=sum(int(block.conflicting.sum()) for block in plan.blocks),
        num_faults={fault: plan.count(fault) for fault in config.rates.files},
    )
