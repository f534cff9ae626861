"""A table that cannot be used is refused before a model is loaded or an engine converted."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from facetry.build import load as loading
from facetry.cli import main
from facetry.errors import CatalogueError
from facetry.models.towers import image

COMMANDS = {
    "predict": ("predict", "MODEL", "TABLE", "-o", "OUT"),
    "evaluate": ("evaluate", "MODEL", "TABLE", "--part", "all"),
    "export": ("export", "MODEL", "--to", "onnx", "-c", "TABLE"),
    "fill": ("fill", "MODEL", "TABLE", "-o", "OUT.csv"),
    "audit": ("audit", "TABLE", "-o", "OUT", "--features", "MODEL"),
}
TABLES = {
    "no id column": ("number,Category,attr_1\n1,Sarees,zari\n", "id"),
    "no rows": ("id,Category,attr_1\n", "has no rows"),
    "an id twice": ("id,Category,attr_1\n1,Sarees,zari\n1,Sarees,zari\n", "more than once"),
}


@pytest.mark.parametrize("fault", TABLES)
@pytest.mark.parametrize("command", COMMANDS)
def test_tables_are_checked_first(
    tiny_model: Path,
    drawn: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    fault: str,
) -> None:
    text, told = TABLES[fault]
    for place, name in ((loading, "load"), (image, "build_backbone")):
        monkeypatch.setattr(place, name, lambda *_, **__: pytest.fail("a model was loaded"))
    shutil.copy(drawn / "category_attributes.parquet", tmp_path)
    (tmp_path / "train_images").mkdir()
    (tmp_path / "train.csv").write_text(text)
    paths = {"MODEL": tiny_model, "TABLE": tmp_path / "train.csv", "OUT": tmp_path / "out"}
    paths["OUT.csv"] = tmp_path / "out.csv"
    words = [str(paths.get(word, word)) for word in COMMANDS[command]]
    result = CliRunner().invoke(main.app, words)
    assert isinstance(result.exception, CatalogueError), result.output
    assert told in str(result.exception)
