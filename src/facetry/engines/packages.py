"""The optional packages that engines and exports need, imported when they are wanted.

Types of these packages are written as `Any`: none of them brings complete ones.
"""

import importlib.util
import sys
from typing import Any

from facetry.errors import MissingExtra

_EXTRAS = {
    "openvino": "openvino",
    "nncf": "openvino",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
}
"""Which extra brings a package."""


def package(name: str) -> Any:
    """Import an optional package; those that report on their use are kept from it.

    Raises:
        MissingExtra: it is not installed.
    """
    # openvino and nncf send what they are used for unless this package cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra(f"The package {name}", _EXTRAS[name]) from error


def is_installed(name: str) -> bool:
    """Whether an optional package is there; does not import it."""
    if name in sys.modules:
        return sys.modules[name] is not None
    return importlib.util.find_spec(name) is not None
