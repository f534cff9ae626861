"""How many photos each key may send: a token bucket for each, filled anew within a minute."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from facetry.service.database import Clock
from facetry.service.problems import Problem

MAX_BUCKETS: Final = 10_000
"""Keys that are remembered at once; the one that sent nothing for longest is forgotten first."""


@dataclass
class _Bucket:
    """How many photos may be sent at a time; more with every second that passes."""

    num_left: float
    at: float


class Quota:
    """Counts the photos of each key; the whole quota of a minute may be sent at once.

    >>> quota = Quota(100)
    >>> quota.take("key", 100)
    """

    def __init__(self, photos_per_minute: int | None, clock: Clock = time.monotonic) -> None:
        self._photos_per_minute = photos_per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key_id: str, num_photos: int) -> None:
        """Count photos that are about to be computed.

        Raises:
            Problem: there are more than are left; none of them is counted.
        """
        limit = self._photos_per_minute
        if limit is None:
            return
        if num_photos > limit:
            raise Problem(
                "quota_exceeded",
                f"{num_photos} photos in one request; a key may send {limit} a minute.",
                hint="Send fewer photos at a time.",
            )
        with self._lock:
            bucket = self._filled(key_id, limit)
            absent = num_photos - bucket.num_left
            if absent <= 0:
                bucket.num_left -= num_photos
                return
        raise Problem(
            "quota_exceeded",
            f"The key may send {limit} photos a minute, which are used up.",
            hint="Send the request again after the time in Retry-After.",
            retry_after_s=absent * 60 / limit,
        )

    def _filled(self, key_id: str, limit: int) -> _Bucket:
        """The key's bucket, as full as it is by now."""
        now = self._clock()
        bucket = self._buckets.setdefault(key_id, _Bucket(limit, now))
        passed = max(0.0, now - bucket.at)
        bucket.num_left = min(limit, bucket.num_left + passed * limit / 60)
        bucket.at = now
        self._buckets.move_to_end(key_id)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return bucket
