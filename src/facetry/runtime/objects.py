"""Objects in a bucket as paths: s3://, gs:// and az:// addresses where else a file's path stands.

Only s3 is tested; gs and az come with the same library, untested. Credentials, region and endpoint are
taken from the environment, as the cloud's own tools take them. The library repeats throttled requests
and those that a server error or a cut connection ended, with exponential backoff and jitter.

What cannot be done with an object (to rename it, to lock it, to open it as a file) raises an error that
says so.
"""

import errno
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Final, NoReturn, Self, final

from facetry.errors import SettingError, StorageUnavailable, first_line
from facetry.runtime.extras import require

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES: Final = ("s3", "gs", "az")

_MAX_RETRIES: Final = 6
_RETRY_TIMEOUT: Final = timedelta(minutes=2)
_HINT: Final = "Check the address, the credentials and the network; run the same command again."
_CHUNK: Final = 1000  # objects of a listing at a time


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object: its name below a prefix, size in bytes, and ETag, which changes with its content."""

    name: str
    size: int
    etag: str


def located(path: str | Path) -> Path:
    """The path, an `ObjectPath` if it is the address of objects.

    An address that has been through `pathlib.Path`, which makes one slash of two, is still known as one.

    Raises:
        SettingError: an address without a bucket, or with `..` in it.
        MissingExtra: it is an address, and obstore is not installed.

    >>> str(located("photos/1.jpg")), str(located(Path("s3://shop/photos")))
    ('photos/1.jpg', 's3://shop/photos')
    """
    if isinstance(path, ObjectPath):
        return path
    if not is_address(path):
        return Path(path)
    found = ObjectPath(path)
    if len(found.parts) == 1 or ".." in found.parts:
        raise SettingError(
            f"{str(found)!r} is not the address of objects.",
            hint=f"Addresses are SCHEME://BUCKET/KEY; schemes are {', '.join(SCHEMES)}.",
        )
    require("Reading and writing objects by URL", "obstore")
    return found


def is_address(path: str | Path) -> bool:
    """Whether a path is the address of objects."""
    parts = PosixPath(path).parts
    return bool(parts) and parts[0] in _STARTS


_STARTS: Final = frozenset(f"{scheme}:" for scheme in SCHEMES)


def joined(base: Path, path: Path) -> Path:
    """A path that may be relative to the folder `base`; either may be an address."""
    return located(path if path.is_absolute() or is_address(path) else base / path)


@final
class ObjectPath(PosixPath):
    """The address of an object, or of all objects whose keys begin with it and a slash.

    All methods raise `StorageUnavailable` if the bucket is missing, cannot be reached or refuses access.
    """

    __slots__ = ()

    def __str__(self) -> str:
        text = "/".join(self.parts)
        return text.replace(":/", "://", 1) if self.parts[:1] and self.parts[0] in _STARTS else text

    def __fspath__(self) -> NoReturn:
        raise SettingError(
            f"{self} is an object: here, only files can be worked with.",
            hint="Copy it to a folder, and name that.",
        )

    def is_absolute(self) -> bool:
        """An address does not depend on the working directory."""
        return True

    def absolute(self) -> Self:
        """The same address."""
        return self

    def resolve(self, strict: bool = False) -> Self:  # noqa: ARG002 - pathlib's signature
        """The same address: there are no links."""
        return self

    @property
    def bucket(self) -> str:
        """The bucket, with its scheme: "s3://shop"."""
        return "//".join(self.parts[:2])

    @property
    def key(self) -> str:
        """The key in the bucket; "" for the bucket itself."""
        return "/".join(self.parts[2:])

    def read(self, *, max_bytes: int | None = None) -> tuple[bytes, str]:
        """The object's bytes and ETag.

        Raises:
            FileNotFoundError: there is no such object.
            OSError: it has more bytes than it may have; with errno EFBIG.
        """
        with self._explained():
            found = self._store.get(self.key)
            if max_bytes is not None and found.meta["size"] > max_bytes:
                raise OSError(errno.EFBIG, f"{found.meta['size'] / 2**20:.0f} MiB")
            return bytes(found.bytes()), found.meta["e_tag"] or ""

    def read_bytes(self) -> bytes:
        """The object's bytes; raises `FileNotFoundError` as pathlib does."""
        return self.read()[0]

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """The object's text."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def download(self, file: Path) -> str:
        """Stream the object to a new file; returns its ETag.

        Raises:
            FileNotFoundError: there is no such object.
        """
        with self._explained():
            found = self._store.get(self.key)
            with file.open("wb") as target:
                for chunk in found.stream():
                    target.write(chunk)
            return found.meta["e_tag"] or ""

    def write_bytes(self, data: bytes) -> int:  # type: ignore[override]  # bytes are what is needed
        """Write the object in one request, replacing any."""
        with self._explained():
            self._store.put(self.key, data, use_multipart=False)
        return len(data)

    def write_if(self, content: bytes, *, etag: str | None) -> str | None:
        """Write the object only if its ETag still is `etag` (None: if it does not exist yet).

        Returns its new ETag; None if another writer was first, and then nothing is written. If the
        connection broke, the object may be written or not.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._explained():
            try:
                put = self._store.put(
                    self.key,
                    content,
                    mode="create" if etag is None else {"e_tag": etag},
                    use_multipart=False,  # only a single request can be conditional
                )
            except (AlreadyExistsError, PreconditionError):
                return None
            return put["e_tag"] or ""

    def upload(self, file: Path) -> None:
        """Write a file's content to the object, replacing any; large ones in several requests."""
        with self._explained():
            self._store.put(self.key, file)

    def unlink(self, missing_ok: bool = False) -> None:  # noqa: ARG002 - pathlib's signature
        """Remove the object, if it is there."""
        with self._explained():
            self._store.delete(self.key)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a bucket has no folders."""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:  # noqa: ARG002
        """The object's size and the time of its last change, as those of a file.

        Raises:
            FileNotFoundError: there is no such object.
        """
        with self._explained():
            found = self._store.head(self.key)
            changed = int(found["last_modified"].timestamp())
            mode = stat.S_IFREG | 0o444
            return os.stat_result((mode, 0, 0, 1, 0, 0, found["size"], changed, changed, changed))

    def etag(self) -> str | None:
        """The object's ETag; None if there is no such object."""
        try:
            with self._explained():
                return self._store.head(self.key)["e_tag"] or ""
        except FileNotFoundError:
            return None

    def is_file(self) -> bool:
        """Whether there is such an object."""
        return bool(self.key) and self.etag() is not None

    def is_dir(self) -> bool:
        """Whether there is any object below it."""
        return next(self.below(), None) is not None

    def exists(self) -> bool:
        """Whether there is such an object, or any below it."""
        return self.is_file() or self.is_dir()

    def below(self) -> Iterator[StoredObject]:
        """All objects below it, with their names relative to it."""
        start = len(self.key) + 1 if self.key else 0
        with self._explained():
            for chunk in self._store.list(self.key or None, chunk_size=_CHUNK):
                for each in chunk:
                    yield StoredObject(
                        name=each["path"][start:], size=each["size"], etag=each["e_tag"] or ""
                    )

    def iterdir(self) -> Generator[Self, None, None]:
        """The objects directly below it, and the next parts of the keys of others."""
        with self._explained():
            found = self._store.list_with_delimiter(self.key or None)
        names = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
        yield from (self / name.rpartition("/")[2] for name in sorted(names))

    def glob(self, pattern: str) -> Iterator[Self]:  # type: ignore[override]  # only names match
        """The paths directly below it whose names match a pattern."""
        return (each for each in self.iterdir() if fnmatchcase(each.name, pattern))

    def rglob(self, pattern: str) -> Iterator[Self]:  # type: ignore[override]  # only names match
        """The objects below it whose last names match a pattern."""
        for each in self.below():
            if fnmatchcase(each.name.rpartition("/")[2], pattern):
                yield self / each.name

    @property
    def _store(self) -> "ObjectStore":
        return _client(self.bucket, os.getpid())

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the library's errors into `FileNotFoundError` or `StorageUnavailable`."""
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise self._unavailable(error) from error
            raise FileNotFoundError(f"There is no object {self}.") from error
        except BaseError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> StorageUnavailable:
        if "ExpiredToken" in str(error):
            return StorageUnavailable(
                f"The credentials for {self.bucket} have expired.",
                hint="Renew them; the same command can then be run again.",
            )
        return StorageUnavailable(f"{self.bucket} cannot be used: {first_line(error)}", hint=_HINT)


@cache
def _client(bucket: str, _process: int) -> "ObjectStore":
    """A bucket's client in this process: a forked process must not use its parent's connections."""
    from obstore.store import from_url

    return from_url(bucket, retry_config={"max_retries": _MAX_RETRIES, "retry_timeout": _RETRY_TIMEOUT})
