"""`facetry audit` prints what matters and says where the rest is."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from facetry.cli.main import app


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["audit", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "taxonomy.yaml").write_text("Shirts: {color: [], fabric: []}\n")
    path = tmp_path / "train.csv"
    path.write_text("id,Category,color,fabric\n1,Shirts,red,net\n2,Shirts,red,Net\n3,Shirts,red,\n")
    return path


def test_labels_alone(table: Path, tmp_path: Path) -> None:
    code, shown = run(table, "--out", tmp_path / "out", "--min-examples", "1")
    assert code == 0
    assert "constant attribute" in shown
    assert "look-alike value" in shown
    assert "rare value" not in shown
    assert "Products: 3, labels: 5 (16.7% missing)" in shown
    assert "There is no photo folder" in shown
    assert str(tmp_path / "out" / "report.html") in shown
    assert max(map(len, shown.splitlines()[:-2])) <= 100


def test_photos_too(drawn: Path, tmp_path: Path) -> None:
    code, shown = run(drawn, "--out", tmp_path / "out")
    assert code == 0
    assert "exact duplicate" in shown
    assert "There is no photo folder" not in shown
    assert (tmp_path / "out" / "findings.csv").is_file()
    assert max(map(len, shown.splitlines()[:-2])) <= 100


@pytest.mark.parametrize("arguments", [("--min-examples", "0"), ("--seed", "-1"), ()])
def test_wrong_arguments(table: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    out = ("--out", str(tmp_path / "out")) if arguments else ()
    assert run(table, *out, *arguments)[0] == 2
    assert not (tmp_path / "out").exists()
