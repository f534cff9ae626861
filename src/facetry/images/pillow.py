"""Pillow's ways that the rest must not know about: its many exceptions and its warnings."""

import struct
import warnings
import zlib
from typing import Final

from PIL import Image

PILLOW_MODULES: Final = r"PIL\."

# Pillow's parsers let through whatever a malformed file provokes in them.
PILLOW_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def silence_warnings() -> None:
    r"""Keep Pillow's remarks on odd files (corrupt EXIF, very many pixels) off every channel.

    A process-wide filter, and on purpose: `warnings.catch_warnings` swaps the filters of all
    threads at once, so threads that decode side by side would restore each other's. It covers what
    Pillow itself says, not its deprecations, which name the caller's module. It is put in front
    again only when something stands before it, since every change makes Python forget which
    warnings it has already shown.
    """
    first = warnings.filters[0] if warnings.filters else None
    if first is None or first[0] != "ignore" or getattr(first[3], "pattern", "") != PILLOW_MODULES:
        warnings.filterwarnings("ignore", module=PILLOW_MODULES)
