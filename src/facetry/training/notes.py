"""Sentences on how a model was trained, for its card: kept in the folder of its training."""

import json
from pathlib import Path

from facetry.files import write_text

_NOTES = "notes.json"


def write_note(folder: Path, what: str, sentence: str) -> None:
    """Keep a sentence on `what` was done."""
    write_text(folder / _NOTES, json.dumps({**read_notes(folder), what: sentence}, indent=1))


def read_notes(folder: Path) -> dict[str, str]:
    """The sentences by what they are on; none where nothing was written."""
    path = folder / _NOTES
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
