"""What a process takes of the machine."""

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_rss_mib() -> float:
    """The most memory that this process has held so far, in MiB; just after a fork, what it holds.

    Linux is asked by /proc: what `getrusage` says there includes the peak of the process that started
    this one, however large that was.
    """
    if _STATUS.exists():
        lines = (line.split() for line in _STATUS.read_text().splitlines())
        return next(int(words[1]) for words in lines if words[0] == "VmHWM:") / 1024
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 2**20
