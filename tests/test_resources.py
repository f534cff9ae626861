"""Memory is a process's own."""

import subprocess
import sys

from facetry.resources import peak_rss_mib


def test_the_peak_stays_when_memory_is_given_back() -> None:
    before = peak_rss_mib()
    content = bytearray(300 * 2**20)
    content[:: 2**12] = b"x" * len(content[:: 2**12])
    assert peak_rss_mib() >= 300
    del content
    assert peak_rss_mib() >= max(before, 300)


def test_a_process_does_not_take_over_the_peak_of_the_one_that_started_it() -> None:
    content = bytearray(300 * 2**20)
    content[:: 2**12] = b"x" * len(content[:: 2**12])
    code = "from facetry.resources import peak_rss_mib; print(peak_rss_mib())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1 < float(done.stdout) < 200
