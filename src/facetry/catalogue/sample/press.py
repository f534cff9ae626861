"""Draws the photos of a plan and writes their files, over all cores or in this process."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

from facetry.catalogue.sample.config import SampleConfig
from facetry.catalogue.sample.faults import encode_photo
from facetry.catalogue.sample.photo import PhotoBrief, draw_photo
from facetry.catalogue.sample.plan import Block, Plan

CHUNK: Final = 64
"""Photos handed to a process at once."""

WORTH_A_PROCESS: Final = 256
"""Photos below which starting another process costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Task:
    """One photo file. `number` is the product's own, the brief's the one of its original."""

    path: Path
    brief: PhotoBrief
    fault: str
    number: int


def print_photos(
    plan: Plan, folder: Path, config: SampleConfig, on_progress: Callable[[int], None]
) -> None:
    """Write every photo of the plan; `on_progress` is told how many more are done."""
    for split in ("train", "test"):
        (folder / f"{split}_images").mkdir()
    chunks = _chunked(_list_tasks(plan, folder, config))
    num_photos = config.num_products * config.photos
    workers = min(config.workers or os.cpu_count() or 1, -(-num_photos // WORTH_A_PROCESS))
    if workers == 1:
        for chunk in chunks:
            on_progress(print_chunk(chunk))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for num_done in pool.map(print_chunk, chunks):
                on_progress(num_done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def print_chunk(tasks: Sequence[Task]) -> int:
    """Draw and write some photos; returns how many."""
    for task in tasks:
        task.path.write_bytes(_print(task))
    return len(tasks)


def _print(task: Task) -> bytes:
    quality = task.brief.chance("quality").randint(70, 92)
    rng = Random(f"{task.brief.seed}/{task.number}/fault")
    return encode_photo(draw_photo(task.brief), task.fault, quality, rng)


def _chunked(tasks: Iterator[Task]) -> Iterator[list[Task]]:
    while chunk := list(islice(tasks, CHUNK)):
        yield chunk


def _list_tasks(plan: Plan, folder: Path, config: SampleConfig) -> Iterator[Task]:
    for block in plan.blocks:
        images = folder / f"{block.split}_images"
        for place in range(len(block)):
            for take in range(config.photos):
                yield Task(
                    path=images / (f"{block.ids[place]:06d}" + (f"_{take}" if take else "") + ".jpg"),
                    brief=_brief(block, place, take, config),
                    fault=str(block.faults[place]),
                    number=block.first_number + place,
                )


def _brief(block: Block, place: int, take: int, config: SampleConfig) -> PhotoBrief:
    return PhotoBrief(
        category=block.facts.name,
        values=block.values(place),
        seed=config.seed,
        number=block.first_number + int(block.originals[place]),
        size_px=config.size_px,
        boxed=bool(block.boxed[place]),
        take=take,
    )
