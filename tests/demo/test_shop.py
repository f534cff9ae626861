"""The drawn shop is untidy in many ways, and init and check see through them."""

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.guess import guess_columns
from facetry.catalogue.source import Source
from facetry.cli.main import app
from facetry.demo.shop import Shop, ShopConfig, draw_shop
from facetry.errors import FolderOccupied

SEEDS = range(6)


@pytest.fixture(scope="module", params=SEEDS)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    out = tmp_path_factory.mktemp("shop") / "shop"
    return draw_shop(out, ShopConfig(num_products=80, seed=request.param, size_px=32))


def test_every_column_is_guessed(shop: Shop) -> None:
    found = guess_columns(Source(table=shop.table))
    wanted = {
        name: "attribute" if role in shop.attributes else role for role, name in shop.columns.items()
    }
    guessed = {name: role for name, (role, _) in found.roles.items() if role != "nothing"}
    assert guessed == wanted


def test_photos_are_found_and_the_catalogue_opens(shop: Shop) -> None:
    words = ["init", str(shop.table), "--images", str(shop.images), "--yes"]
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, words)
    assert result.exit_code == 0, result.output
    products = open_catalogue(shop.table.parent).products()
    assert len(products) == 80
    with_photo = sum(bool(each.photos) and each.photos[0].is_file() for each in products)
    assert with_photo >= 70
    num_files = sum(each.is_file() for each in shop.images.rglob("*"))
    assert any(len(each.photos) == 2 for each in products) == (num_files > len(products))


def test_the_same_seed_draws_the_same_table(tmp_path: Path) -> None:
    config = ShopConfig(num_products=5, seed=2, size_px=32)
    tables = [draw_shop(tmp_path / name, config).table.read_bytes() for name in "ab"]
    assert tables[0] == tables[1]
    planted = pl.read_csv(tmp_path / "a" / "planted.csv")
    assert planted.columns == ["id", "column", "kind", "cell"]
    with pytest.raises(FolderOccupied):
        draw_shop(tmp_path / "a", config)
