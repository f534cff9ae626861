"""Which files hold a product's photos. No path may leave the photo folder."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from facetry.catalogue.source import CHALLENGE_PATTERN
from facetry.errors import CatalogueError, PhotoProblem
from facetry.product import ProductId

_PATTERNS = (CHALLENGE_PATTERN, *(f"{{id}}.{end}" for end in ("jpg", "jpeg", "png", "webp")))

NAME_PHOTO_FOLDER = "Name it with --images, or images: in catalogue.yaml."
"""What to do where there is no photo folder."""


@dataclass(frozen=True, slots=True)
class PhotoFinder:
    """Finds photos below `folder`, by `pattern` from the id or by the names in the photo column."""

    folder: Path | None
    pattern: str = CHALLENGE_PATTERN

    def find(self, product_id: ProductId | None, cell: str | None) -> tuple[tuple[Path, ...], str]:
        """The paths of a product's photos, and a problem or "". Nothing on disk is looked at."""
        if self.folder is None:
            return (), PhotoProblem.NO_FOLDER
        names = [name.strip() for name in (cell or "").split("|") if name.strip()]
        if not names and product_id is not None:
            names = [self.name(product_id)]
        if not all(_stays_below(name) for name in names):
            return (), PhotoProblem.OUTSIDE
        return tuple(self.folder / name for name in names), "" if names else PhotoProblem.NONE_GIVEN

    def name(self, product_id: ProductId) -> str:
        """The photo's name after the pattern.

        Raises:
            CatalogueError: a pattern for numbers and an id that is none.
        """
        try:
            return self.pattern.format(id=product_id)
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise CatalogueError(
                f"The photo pattern {self.pattern!r} does not fit the id {product_id!r}: {error}.",
                hint="Use {id}, or {id:06d} for whole numbers padded to six digits.",
            ) from error


def guess_pattern(folder: Path | None, ids: list[ProductId]) -> str:
    """The pattern that finds most photos of the first few products."""

    def num_found(pattern: str) -> int:
        fits = [each for each in ids if "06d" not in pattern or isinstance(each, int)]
        names = [pattern.format(id=each) for each in fits]
        return sum(_is_file(folder / name) for name in names if _stays_below(name)) if folder else 0

    fallback = CHALLENGE_PATTERN if all(isinstance(each, int) for each in ids) else "{id}.jpg"
    best = max(_PATTERNS, key=num_found)
    return best if num_found(best) else fallback


def _stays_below(name: str) -> bool:
    """Whether a relative path, as either system writes it, has no way out of its folder."""
    return not any(
        path.anchor or ".." in path.parts or "\0" in name
        for path in (PurePosixPath(name), PureWindowsPath(name))
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # an id too long for a file's name
        return False
