"""Objects in a bucket, read and written by URL: s3://, gs:// and az://.

Only s3 is tested; gs and az come with the same library, untested. Credentials, region and endpoint are
taken from the environment, as the cloud's own tools take them. The library repeats throttled requests
and those that a server error or a cut connection ended, with exponential backoff and jitter.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from facetry.errors import SettingError, StorageUnavailable, first_line
from facetry.runtime.extras import require
from facetry.runtime.files import writing

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES: Final = ("s3", "gs", "az")

_MAX_RETRIES: Final = 6
_RETRY_TIMEOUT: Final = timedelta(minutes=2)
_HINT: Final = "Check the address, the credentials and the network; run the same command again."


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object: its name below the prefix, size in bytes, and ETag, which changes with its content."""

    name: str
    size: int
    etag: str


def is_url(text: str) -> bool:
    """Whether a text is the address of objects, not a path.

    >>> is_url("s3://shop/photos"), is_url("photos/1.jpg")
    (True, False)
    """
    return text.partition("://")[0] in SCHEMES and "://" in text


@final
@dataclass(frozen=True)
class ObjectPrefix:
    """The objects of `bucket` (with its scheme, as in "s3://shop") whose keys are below `prefix`."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> "ObjectPrefix":
        """The objects at an address.

        Raises:
            SettingError: it is no address of objects, or names no bucket.
            MissingExtra: obstore is not installed.

        >>> ObjectPrefix.parse("s3://shop/run/")
        ObjectPrefix(bucket='s3://shop', prefix='run')
        """
        scheme, _, rest = url.partition("://")
        bucket, _, prefix = rest.partition("/")
        if not is_url(url) or not bucket:
            raise SettingError(
                f"{url!r} is not the address of objects.",
                hint=f"Addresses are SCHEME://BUCKET/KEY; schemes are {', '.join(SCHEMES)}.",
            )
        require("Reading and writing objects by URL", "obstore")
        return cls(f"{scheme}://{bucket}", prefix.strip("/"))

    def __str__(self) -> str:
        return f"{self.bucket}/{self.prefix}"

    def read(self, name: str) -> tuple[bytes, str] | None:
        """An object's bytes and ETag; None if there is no such object.

        Raises:
            StorageUnavailable: the bucket is missing, cannot be reached or refuses access.
        """
        from obstore.exceptions import BaseError

        try:
            found = self._store().get(self._key(name))
            return bytes(found.bytes()), found.meta["e_tag"] or ""
        except FileNotFoundError as error:
            self._require_bucket(error)
            return None
        except BaseError as error:
            raise self._unavailable(error) from error

    def download(self, name: str, path: Path) -> str | None:
        """Stream an object to a file, written atomically; its ETag, or None if there is no such object.

        Raises:
            StorageUnavailable: as in `read`.
        """
        from obstore.exceptions import BaseError

        try:
            found = self._store().get(self._key(name))
            with writing(path) as draft, draft.open("wb") as file:
                for chunk in found.stream():
                    file.write(chunk)
            return found.meta["e_tag"] or ""
        except FileNotFoundError as error:
            self._require_bucket(error)
            return None
        except BaseError as error:
            raise self._unavailable(error) from error

    def write(self, name: str, content: bytes) -> str:
        """Write an object, replacing any; its new ETag.

        Raises:
            StorageUnavailable: as in `read`.
        """
        from obstore.exceptions import BaseError

        try:
            return self._store().put(self._key(name), content)["e_tag"] or ""
        except (BaseError, FileNotFoundError) as error:
            raise self._unavailable(error) from error

    def write_if(self, name: str, content: bytes, *, etag: str | None) -> str | None:
        """Write an object only if its ETag still is `etag` (None: if it does not exist yet).

        Returns its new ETag; None if another writer was first, and then nothing is written.

        Raises:
            StorageUnavailable: as in `read`. If the connection broke, the object may be written or not.
        """
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        try:
            put = self._store().put(
                self._key(name),
                content,
                mode="create" if etag is None else {"e_tag": etag},
                use_multipart=False,  # only a single request can be conditional
            )
        except (AlreadyExistsError, PreconditionError):
            return None
        except (BaseError, FileNotFoundError) as error:
            raise self._unavailable(error) from error
        return put["e_tag"] or ""

    def list(self) -> Iterator[StoredObject]:
        """All objects below the prefix.

        Raises:
            StorageUnavailable: as in `read`.
        """
        from obstore.exceptions import BaseError

        start = len(self.prefix) + 1 if self.prefix else 0
        try:
            for chunk in self._store().list(self.prefix or None):
                for each in chunk:
                    yield StoredObject(
                        name=each["path"][start:], size=each["size"], etag=each["e_tag"] or ""
                    )
        except (BaseError, FileNotFoundError) as error:
            raise self._unavailable(error) from error

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _store(self) -> "ObjectStore":
        return _client(self.bucket, os.getpid())

    def _require_bucket(self, missing: Exception) -> None:
        """Raise if it is the bucket that is missing, not just an object in it."""
        if "NoSuchBucket" in str(missing):
            raise self._unavailable(missing) from missing

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
