"""A small job that writes a folder step by step, and what kills it at every moment.

It imports little: a process that does the job is forked for each kill.
"""

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

from facetry.runtime import resumable
from facetry.runtime.files import write_text
from facetry.runtime.resumable import JobKind, open_or_resume
from tests.runtime.killing import killed

PLACED = JobKind(command="audit", preliminary=frozenset({"plan.txt"}))
IN_PLACE = JobKind(
    command="audit",
    preliminary=frozenset({"plan.txt"}),
    works_in_place=True,
    result="result.txt",
)
NUM_STEPS = 3


def work(out: Path, kind: JobKind, seed: int = 1, num_steps: int = NUM_STEPS) -> list[int]:
    """A small job; returns the steps that were done, which are all that were not kept."""
    done = []
    with open_or_resume(out, {"seed": seed, "sizes": (1, 2)}, kind) as job:
        if job.is_finished:
            return []
        if not (job.folder / "plan.txt").exists():
            write_text(job.folder / "plan.txt", f"with {seed}")
        for step in range(num_steps):
            file = job.folder / "steps" / f"{step}.txt"
            if not file.exists():
                write_text(file, f"{step} with {seed}")
                done.append(step)
        if num_steps == NUM_STEPS:
            write_text(job.folder / "result.txt", f"all with {seed}")
            if not kind.works_in_place:
                job.finish()
    return done


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "job.json"]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def partial(out: Path, kind: JobKind) -> Path:
    return out if kind.works_in_place else resumable.partial_folder(out)


def attempt_otherwise(out: Path, kind: JobKind) -> None:
    """What an attempt with another seed leaves that failed before it did anything."""
    work(out, kind, seed=0, num_steps=0)


def begin_nothing(out: Path, kind: JobKind) -> None:
    """No attempt before."""


def kill_at_every_moment(folder: Path, kind: JobKind, before: Callable[[Path, JobKind], None]) -> None:
    """Kill the job before each of its file operations in turn; each time all is there in the end."""
    os.fsync = lambda _: None  # what a killed process has written is there, on disk or not
    work(folder / "unbroken" / "out", kind)
    expected = contents(folder / "unbroken" / "out")
    for number in count(1):
        out = folder / str(number) / "out"
        before(out, kind)
        was_killed = killed(out.parent, number, work, out, kind)
        kept = {
            int(path.stem) for each in (out, partial(out, kind)) for path in each.glob("steps/?.txt")
        }
        again = work(out, kind)
        assert set(again) == set(range(NUM_STEPS)) - kept
        assert contents(out) == expected, "and no half-written file"
        assert [path.name for path in out.parent.iterdir()] == ["out"]
        if not was_killed:
            break
    assert number > 20
