"""Logs in JSON lines. They hold no photo, no key and no text of a product: only what is named here."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Final

LOGGER: Final = logging.getLogger("facetry.service")

FIELDS: Final = (
    "request_id",
    "method",
    "route",
    "status",
    "seconds",
    "reason",
    "key",
    "num_photos",
    "num_bytes",
    "model",
    "version",
    "job",
    "worker",
)
"""What an event may say besides its name."""


_LEVELS: Final = {
    "facetry.service": logging.INFO,
    "uvicorn.error": logging.WARNING,
    "python_multipart": logging.CRITICAL,  # what it warns of is the client's fault, and answered
}


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object in one line.

    Of an error it has the class and the places in the code, not its message, which may quote data.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        content: dict[str, object] = {
            "time": when,
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        content |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            places = traceback.extract_tb(error.__traceback__)
            content["error"] = type(error).__name__
            content["trace"] = [f"{each.filename}:{each.lineno} {each.name}" for each in places]
        return json.dumps(content)


def log(
    event: str, *, level: int = logging.INFO, error: BaseException | None = None, **facts: object
) -> None:
    """Log an event with facts, whose names are among `FIELDS`."""
    assert facts.keys() <= set(FIELDS), facts.keys()
    known = {name: value for name, value in facts.items() if value is not None}
    LOGGER.log(level, event, extra=known, exc_info=error)


def log_to_stderr() -> None:
    """Have this service and its server log JSON lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name, level in _LEVELS.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
