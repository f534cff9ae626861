"""Memory is a process's own."""

import os
import subprocess
import sys

from facetry.runtime.memory import POLARS_SETTINGS


def test_the_peak_stays_when_memory_is_freed() -> None:
    """In a small process: this one may have held more before."""
    code = (
        "from facetry.runtime.memory import peak_rss_mib\n"
        "before = peak_rss_mib()\n"
        "content = bytearray(300 * 2**20)\n"
        "content[:: 2**12] = b'x' * len(content[:: 2**12])\n"
        "held = peak_rss_mib()\n"
        "del content\n"
        "print(before, held, peak_rss_mib())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, held, after = map(float, done.stdout.split())
    assert before < 200
    assert held >= 300
    assert after >= 300


def test_a_process_does_not_inherit_its_parents_peak() -> None:
    content = bytearray(300 * 2**20)
    content[:: 2**12] = b"x" * len(content[:: 2**12])
    code = "from facetry.runtime.memory import peak_rss_mib; print(peak_rss_mib())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1 < float(done.stdout) < 200


def test_polars_returns_freed_memory_to_the_system() -> None:
    """The setting is one of polars' allocator, which could be renamed: it must have an effect."""
    code = (
        "from facetry.runtime.memory import {name}, peak_rss_mib\n"
        "{name}()\n"
        "import polars as pl\n"
        "for _ in range(5): pl.int_range(1_000_000, eager=True).cast(pl.String)\n"
        "print([line.split()[1] for line in open('/proc/self/status') if 'RssAnon' in line][0])"
    )
    ours = {name: value for name, value in os.environ.items() if name not in POLARS_SETTINGS}
    held = []
    for name in ("release_polars_memory_at_once", "peak_rss_mib"):
        words = [sys.executable, "-c", code.format(name=name)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=ours)
        held.append(int(done.stdout) / 1024)
    given_back, kept = held
    assert given_back < kept - 5
