"""The files that pages load are those that are named, and an installation has them all."""

import hashlib
import re
import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from facetry.review import entrance

STATIC = Path(entrance.__file__).parent / "static"


def test_files_of_others_are_those_that_are_named() -> None:
    table = (STATIC / "README.md").read_text()
    rows = re.findall(r"^\| `(.+?)` \|.* `([0-9a-f]{64})` \|$", table, re.MULTILINE)
    assert [name for name, _ in rows] == ["htmx.min.js"]
    for name, digest in rows:
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest


def test_the_version_that_is_named_is_the_file_s() -> None:
    (version,) = re.findall(r'version:"([\d.]+)"', (STATIC / "htmx.min.js").read_text())
    assert f"| {version} |" in (STATIC / "README.md").read_text()


def test_a_wheel_has_all_templates_and_files_that_pages_load(project: Path, tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(project)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    source = project / "src"
    folders = ("templates", "static")
    needed = {
        path.relative_to(source).as_posix()
        for path in (source / "facetry").rglob("*")
        if path.is_file() and path.parent.name in folders
    }
    assert len(needed) > 20
    assert needed <= packed
