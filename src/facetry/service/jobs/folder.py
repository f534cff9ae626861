"""The folder of one job: its table, its description, its photos and its result.

It is called like the job's id, which is random, and lies in the service's own data.
"""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

JOBS: Final = "jobs"
"""The folder in the service's data that holds those of all jobs."""

NAME: Final = re.compile("[0-9a-f]{32}")
"""What a job's id, and so its folder, is called like."""

_DELETED: Final = ".deleted"


@dataclass(frozen=True)
class JobFolder:
    """The files of a job, in `path`; `suffix` is the ending of its table and of what becomes of it."""

    path: Path
    suffix: str

    @property
    def table(self) -> Path:
        """The table as it was sent."""
        return self.path / f"table{self.suffix}"

    @property
    def description(self) -> Path:
        """The catalogue.yaml that says what the table's columns hold."""
        return self.path / "catalogue.yaml"

    @property
    def photos(self) -> Path:
        """The photos that came with it."""
        return self.path / "photos"

    @property
    def result(self) -> Path:
        """The filled table, once it is done."""
        return self.path / f"filled{self.suffix}"


def remove_folder(path: Path) -> None:
    """Remove a job's folder, if it is there.

    It is renamed first, so that nobody finds half of it, and what is being written in it fails.
    """
    deleted = path.with_name(f"{path.name}{_DELETED}")
    try:
        path.rename(deleted)
    except FileNotFoundError:
        return
    except OSError:  # an earlier removal has left something under that name
        deleted = path
    shutil.rmtree(deleted, ignore_errors=True)


def without_folders(text: str, folders: Iterable[Path]) -> str:
    """A text for users without the folders of the paths in it: where files are is nobody's business.

    >>> without_folders("/srv/jobs/7f/table.csv has no rows.", [Path("/srv/jobs/7f")])
    'table.csv has no rows.'
    """
    known = {str(path) for folder in folders for path in (folder, folder.absolute(), folder.resolve())}
    for each in sorted(known, key=len, reverse=True):
        text = text.replace(f"{each}/", "").replace(each, Path(each).name)
    return text
