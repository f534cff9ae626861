"""A shop's own file in, the same file back: what is guessed, found, filled in and left alone.

    python -m benchmarks.roundtrip [--shops N] [--products N] [--quick]

Untidy shops are drawn, each from its own seed (`facetry.demo.shop`), and go through the commands that a
person would type: init, check --fix, fill. The model is trained once, on the first shop; for it to serve
the others, their attributes are called alike in each catalogue.yaml. Counted are columns guessed right,
planted faults that the check finds or has mended (a word for nothing is read as no label, any other as
the truth), cells that were known and have changed, and blanks filled in, right and wrong against the
truth: where it has no value, the product's category has no such attribute.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

import polars as pl

from benchmarks.measure import make_parser, show
from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.cells import BLANK
from facetry.catalogue.describe import CATALOGUE, catalogue_yaml
from facetry.catalogue.guess import ATTRIBUTE, NONE, guess_columns
from facetry.catalogue.scan import collect, scan
from facetry.catalogue.source import Source, read_source
from facetry.cli.main import app
from facetry.demo.shop import Shop, ShopConfig, draw_shop

RECIPE: Final = """\
backbone: {name: nano_convnext, weights: none}
heads: {hidden_dim: 64}
training: {epochs: EPOCHS, batch_size: 32, backbone_lr: 0.002, heads_lr: 0.002}
split: {method: random}
"""
_SPELLINGS: Final = frozenset({"case twin", "several values", "typing error"})


@dataclass(frozen=True, kw_only=True)
class Round:
    """The counts of one shop."""

    counts: Counter[str]
    seconds: Mapping[str, float]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rounds = [_go_round(folder, seed, options) for seed in range(options.shops)]
    total = sum((each.counts for each in rounds), Counter[str]())
    figures = {
        "benchmark": "roundtrip",
        "shops": options.shops,
        "products": options.products,
        "counts": dict(sorted(total.items())),
        "columns_right": _share(total, "columns right", "columns"),
        "faults_recall": _share(total, "faults found", "faults"),
        "findings_precision": _share(total, "findings right", "findings"),
        "known_unchanged": _share(total, "known unchanged", "known"),
        "blanks_filled": _share(total, "filled with a truth", "blanks with a truth"),
        "filled_right": _share(total, "filled right", "filled with a truth"),
        "commands_typed": 4,
        "lines_typed": 0,
        "seconds": {name: each.seconds[name] for each in rounds[:1] for name in each.seconds},
    }
    rows = [(name, f"{value:.1%}") for name, value in figures.items() if isinstance(value, float)]
    title = f"{options.shops} shops of {options.products} products; init, check --fix, train, fill"
    show(title, ["what", "share"], rows, figures)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__, quick="two shops of 60 products, one epoch")
    parser.add_argument("--shops", type=int, default=20)
    parser.add_argument("--products", type=int, default=400)
    options = parser.parse_args(arguments)
    options.epochs = 12
    if options.quick:
        options.shops, options.products, options.epochs = 2, 60, 1
    return options


def _share(counts: Counter[str], part: str, whole: str) -> float:
    return counts[part] / counts[whole] if counts[whole] else 1.0


def _go_round(folder: Path, seed: int, options: argparse.Namespace) -> Round:
    """Draw a shop and take it from its file to the same file filled in."""
    out = folder / f"shop-{seed}"
    shop = draw_shop(out, ShopConfig(num_products=options.products, seed=seed, size_px=64))
    counts, seconds = Counter[str](), {}
    seconds["init"] = _run("init", shop.table, "--images", shop.images, "--yes")
    counts += _count_columns(shop, guess_columns(Source(table=shop.table)).roles)
    findings = folder / f"findings-{seed}.csv"
    seconds["check"] = _run("check", out, "--fix", "--out", findings)
    counts += _count_faults(out, pl.read_csv(findings, infer_schema=False))
    _name_alike(shop, out / CATALOGUE)
    model = folder / "model"
    if not model.exists():
        recipe = folder / "recipe.yaml"
        recipe.write_text(RECIPE.replace("EPOCHS", str(options.epochs)))
        seconds["train"] = _run("train", recipe, "--catalogue", out, "--out", model)
    filled = folder / f"filled-{seed}{shop.table.suffix}"
    seconds["fill"] = _run("fill", model, out, "--out", filled)
    counts += _count_cells(out, filled)
    return Round(counts=counts, seconds=seconds)


def _run(*words: object) -> float:
    """Run a command as the command line does; the seconds that it took."""
    start = time.perf_counter()
    with redirect_stdout(StringIO()):
        app([str(word) for word in words], standalone_mode=False)
    return round(time.perf_counter() - start, 2)


def _count_columns(shop: Shop, roles: Mapping[str, tuple[str, str]]) -> Counter[str]:
    """Whether each column is taken for what it is; those of no use must be taken for nothing."""
    truth = dict.fromkeys(roles, NONE)
    truth |= {
        name: ATTRIBUTE if role in shop.attributes else role for role, name in shop.columns.items()
    }
    right = sum(roles.get(name, ("", ""))[0] == role for name, role in truth.items())
    return Counter({"columns": len(truth), "columns right": right})


def _count_faults(out: Path, findings: pl.DataFrame) -> Counter[str]:
    """How many planted faults were found, and how many findings are about a planted one."""
    spelled = findings.filter(
        pl.col("attribute").is_not_null() & ~pl.col("problem").str.starts_with("photo")
    )
    found = set(spelled.select("id", "attribute").iter_rows())
    labels = {str(each.id): each.labels for each in open_catalogue(out).products()}
    truth = {row["id"]: row for row in _with_id(out / "truth.csv")}
    counts: Counter[str] = Counter()
    planted = set()
    for row in pl.read_csv(out / "planted.csv", infer_schema=False).iter_rows(named=True):
        where = (str(_as_read(row["id"], labels)), row["column"])
        planted.add(where)
        is_word = row["kind"] == "word for nothing"
        right = None if is_word else truth[row["id"]][row["column"]].lower()
        is_found = where in found or labels[where[0]].get(row["column"]) == right
        if is_word or row["kind"] in _SPELLINGS:
            counts["faults"] += 1
            counts[f"faults: {row['kind']}"] += 1
            counts["faults found"] += is_found
            counts[f"found: {row['kind']}"] += is_found
    counts["findings"] += len(found)
    counts["findings right"] += len(found & planted)
    return counts


def _with_id(file: Path) -> list[dict[str, str]]:
    """A shop's rows with what its first column holds as `id`."""
    rows = pl.read_csv(file, infer_schema=False).fill_null("")
    return [{**row, "id": row[rows.columns[0]]} for row in rows.iter_rows(named=True)]


def _as_read(id_: str, labels: Mapping[str, Any]) -> str:
    """The id as the catalogue reads it: Excel's numbers have no leading zeros."""
    return id_ if id_ in labels else str(int(id_))


def _name_alike(shop: Shop, file: Path) -> None:
    """Call the attributes of a catalogue.yaml as those of every other shop."""
    source = read_source(file)
    columns = source.columns.model_copy(
        update={"attributes": {each: shop.columns[each] for each in shop.attributes}}
    )
    source = source.model_copy(update={"columns": columns})
    guess = guess_columns(source)
    file.write_text(catalogue_yaml(source, guess, base=file.parent), encoding="utf-8")


def _count_cells(out: Path, filled: Path) -> Counter[str]:
    """Compare the filled file with the shop's own, cell by cell, and with the truth."""
    catalogue = open_catalogue(out)
    source, cells = catalogue.source, catalogue.layout.cells
    raw = scan(source)
    before = collect(raw, source.table)
    after = collect(scan(source.model_copy(update={"table": filled})), filled)
    truth = pl.read_csv(out / "truth.csv", infer_schema=False)
    schema = raw.collect_schema()
    counts: Counter[str] = Counter()
    for column in [name for name in before.columns if name != "(row)"]:
        is_blank = [False] * before.height
        if column in catalogue.layout.labels:
            states = collect(raw.select(state=cells.state(schema, column)), source.table)
            is_blank = (states["state"] == BLANK).to_list()
        rows = zip(before[column], after[column], truth[column], is_blank, strict=True)
        for old, new, true, blank in rows:
            if not blank:
                counts["known"] += 1
                counts["known unchanged"] += (old or "") == (new or "")
                continue
            counts["blanks"] += 1
            counts["blanks with a truth"] += bool(true)
            is_filled = (new or "") != (old or "")
            counts["filled"] += is_filled
            if is_filled and true:
                counts["filled with a truth"] += 1
                counts["filled right"] += new.lower() == true.lower()
    return counts


if __name__ == "__main__":
    main()
