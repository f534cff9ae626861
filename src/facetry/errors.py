"""The errors that users can cause or meet, one class for each cause.

FacetryError                 every error a user can cause or meet
├── SettingError             an option, or a combination of settings, that is not allowed
│   └── RecipeError          a recipe's keys or values
├── CatalogueError           a table, its columns, its rows or its photo folder
│   ├── InputChanged         the table or its photos changed or went while they were read
│   └── NotEnoughData        nothing, or too little, to learn from, to index or to score
├── TaxonomyError            categories, attributes, values
├── ImageError               one photo that cannot be used; carries the reason as a `PhotoProblem`
├── BackgroundError          a background removal model that is missing or cannot be used
├── BackboneError            an unknown backbone, or weights that do not fit it
│   └── WeightsUnavailable   weights that could not be fetched
├── CheckpointError          a checkpoint of other code that cannot be imported
├── ModelFolderError         a model folder that is missing, incomplete, damaged or too new
├── CalibrationError         a model's calibration that is damaged, or another model's
├── DriftReferenceError      what a batch is compared with is missing, damaged or of another model
├── EngineError              an engine that does not support what is wanted
├── ExportError              a predictor that cannot be exported, or an export that cannot be used
├── PredictorMismatch        predictors that cannot work together, or on this catalogue
│   └── HeldOutLearned       a model was trained on the products that it is to be evaluated on
├── FolderError              an output folder that cannot be written or resumed
│   ├── FolderInUse          another process is writing it
│   ├── FolderOccupied       it holds something else
│   ├── FolderMismatch       its content is of other settings, data or version
│   └── FolderDamaged        what an earlier run wrote in it can no longer be read
├── WriteFailed              a file that could not be written; mostly the disk is full
├── StorageUnavailable       a bucket of objects that cannot be reached, or that refuses access
├── DatabaseUnavailable      the service's database cannot be reached or used, or is too new
├── ServiceError             a service that cannot be reached, or that refused a request
├── ClusterError             a Ray cluster that cannot be reached, or whose workers cannot be used
├── OutOfMemory              not even the smallest batch fits in memory
├── NonFiniteLoss            the loss became NaN or infinite
├── WorkerFailed             work in another process that raised an error
│   └── WorkerDied           the process itself ended: killed, or crashed
├── NoTrialScored            no trial of a tuning study got a score
└── MissingExtra             a package that only some work needs is not installed
"""

import difflib
from collections.abc import Iterable
from enum import StrEnum


class FacetryError(Exception):
    """A message, which says what was given and what is allowed, and a hint what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class SettingError(FacetryError):
    """An option, or a combination of settings, that is not allowed."""


class RecipeError(SettingError):
    """A recipe has an unknown key or a value that is not allowed."""


class CatalogueError(FacetryError):
    """A table, its columns, its rows or its photo folder cannot be used."""


class InputChanged(CatalogueError):
    """A table or its photos changed, or went away, while they were read."""


class NotEnoughData(CatalogueError):
    """There is nothing, or too little, to learn from, to index or to score."""


class TaxonomyError(FacetryError):
    """Categories, attributes or values that are malformed or unknown."""


class PhotoProblem(StrEnum):
    """Why a photo could not be used; reports and tables show the value."""

    NO_FOLDER = "no photo folder"
    NONE_GIVEN = "no photo given"
    MISSING = "file not found"
    OUTSIDE = "path leaves the image folder"
    ADDRESS = "address, to be downloaded"
    EMPTY = "file is empty"
    NOT_AN_IMAGE = "not an image"
    FORMAT = "image format not allowed"
    HEIC = "HEIC, to be converted to JPEG"
    TOO_LARGE = "too many pixels"
    TOO_HEAVY = "file is too large"
    TRUNCATED = "file is truncated"
    UNREADABLE = "cannot be decoded"


class ImageError(FacetryError):
    """One photo that cannot be used."""

    def __init__(self, problem: PhotoProblem, detail: str = "") -> None:
        super().__init__(f"{problem.value} ({detail})" if detail else problem.value)
        self.problem = problem


class BackgroundError(FacetryError):
    """A background removal model that is missing or cannot be used."""


class BackboneError(FacetryError):
    """A backbone that is not known, or weights that do not fit it."""


class WeightsUnavailable(BackboneError):
    """Pretrained weights that could not be fetched."""


class CheckpointError(FacetryError):
    """A checkpoint of other code that cannot be imported."""


class ModelFolderError(FacetryError):
    """A model folder that is missing, incomplete, damaged or made by a newer version."""


class CalibrationError(FacetryError):
    """A model's calibration that is damaged, of another model, or cannot be made."""


class DriftReferenceError(FacetryError):
    """What a model's new batches are compared with is missing, damaged or another model's."""


class EngineError(FacetryError):
    """An engine that does not support what is wanted, such as a precision."""


class ExportError(FacetryError):
    """A predictor that cannot be exported, or an export that is damaged or cannot be used."""


class PredictorMismatch(FacetryError):
    """Predictors that cannot work together, or on this catalogue."""


class HeldOutLearned(PredictorMismatch):
    """A model was trained on the products that it is to be evaluated on."""


class FolderError(FacetryError):
    """An output folder that cannot be written, or whose earlier work cannot be resumed."""


class FolderInUse(FolderError):
    """A folder that another process is writing."""


class FolderOccupied(FolderError):
    """A folder that holds something else, which is not touched."""


class FolderMismatch(FolderError):
    """A folder whose content was made with other settings or data, or by another version."""


class FolderDamaged(FolderError):
    """What an earlier run wrote in a folder can no longer be read."""


class WriteFailed(FacetryError):
    """A file could not be written; what was complete before is intact."""


class StorageUnavailable(FacetryError):
    """A bucket of objects is missing, cannot be reached or refuses access."""


class DatabaseUnavailable(FacetryError):
    """The service's database cannot be reached, is locked or damaged, or a newer version made it."""


class ServiceError(FacetryError):
    """A service cannot be reached, or refused a request: the HTTP `status`, 0 without one; `reason`."""

    def __init__(self, message: str, *, hint: str = "", status: int = 0, reason: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason


class ClusterError(FacetryError):
    """A Ray cluster cannot be reached, or its workers cannot be used."""


class OutOfMemory(FacetryError):
    """Not even the smallest batch fits in memory."""


class NonFiniteLoss(FacetryError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""


class WorkerFailed(FacetryError):
    """Work in another process raised an error; `trace` is its traceback, "" for a `FacetryError`."""

    def __init__(self, message: str, *, hint: str = "", trace: str = "") -> None:
        super().__init__(message, hint=hint)
        self.trace = trace


class WorkerDied(WorkerFailed):
    """A worker process ended unexpectedly: the system killed it, or it crashed."""


class NoTrialScored(FacetryError):
    """No trial of a tuning study got a score."""


class MissingExtra(FacetryError):
    """An optional package is not installed: `what` needs it, the extra `extra` installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs packages that are not installed.",
            hint=f'Install it with: pip install "facetry[{extra}]"',
        )


def first_line(error: Exception) -> str:
    """The first line of another library's error message, or the error's class if it has none.

    >>> first_line(KeyError())
    'KeyError'
    """
    lines = (line for line in str(error).splitlines() if line.strip())
    return next(lines, type(error).__name__)


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to `name`, None if none is close.

    >>> closest("Catgory", ["id", "Category"])
    'Category'
    """
    folded = {each.casefold(): each for each in sorted(known, reverse=True)}
    found = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint with the known name closest to `name`, or with all known names if none is close.

    >>> nearest("Catgory", ["id", "Category"])
    "Did you mean 'Category'?"
    >>> nearest("x", ["id", "Category"])
    'Known: Category, id.'
    """
    names = sorted(set(known))
    if (found := closest(name, names)) is not None:
        return f"Did you mean {found!r}?"
    shown = ", ".join(names[:12]) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")
    return f"Known: {shown}."
