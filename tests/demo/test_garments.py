"""The drawn catalogue: its plan against the facts, its pictures value by value, its files."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageChops, ImageStat

from facetry.catalogue.catalogue import open_catalogue
from facetry.demo.garments import FaultRates, SampleConfig, draw_catalogue, require_drawn
from facetry.demo.garments.labels import MISSING, CategoryFacts, load_facts
from facetry.demo.garments.photo import PhotoBrief, draw_photo
from facetry.demo.garments.plan import NO_FAULT, Plan, plan_products
from facetry.demo.garments.write import draw_titles
from facetry.errors import FolderMismatch, FolderOccupied

FACTS = load_facts()
SHARED = Path(__file__).parents[3] / "shared" / "data" / "meesho"
HEADS = [
    pytest.param(facts, head.attribute, id=f"{name}-{head.attribute}")
    for name, facts in FACTS.items()
    for head in facts.heads
]
MANY_FAULTS = FaultRates(
    exact_duplicates=0.1,
    near_duplicates=0.1,
    conflicting=0.5,
    blurred=0.05,
    dark=0.05,
    tiny=0.05,
    truncated=0.05,
    not_an_image=0.05,
    empty=0.05,
)
NO_COPIES = FaultRates(exact_duplicates=0.0, near_duplicates=0.0, empty=0.0)
FAULTY = SampleConfig(num_products=120, seed=5, size_px=64, workers=1, rates=MANY_FAULTS)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_products(SampleConfig(num_products=40_000, seed=3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample") / "catalogue"
    draw_catalogue(out, FAULTY)
    return out


@pytest.fixture(scope="module")
def truth(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "truth.parquet")


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def photo_path(folder: Path, row: dict[str, object], key: str = "id") -> Path:
    return folder / f"{row['split']}_images" / f"{row[key]:06d}.jpg"


def plain_values(facts: CategoryFacts) -> dict[str, str]:
    """The most frequent value of each attribute."""
    return {head.attribute: head.values[int(head.shares.argmax())] for head in facts.heads}


def draw(category: str, values: dict[str, str]) -> Image.Image:
    return draw_photo(
        PhotoBrief(category=category, values=values, seed=1, number=4, size_px=64, boxed=True)
    )


def test_facts_are_the_challenges() -> None:
    heads = [head for facts in FACTS.values() for head in facts.heads]
    assert len(FACTS) == 5
    assert len(heads) == 42
    assert sum(len(head.values) for head in heads) == 170
    assert sum(facts.splits["train"].rows for facts in FACTS.values()) == 70_213
    assert sum(facts.splits["test"].rows for facts in FACTS.values()) == 30_205
    for facts in FACTS.values():
        rows = facts.splits["train"].rows
        assert all(sum(head.counts) + head.num_missing == rows for head in facts.heads)


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.is_dir(), reason="the challenge's tables are not here")
def test_attribute_list_is_the_challenges_file(folder: Path) -> None:
    ours = pl.read_parquet(folder / "category_attributes.parquet")
    theirs = pl.read_parquet(SHARED / "category_attributes.parquet")
    assert ours.schema == theirs.schema
    assert ours.equals(theirs)


@pytest.mark.parametrize(("facts", "attribute"), HEADS)
def test_frequencies_and_gaps_follow_the_facts(plan: Plan, facts: CategoryFacts, attribute: str) -> None:
    column = facts.attributes.index(attribute)
    head = facts.heads[column]
    block = next(each for each in plan.split("train") if each.facts is facts)
    drawn = np.bincount(block.truth[:, column], minlength=len(head.values)) / len(block)
    missing = (block.labels[:, column] == MISSING).mean()
    tolerance = 4 * 0.5 / np.sqrt(len(block))
    assert np.abs(drawn - head.shares).max() < tolerance
    assert abs(missing - head.missing_share) < tolerance


def test_categories_and_ids_follow_the_facts(plan: Plan) -> None:
    for block in plan.blocks:
        facts = block.facts.splits[block.split]
        rows = sum(each.splits[block.split].rows for each in FACTS.values())
        total = sum(len(each) for each in plan.split(block.split))
        assert abs(len(block) - total * facts.rows / rows) <= 1
        assert (np.diff(block.ids) > 0).all()
        assert facts.first_id <= block.ids[0]
        assert block.ids[-1] <= facts.last_id


def test_more_products_than_ids_stretch_the_ranges() -> None:
    plan = plan_products(SampleConfig(num_products=250_000, seed=0))
    for split in ("train", "test"):
        ids = np.concatenate([block.ids for block in plan.split(split)])
        assert (np.diff(ids) > 0).all()


def test_agreeing_heads_mostly_agree(plan: Plan) -> None:
    block = next(each for each in plan.split("train") if each.facts.name == "Men Tshirts")
    solid = [
        block.truth[:, column] == block.facts.heads[column].values.index("solid") for column in (2, 3)
    ]
    assert (solid[0] == solid[1]).mean() > 0.9


def test_wrong_labels_are_planted_at_their_rate(plan: Plan) -> None:
    blocks = list(plan.split("train"))
    num_wrong = sum(int(block.wrong[~block.conflicting].sum()) for block in blocks)
    num_known = sum(int((block.labels != MISSING).sum()) for block in blocks)
    assert num_wrong / num_known == pytest.approx(0.02, abs=0.002)
    assert not any(block.wrong.any() for block in plan.split("test"))


def test_faults_are_planned_at_their_rates(plan: Plan) -> None:
    for fault, share in SampleConfig(num_products=1).rates.files.items():
        assert plan.count(fault) == round(share * 40_000)


@pytest.mark.parametrize(("facts", "attribute"), HEADS)
def test_every_value_shows_in_the_pixels(facts: CategoryFacts, attribute: str) -> None:
    """With all else equal, the values of a head differ clearly from each other."""
    base = plain_values(facts)
    values = facts.head(attribute).values
    pictures = [draw(facts.name, base | {attribute: value}) for value in values]
    for place, picture in enumerate(pictures):
        for other in pictures[:place]:
            difference = np.asarray(ImageChops.difference(picture, other)).max(axis=2)
            changed = (difference > 25).mean()
            assert changed > 0.006, (values[place], values[pictures.index(other)])


def test_same_seed_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    config = SampleConfig(num_products=300, seed=9, size_px=32)
    folders = [tmp_path / name for name in ("one", "two")]
    for out, workers in zip(folders, (1, 2), strict=True):
        draw_catalogue(out, config.model_copy(update={"workers": workers}))
    assert digests(folders[0]) == digests(folders[1])


def test_several_photos_show_one_garment_in_other_scenes(tmp_path: Path) -> None:
    config = SampleConfig(num_products=20, seed=2, size_px=64, workers=1, rates=NO_COPIES)
    seen: list[int] = []
    draw_catalogue(tmp_path / "one", config)
    several = config.model_copy(update={"photos": 3})
    draw_catalogue(tmp_path / "three", several, on_progress=seen.append)
    assert sum(seen) == 60
    one, three = digests(tmp_path / "one"), digests(tmp_path / "three")
    assert {name: three[name] for name in one if name != "truth.json"} == {
        name: digest for name, digest in one.items() if name != "truth.json"
    }
    assert len({digest for name, digest in three.items() if "_images" in name}) == 60
    require_drawn(tmp_path / "three", several)
    with pytest.raises(FolderMismatch, match="photos 3, not 1"):
        require_drawn(tmp_path / "three", config)
    for product in open_catalogue(tmp_path / "three").products():
        stem = f"{product.id:06d}"
        assert [path.name for path in product.photos] == [
            f"{stem}.jpg",
            f"{stem}_1.jpg",
            f"{stem}_2.jpg",
        ]


def test_another_seed_draws_another_catalogue(tmp_path: Path, folder: Path) -> None:
    draw_catalogue(tmp_path / "other", FAULTY.model_copy(update={"seed": 6}))
    assert digests(tmp_path / "other") != digests(folder)


def test_tables_have_the_challenges_form(folder: Path) -> None:
    train = pl.read_csv(folder / "train.csv", infer_schema_length=None)
    test = pl.read_csv(folder / "test.csv")
    names = [f"attr_{place}" for place in range(1, 11)]
    assert train.columns == ["id", "Category", "len", *names, "title"]
    assert test.columns == ["id", "Category", "title"]
    assert (len(train), len(test)) == (84, 36)
    for row in train.iter_rows(named=True):
        facts = FACTS[row["Category"]]
        assert row["len"] == len(facts.heads)
        for name, head in zip(names, facts.heads, strict=False):
            assert row[name] is None or row[name] in head.values
        assert all(row[name] is None for name in names[len(facts.heads) :])
    for split, table in (("train", train), ("test", test)):
        files = {path.name for path in (folder / f"{split}_images").iterdir()}
        assert files == {f"{number:06d}.jpg" for number in table["id"]}


def test_titles_name_some_of_what_is_true(plan: Plan) -> None:
    block = plan.blocks[0]
    titles = draw_titles(block, 3)
    texts = [title.lower() for title in titles if title]
    assert 0.12 < 1 - len(texts) / len(titles) < 0.18
    places = [place for place, title in enumerate(titles) if title]
    for attribute in ("color", "neck"):
        values = [block.values(place)[attribute] for place in places]
        named = [value in title for value, title in zip(values, texts, strict=True)]
        others = [value in title for value, title in zip(values, [*texts[1:], texts[0]], strict=True)]
        is_said = [value != "default" for value in values]
        assert 0.35 < np.mean(np.array(named)[is_said]) < 0.55  # half of them, some misspelt
        assert np.mean(np.array(others)[is_said]) < np.mean(np.array(named)[is_said]) - 0.1
    assert not any("default" in title or "same as" in title for title in texts)
    assert sum("shirt" in title or "tee" in title for title in texts) < len(texts)  # some are misspelt


def test_titles_follow_from_seed_and_number_alone(plan: Plan) -> None:
    block = plan.blocks[1]
    titles = draw_titles(block, 3)
    assert titles == draw_titles(block, 3)
    assert titles != draw_titles(block, 4)
    copies = np.flatnonzero(block.originals != np.arange(len(block)))
    assert any(titles[copy] != titles[block.originals[copy]] for copy in copies)


def test_the_truth_table_has_every_wrong_label(folder: Path, truth: pl.DataFrame) -> None:
    table = pl.read_csv(folder / "train.csv", infer_schema_length=None)
    by_id = {row["id"]: row for row in truth.filter(split="train").iter_rows(named=True)}
    for row in table.iter_rows(named=True):
        facts, real = FACTS[row["Category"]], by_id[row["id"]]
        labels = {name: row[f"attr_{slot + 1}"] for slot, name in enumerate(facts.attributes)}
        wrong = [name for name, value in labels.items() if value not in {None, real[name]}]
        assert wrong == real["wrong_labels"]
    about = json.loads((folder / "truth.json").read_text())
    assert about["seed"] == FAULTY.seed
    assert about["num_faults"]["tiny"] == truth.filter(fault="tiny").height == 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_products": 9}, "num_products"),
        ({"seed": 99}, "seed 5, not 99"),
        ({"size_px": 33}, "size_px"),
    ],
)
def test_a_folder_records_what_it_was_drawn_from(
    folder: Path, change: dict[str, int], said: str
) -> None:
    require_drawn(folder, FAULTY)
    with pytest.raises(FolderMismatch, match="holds another drawn catalogue") as refusal:
        require_drawn(folder, FAULTY.model_copy(update=change))
    assert said in refusal.value.message
    with pytest.raises(FolderOccupied, match="is not a drawn catalogue"):
        require_drawn(folder.parent, FAULTY)


def looks_tiny(data: bytes) -> bool:
    return Image.open(io.BytesIO(data)).width == 24


def looks_dark(data: bytes) -> bool:
    return ImageStat.Stat(Image.open(io.BytesIO(data)).convert("L")).mean[0] < 30


def looks_truncated(data: bytes) -> bool:
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(data)).load()
    return True


def looks_like_text(data: bytes) -> bool:
    return data.startswith(b"<html>")


@pytest.mark.parametrize(
    ("fault", "shows"),
    [
        ("tiny", looks_tiny),
        ("dark", looks_dark),
        ("truncated", looks_truncated),
        ("not an image", looks_like_text),
        ("empty", lambda data: data == b""),
        ("blurred", lambda data: len(data) < 2500),
    ],
)
def test_faults_are_found_on_disk(folder: Path, truth: pl.DataFrame, fault: str, shows) -> None:
    faulty = truth.filter(fault=fault)
    assert faulty.height == 6
    for row in faulty.iter_rows(named=True):
        assert shows(photo_path(folder, row).read_bytes())


def test_duplicates_repeat_their_originals(folder: Path, truth: pl.DataFrame) -> None:
    originals = truth.filter(fault=NO_FAULT).select("split", "id")
    for row in truth.filter(pl.col("duplicate_of").is_not_null()).iter_rows(named=True):
        assert (row["split"], row["duplicate_of"]) in originals.rows()
        same = (
            photo_path(folder, row).read_bytes() == photo_path(folder, row, "duplicate_of").read_bytes()
        )
        assert same == (row["fault"] == "exact duplicate")


def test_conflicting_duplicates_contradict_their_originals(folder: Path, truth: pl.DataFrame) -> None:
    table = pl.read_csv(folder / "train.csv", infer_schema_length=None)
    rows = {row["id"]: row for row in table.iter_rows(named=True)}
    conflicting = truth.filter("conflicting")
    assert conflicting.height > 2
    for row in conflicting.iter_rows(named=True):
        pairs = zip(rows[row["id"]].items(), rows[row["duplicate_of"]].values(), strict=True)
        assert any(
            name.startswith("attr") and None not in (own, other) and own != other
            for (name, own), other in pairs
        )


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(FolderOccupied, match="not an empty folder"):
        draw_catalogue(tmp_path, FAULTY)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_nothing_is_left_of_a_run_that_stops(tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_catalogue(tmp_path / "out", FAULTY, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_photo(tmp_path: Path) -> None:
    seen: list[int] = []
    (tmp_path / "out").mkdir()
    config = SampleConfig(num_products=70, size_px=32, workers=1)
    summary = draw_catalogue(tmp_path / "out", config, on_progress=seen.append)
    assert sum(seen) == 70
    assert (summary.num_train, summary.num_test) == (49, 21)
