"""Packages that only some work needs, and the extras that install them.

Facetry itself needs what reads a table, decodes photos and serves an export; all else is optional. Work
asks with `require` before it begins, not when it first imports a package hours later.
"""

import importlib.util
import sys
from collections.abc import Mapping
from typing import Final

from facetry.errors import MissingExtra

EXTRAS: Final[Mapping[str, str]] = {
    "accelerate": "train",
    "huggingface_hub": "train",
    "open_clip": "train",
    "sklearn": "train",
    "timm": "train",
    "torch": "train",
    "torchvision": "train",
    "faiss": "search",
    "imagehash": "search",
    "matplotlib": "report",
    "cv2": "grabcut",
    "cleanlab": "audit",
    "cleanvision": "audit",
    "pandas": "audit",
    "openvino": "openvino",
    "onnxruntime": "onnx",
    "nncf": "export",
    "onnx": "export",
    "onnxscript": "export",
    "obstore": "scale",
    "alembic": "serve",
    "fastapi": "serve",
    "httptools": "serve",
    "multipart": "serve",
    "prometheus_client": "serve",
    "psycopg": "serve",
    "python_multipart": "serve",
    "sqlalchemy": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "ray": "scale",
}
"""The extra that installs a package, by the package's name in Python."""


def is_installed(name: str) -> bool:
    """Whether an optional package is installed; does not import it."""
    if name in sys.modules:
        return sys.modules[name] is not None
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def require(what: str, *packages: str) -> None:
    """Check that the packages that some work needs are installed.

    Raises:
        MissingExtra: one is not; names the extra that installs it.

    >>> require("Arithmetic", "math")
    """
    absent = [name for name in packages if not is_installed(name)]
    if absent:
        raise MissingExtra(what, EXTRAS[absent[0]])


def missing_extra(error: ImportError) -> MissingExtra | None:
    """The error to show for a failed import; None if that is not of an optional package.

    >>> print(missing_extra(ImportError("no", name="torch.nn")))
    This needs packages that are not installed.
    Install it with: pip install "facetry[train]"
    """
    extra = EXTRAS.get((error.name or "").partition(".")[0])
    return MissingExtra("This", extra) if extra else None
