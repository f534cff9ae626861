"""Comparisons from start to end: each row in its own process, done once, failures apart."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from facetry.build.train import recipe_key, train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import Split, read_split
from facetry.errors import FolderMismatch, FolderOccupied, NotEnoughData, SettingError
from facetry.evaluation.held_out import SPLIT
from facetry.experiments.compare.entries import Entry, read_entries
from facetry.experiments.compare.leaderboard import Leaderboard
from facetry.experiments.compare.run import compare
from facetry.recipe import ClassifierRecipe, Recipe, dump_recipe, parse_recipe

MakeRecipe = Callable[..., ClassifierRecipe]

SPLIT_SHARES = {"validation": 0.2, "test": 0.3, "method": "random"}


class Lines:
    """A reporter that stores its messages and which bars there were."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def bar(self, description: str, total: int | None) -> "Lines":  # noqa: ARG002
        self.said.append(description)
        return self

    def __enter__(self) -> Callable[[int], None]:
        return lambda _: None

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def num_trained(self) -> int:
        return self.said.count("Training")


@pytest.fixture(scope="module")
def recipes(make_recipe: MakeRecipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One recipe of its own, an ensemble that has it as a member, and one without its weights."""
    folder = tmp_path_factory.mktemp("recipes")
    training = {"epochs": 1, "batch_size": 16, "backbone_lr": 1e-3, "heads_lr": 1e-3}
    single = make_recipe(training=training, split=SPLIT_SHARES)
    vit = make_recipe(training=training, backbone={"name": "nano_vit", "weights": "none"})
    members = {"single": single.model_dump(mode="json"), "vit": vit.model_dump(mode="json")}
    contents: dict[str, Recipe] = {
        "single": single,
        "gated": parse_recipe({"kind": "ensemble", "weighting": "gate", "members": members}),
        "broken": make_recipe(backbone={"name": "nano_vit", "weights": "/nowhere.safetensors"}),
    }
    for name, recipe in contents.items():
        (folder / f"{name}.yaml").write_text(dump_recipe(recipe))
    return {name: folder / f"{name}.yaml" for name in contents}


def entries_of(recipes: dict[str, Path], *names: str) -> list[Entry]:
    return read_entries([recipes[name] for name in names])


@pytest.fixture(scope="module")
def done(
    recipes: dict[str, Path], drawn: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Leaderboard, Lines]:
    """A comparison of the three recipes; its folder is not to be written to."""
    out, lines = tmp_path_factory.mktemp("compare") / "out", Lines()
    entries = entries_of(recipes, "single", "broken", "gated")
    board = compare(entries, open_catalogue(drawn), out, reporter=lines)
    return out, board, lines


@pytest.mark.slow
def test_every_row_is_scored_and_one_may_fail(done: tuple[Path, Leaderboard, Lines]) -> None:
    out, board, _ = done
    rows = {row.name: row for row in board.rows}
    assert [row.name for row in board.failed] == ["broken"]
    assert "nowhere.safetensors" in rows["broken"].error
    for name in ("single", "gated"):
        row = rows[name]
        assert 0 < row.score < 1
        assert row.ms_per_product > 0
        assert row.building is not None
        assert row.scoring is not None
        assert 1 < row.scoring.memory_mib < 2000
    assert rows["gated"].num_parameters > rows["single"].num_parameters > 100_000
    assert rows["gated"].building.seconds > rows["single"].building.seconds
    for suffix in ("html", "md", "json"):
        assert (out / f"leaderboard.{suffix}").stat().st_size > 500
    assert json.loads((out / "leaderboard.json").read_text())["rows"][0]["name"] == "single"


@pytest.mark.slow
def test_the_score_is_that_of_the_model_folder(done: tuple[Path, Leaderboard, Lines]) -> None:
    out, board, _ = done
    totals = set()
    for folder in (out / "models").iterdir():
        if folder.is_dir() and not folder.name.endswith(".partial"):
            totals.add(json.loads((folder / "metrics.json").read_text())["test"]["total"])
    assert {row.score for row in board.rows if not row.error} <= totals


@pytest.mark.slow
def test_members_that_are_rows_are_not_trained_again(done: tuple[Path, Leaderboard, Lines]) -> None:
    out, _, lines = done
    assert lines.num_trained == 2, "the single one, and the other member"
    finished = [each.parent for each in out.glob("models/*/checksums.json")]
    kinds = [json.loads((each / "job.json").read_text())["recipe"]["kind"] for each in finished]
    assert sorted(kinds) == ["classifier", "classifier", "ensemble"]
    (member,) = out.glob("models/*/members/single/weights.safetensors")
    assert member.stat().st_nlink > 1, "shared on disk"


@pytest.mark.slow
def test_finished_rows_are_not_repeated(
    done: tuple[Path, Leaderboard, Lines], recipes: dict[str, Path], catalogue: Catalogue, tmp_path: Path
) -> None:
    _, board, _ = done
    out, lines = Path(shutil.copytree(done[0], tmp_path / "out")), Lines()
    again = compare(entries_of(recipes, "single", "broken", "gated"), catalogue, out, reporter=lines)
    assert not {"Training", "Scoring", "Weighing members"} & set(lines.said)
    assert [row.score for row in again.rows if not row.error] == [
        row.score for row in board.rows if not row.error
    ]
    renamed = tmp_path / "renamed.yaml"
    renamed.write_text(recipes["single"].read_text())
    (row,) = compare(read_entries([renamed]), catalogue, out, reporter=lines).rows
    assert not {"Training", "Scoring"} & set(lines.said)
    assert row.name == "renamed"


@pytest.mark.slow
def test_another_split_or_catalogue_is_refused(
    done: tuple[Path, Leaderboard, Lines],
    recipes: dict[str, Path],
    catalogue: Catalogue,
    drawn: Path,
    tmp_path: Path,
) -> None:
    out = Path(shutil.copytree(done[0], tmp_path / "out"))
    split = Split((np.arange(len(catalogue)) % 3).astype(np.int8))
    with pytest.raises(FolderMismatch, match="another split"):
        compare(entries_of(recipes, "single"), catalogue, out, split=split)
    other = open_catalogue(drawn / "train.csv", images=drawn / "test_images")
    with pytest.raises(FolderMismatch, match="another photos"):
        compare(entries_of(recipes, "single"), other, out)


def test_model_folders_and_recipes_are_compared_together(
    tiny_model: Path,
    make_recipe: MakeRecipe,
    catalogue: Catalogue,
    drawn: Path,
    tmp_path: Path,
) -> None:
    """On its own split a model folder takes part; of another taxonomy, or knowing the test part, not."""
    (tmp_path / "taxonomy.yaml").write_text(catalogue.taxonomy.to_yaml())
    table = pl.read_csv(drawn / "train.csv", infer_schema=False)
    odd = table.with_columns(attr_1=pl.when(pl.col("attr_1").is_not_null()).then(pl.lit("odd")))
    odd.write_csv(tmp_path / "odd.csv")
    names = (drawn / "category_attributes.parquet").read_bytes()
    (tmp_path / "category_attributes.parquet").write_bytes(names)
    foreign_catalogue = open_catalogue(tmp_path / "odd.csv", images=drawn / "train_images")
    frozen = make_recipe(backbone={"name": "nano_convnext", "weights": "none", "frozen": True})
    foreign = train(frozen, foreign_catalogue, tmp_path / "foreign")
    own = read_split(tiny_model / SPLIT, catalogue)
    codes = np.where(own.codes == 2, 0, np.where(own.codes == 0, 2, own.codes)).astype(np.int8)
    swapped = compare(read_entries([tiny_model]), catalogue, tmp_path / "swapped", split=Split(codes))
    assert "has learned from" in swapped.rows[0].error
    assert "--split" in swapped.rows[0].error
    board = compare(read_entries([tiny_model, foreign]), catalogue, tmp_path / "out", split=own)
    rows = {row.name: row for row in board.rows}
    assert rows[tiny_model.name].score > 0
    assert rows[tiny_model.name].building is None
    assert "another taxonomy" in rows["foreign"].error


def test_an_empty_test_part(recipes: dict[str, Path], catalogue: Catalogue, tmp_path: Path) -> None:
    nothing = Split(np.zeros(len(catalogue), dtype=np.int8))
    for split in (nothing, nothing, Split(nothing.codes + np.int8(1))):  # nothing was done: no claim
        with pytest.raises(NotEnoughData, match="has 0 different products"):
            compare(entries_of(recipes, "single"), catalogue, tmp_path / "out", split=split)


def test_a_folder_of_something_else(
    recipes: dict[str, Path], catalogue: Catalogue, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(FolderOccupied, match="was not made by `facetry compare`: it holds photo"):
        compare(entries_of(recipes, "single"), catalogue, tmp_path)


def test_different_repairs_cannot_be_compared(
    make_recipe: MakeRecipe, catalogue: Catalogue, tmp_path: Path
) -> None:
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(
            dump_recipe(make_recipe(clean={"repairs": str(tmp_path / f"{name}.csv")}))
        )
    entries = read_entries([tmp_path / "a.yaml", tmp_path / "b.yaml"])
    with pytest.raises(SettingError, match="different repair files"):
        compare(entries, catalogue, tmp_path / "out")


def test_equal_recipes_share_a_key(tiny_recipe: ClassifierRecipe) -> None:
    again = parse_recipe(tiny_recipe.model_dump(mode="json"))
    assert recipe_key(again) == recipe_key(tiny_recipe)
    assert recipe_key(again.with_seed(1)) != recipe_key(tiny_recipe)
