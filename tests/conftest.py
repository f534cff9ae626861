"""What many tests share: a tiny drawn catalogue and a tiny trained model."""

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Before any library reads them: no test may wait for a hub, or spin while another process works; a
# worker and the processes it starts run on one thread each, as the other workers have the other cores.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["POLARS_MAX_THREADS"] = "1"

import polars as pl
import pytest

from facetry.build.load import load_plain
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.predictions import Predictor
from facetry.recipe import ClassifierRecipe, Recipe, dump_recipe, load_recipe, parse_recipe
from tests.engines.exports import reuse_conversions, write_exported

PROJECT = Path(__file__).parent.parent

NANO_RECIPE: dict[str, object] = {
    "backbone": {"name": "nano_convnext", "weights": "none"},
    "heads": {"hidden_dim": 16},
    "training": {"epochs": 3, "batch_size": 16, "backbone_lr": 1e-3, "heads_lr": 1e-3},
    "split": {"validation": 0.2, "test": 0.2, "method": "random"},  # without a search for copies
}

MakeOnce = Callable[[str, Callable[[Path], object]], Path]
MakeRecipe = Callable[..., ClassifierRecipe]


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real tables and photos, which are not part of the project."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real data in ../shared/data")
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Keep torch to one thread, whatever imported it before the settings above."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_disks() -> Iterator[None]:
    """Let the system write when it likes: a process that is killed loses nothing by that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Make a folder that all workers share, by its name; who comes while it is made waits for it.

    `make` is given the folder's path and leaves it there whole or not at all.
    """
    folders = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folders = folders.parent  # of the run, above those of its workers
    folders /= "shared"
    folders.mkdir(exist_ok=True)

    def once(name: str, make: Callable[[Path], object]) -> Path:
        with (folders / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folders / name).exists():
                make(folders / name)
        return folders / name

    return once


@pytest.fixture(scope="session")
def drawn(make_once: MakeOnce) -> Path:
    """A drawn catalogue of 90 products, faults and all; not to be written to."""
    config = SampleConfig(num_products=90, seed=1, size_px=64)
    return make_once("drawn", lambda folder: draw_catalogue(folder, config))


@pytest.fixture
def catalogue(drawn: Path) -> Catalogue:
    """The labelled products of the drawn catalogue."""
    return open_catalogue(drawn)


@pytest.fixture(scope="session")
def make_recipe() -> MakeRecipe:
    """Make a recipe that trains within a second; keyword arguments replace its top-level keys."""

    def make(**changes: object) -> ClassifierRecipe:
        recipe = parse_recipe({**NANO_RECIPE, **changes})
        assert isinstance(recipe, ClassifierRecipe)
        return recipe

    return make


@pytest.fixture(scope="session")
def tiny_recipe(make_recipe: MakeRecipe) -> Recipe:
    """What the tiny model is built by."""
    return make_recipe()


@pytest.fixture(scope="session")
def tiny_model(drawn: Path, tiny_recipe: Recipe, make_once: MakeOnce) -> Path:
    """A model folder; not to be written to."""
    return make_once("model", lambda folder: train(tiny_recipe, open_catalogue(drawn), folder))


@pytest.fixture(scope="session")
def other(make_once: MakeOnce) -> Path:
    """Labelled products that the tiny model has not seen; not to be written to."""
    config = SampleConfig(num_products=120, seed=2, size_px=64)

    def make(folder: Path) -> None:
        draw_catalogue(folder, config)
        table = pl.read_csv(folder / "train.csv", infer_schema=False)
        for row in range(table.height):  # other ids than those of the first catalogue
            old = int(table["id"][row])
            photo = folder / "train_images" / f"{old:06d}.jpg"
            if photo.exists():
                photo.rename(photo.with_name(f"{old + 50_000:06d}.jpg"))
        table.with_columns(id=(pl.col("id").cast(pl.Int64) + 50_000).cast(pl.String)).write_csv(
            folder / "train.csv"
        )

    return make_once("other", make)


@pytest.fixture(scope="session")
def tiny_predictor(tiny_model: Path) -> Predictor:
    """The predictor in the tiny model's folder, without its calibration."""
    return load_plain(tiny_model)


@pytest.fixture(scope="session")
def exported(tiny_model: Path, make_once: MakeOnce) -> Path:
    """The tiny model with an export for each runtime; not to be written to."""
    return make_once("exported", lambda folder: write_exported(tiny_model, folder))


@pytest.fixture
def converted_before(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert the tiny model within no time, for tests of what is done with the result."""
    reuse_conversions(exported, monkeypatch)


@pytest.fixture(scope="session")
def quick_demo_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's own recipe with one epoch."""
    content = load_recipe(PROJECT / "recipes" / "demo.yaml").model_dump(mode="json")
    for member in content["members"].values():
        member["training"] |= {"epochs": 1, "milestones": []}
    recipe = tmp_path_factory.mktemp("recipe") / "demo.yaml"
    recipe.write_text(dump_recipe(parse_recipe(content)))
    return recipe
