"""Newer versions of a served model: trained on what people decided, and taken into use by choice.

They are in `models/NAME` of the service's folder, numbered from 1. Which one is in use is written there,
so that a service which is started again goes on with it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final

from facetry.errors import ModelFolderError
from facetry.models.folder import ModelFolder, open_folder
from facetry.runtime.files import write_text
from facetry.service.config import ServiceConfig

_FOLDER: Final = "models"
_CHOICE: Final = "in_use.json"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model folder that could be served; number 0 is the one that the service was started with."""

    number: int
    path: Path
    is_in_use: bool

    @property
    def is_trained(self) -> bool:
        """Whether its training has ended."""
        return self.folder is not None

    @cached_property
    def folder(self) -> ModelFolder | None:
        """The folder opened, None while it is trained."""
        try:
            return open_folder(self.path)
        except ModelFolderError:
            return None


class Candidates:
    """Those of one served model; `original` is the folder that the service was started with."""

    def __init__(self, data: Path, name: str, original: Path) -> None:
        self._folder = data / _FOLDER / name
        self._original = original

    @property
    def in_use(self) -> int:
        """The number of the one that is in use."""
        try:
            found = json.loads((self._folder / _CHOICE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return 0
        # A service that is started with another model serves that one, whatever was chosen before.
        return int(found["number"]) if found["original"] == str(self._original) else 0

    def all(self) -> list[Candidate]:
        """The original one, then those that were trained or are being trained."""
        return [self.get(0), *(self.get(number) for number in self._numbers())]

    def get(self, number: int) -> Candidate:
        """One by its number.

        Raises:
            ModelFolderError: there is none.
        """
        if number and number not in self._numbers():
            raise ModelFolderError(f"There is no model {number}.", hint="Reload the page.")
        path = self._folder / str(number) if number else self._original
        return Candidate(number=number, path=path, is_in_use=number == self.in_use)

    @property
    def next_path(self) -> Path:
        """The folder for the next one to be trained: one that was begun already, or a new one."""
        trained = [each.number for each in self.all() if each.is_trained]
        return self._folder / str(max(trained) + 1)

    def choose(self, number: int, person: str) -> None:
        """Write down that one is in use from now on."""
        choice = {
            "number": number,
            "original": str(self._original),
            "by": person,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        write_text(self._folder / _CHOICE, json.dumps(choice))

    def comparison(self, number: int) -> Path:
        """The file with what a comparison of one with that in use has found."""
        return self._folder / f"compared_{number}_{self.in_use}.json"

    def _numbers(self) -> list[int]:
        """Of those that are trained, and of those whose training has begun or stopped."""
        folders = self._folder.iterdir() if self._folder.is_dir() else ()
        names = {path.name.removesuffix(".partial") for path in folders if path.is_dir()}
        return sorted(int(name) for name in names if name.isdecimal())


def chosen_folders(config: ServiceConfig, say: Callable[[str], object]) -> dict[str, Path]:
    """The folders of a service's models, by name: those that were taken into use; says which ones.

    Raises:
        ModelFolderError: one is gone.
    """
    folders = dict(config.models)
    for name, original in config.models.items():
        candidates = Candidates(config.data, name, original)
        if number := candidates.in_use:
            folders[name] = candidates.get(number).path
            say(f"{name}: {folders[name]} was chosen on its page, in place of {original}.")
    return folders
