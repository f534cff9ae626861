"""Connects to a Ray cluster, or starts one on this machine.

Ray's documentation recommends to run the driver on a machine of the cluster, by itself or as a Ray job,
where a lost connection does not end the work; `ray://` (Ray Client) it recommends for interactive use.
"""

import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from facetry.errors import ClusterError, SettingError, first_line
from facetry.runtime.extras import is_installed, require
from facetry.runtime.progress import Reporter

TIMEOUT_S: Final = 10.0
"""How long an address may take to answer."""

_ADDRESS: Final = re.compile(
    r"(?P<client>ray://)?(?P<host>[^:/\s]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})"
)
_ADMISSION_HINT: Final = (
    "Set RAY_AUTH_MODE=token and put the cluster's token into ~/.ray/auth_token, RAY_AUTH_TOKEN or the "
    "file named by RAY_AUTH_TOKEN_PATH; `ray get-auth-token` on a machine of the cluster prints it."
)


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a cluster is. Without a host: the one on this machine, which is started if there is none."""

    host: str = ""
    port: int = 0
    is_client: bool = False

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `ray`, `HOST:PORT` or `ray://HOST:PORT`; `ray` is what RAY_ADDRESS names, if it is set.

        Raises:
            SettingError: it is none of these.

        >>> Address.parse("10.0.0.5:6379")
        Address(host='10.0.0.5', port=6379, is_client=False)
        """
        found = _ADDRESS.fullmatch(os.environ.get("RAY_ADDRESS", "") if text == "ray" else text)
        if text == "ray" and not found:
            return cls()
        if not found or not 0 < int(found["port"]) < 2**16:
            raise SettingError(
                f"{text!r} names no Ray cluster.",
                hint="Name `ray` (this machine's), HOST:PORT (6379, on a machine of the cluster) or "
                "ray://HOST:PORT (10001).",
            )
        return cls(
            host=found["host"].strip("[]"), port=int(found["port"]), is_client=bool(found["client"])
        )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'ray://' if self.is_client else ''}{host}:{self.port}" if host else "ray"


@contextmanager
def connected(address: Address, reporter: Reporter) -> Iterator[None]:
    """Be connected to a cluster while the context lasts; a connection that there is already is used.

    Raises:
        ClusterError: it does not answer, does not let this process in, or has other versions.
        MissingExtra: Ray is not installed.
    """
    require("Working on Ray", "ray")
    import ray

    if ray.is_initialized():
        yield
        return
    if address.host:
        _require_answer(address)
    reporter.say(f"Connecting to the Ray cluster {address}." if address.host else "Starting Ray.")
    with _no_events():
        _connect(address)
        try:
            yield
        finally:
            ray.shutdown()


def _connect(address: Address) -> None:
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    options: dict[str, Any] = {"address": str(address)} if address.host else {"include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except ray.exceptions.AuthenticationError as error:
        raise _refused(address) from error
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ClusterError(
            f"Cannot use the Ray cluster {address}: {first_line(error)}",
            hint="This machine must be one of the cluster, with the same versions of Ray and Python: "
            "`ray start --address=HOST:PORT` joins it.",
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray sets one that exits


@contextmanager
def _no_events() -> Iterator[None]:
    """Keep Ray from printing paragraphs on workers that died: the pool says it in a line."""
    ray_worker: Any = import_module("ray._private.worker")
    shown = ray_worker.print_to_stdstream
    ray_worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        ray_worker.print_to_stdstream = shown


def _require_answer(address: Address) -> None:
    """Raise unless the address answers, and lets this process in.

    Ray itself would try for more than a minute, and then end the process.
    """
    if address.is_client and not is_installed("grpc"):
        raise SettingError(
            f"{address} needs Ray's client, which is not installed.",
            hint='Install it with pip install "ray[client]"; or run the command on a machine of the '
            "cluster, which Ray recommends, with --on HOST:6379.",
        )
    try:
        socket.create_connection((address.host, address.port), TIMEOUT_S).close()
    except OSError as error:
        raise _unanswered(address, error.strerror or str(error)) from error
    _require_token(address)
    if not address.is_client:
        _require_admission(address)


def _require_token(address: Address) -> None:
    """Raise if a token is to be shown but there is none: asking for admission would end the process."""
    from ray._private.authentication import authentication_token_setup as setup
    from ray.exceptions import AuthenticationError

    if not (file := Path(os.environ.get("RAY_AUTH_TOKEN_PATH", os.devnull))).exists():
        raise ClusterError(
            f"RAY_AUTH_TOKEN_PATH names {file}, which does not exist.", hint=_ADMISSION_HINT
        )
    try:
        setup.ensure_token_if_auth_enabled(create_token_if_missing=False)
    except AuthenticationError as error:
        raise _refused(address) from error


def _require_admission(address: Address) -> None:
    """Raise unless a cluster's control service lets this process in."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled, without types
    from ray.exceptions import AuthenticationError

    errors: list[Exception | None] = []

    def ask() -> None:
        try:
            GcsClient(address=str(address))
        except Exception as error:  # noqa: BLE001 - raised by the caller's thread
            errors.append(error)
        else:
            errors.append(None)

    asking = threading.Thread(target=ask, daemon=True)  # it may try for minutes
    asking.start()
    asking.join(TIMEOUT_S)
    match errors:
        case [AuthenticationError() as error]:
            raise _refused(address) from error
        case [Exception() as error]:
            raise _unanswered(address, first_line(error)) from error
        case []:
            raise _unanswered(address, "what is there is no Ray cluster")


def _refused(address: Address) -> ClusterError:
    return ClusterError(
        f"The Ray cluster {address} wants another token, or one at all.", hint=_ADMISSION_HINT
    )


def _unanswered(address: Address, reason: str) -> ClusterError:
    return ClusterError(
        f"No Ray cluster answers at {address}: {reason}.",
        hint="Check host and port, and that `ray status` finds the cluster there.",
    )
