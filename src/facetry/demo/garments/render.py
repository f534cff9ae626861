"""Draw the photos of a plan, with their faults, and write their files, in one process or several."""

import io
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

from PIL import Image, ImageEnhance, ImageFilter

from facetry.demo.garments.config import SampleConfig
from facetry.demo.garments.photo import PhotoBrief, draw_photo
from facetry.demo.garments.plan import NO_FAULT, Block, Plan

PAGE: Final = "<html><head><title>404</title></head><body>This photo has moved.</body></html>\n"
TINY_PX: Final = 24


def encode_photo(photo: Image.Image, fault: str, quality: int, rng: Random) -> bytes:
    """The bytes of the photo's file. `quality` is JPEG's; `rng` decides how bad the fault is."""
    return ENCODERS[fault](photo, quality, rng)


def _jpeg(photo: Image.Image, quality: int, _rng: Random) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _near_duplicate(photo: Image.Image, quality: int, rng: Random) -> bytes:
    """The photo cropped a little, brighter or darker, and with another compression."""
    width, height = photo.size
    left, top = width * rng.uniform(0.01, 0.04), height * rng.uniform(0.01, 0.04)
    right, bottom = width * rng.uniform(0.96, 0.99), height * rng.uniform(0.96, 0.99)
    cropped = photo.crop((round(left), round(top), round(right), round(bottom)))
    gain = rng.choice((0.9, 0.94, 1.06, 1.1))
    return _jpeg(ImageEnhance.Brightness(cropped).enhance(gain), 160 - quality, rng)


def _blurred(photo: Image.Image, quality: int, rng: Random) -> bytes:
    radius = photo.width * rng.uniform(0.03, 0.05)
    return _jpeg(photo.filter(ImageFilter.GaussianBlur(radius)), quality, rng)


def _dark(photo: Image.Image, quality: int, rng: Random) -> bytes:
    return _jpeg(ImageEnhance.Brightness(photo).enhance(rng.uniform(0.06, 0.12)), quality, rng)


def _tiny(photo: Image.Image, quality: int, rng: Random) -> bytes:
    height = max(1, round(TINY_PX * photo.height / photo.width))
    return _jpeg(photo.resize((TINY_PX, height), Image.Resampling.BOX), quality, rng)


def _truncated(photo: Image.Image, quality: int, rng: Random) -> bytes:
    whole = _jpeg(photo, quality, rng)
    return whole[: max(700, round(len(whole) * rng.uniform(0.4, 0.7)))]


def _not_an_image(_photo: Image.Image, _quality: int, _rng: Random) -> bytes:
    return PAGE.encode()


def _empty(_photo: Image.Image, _quality: int, _rng: Random) -> bytes:
    return b""


ENCODERS: Final[Mapping[str, Callable[[Image.Image, int, Random], bytes]]] = {
    NO_FAULT: _jpeg,
    "exact duplicate": _jpeg,
    "near duplicate": _near_duplicate,
    "blurred": _blurred,
    "dark": _dark,
    "tiny": _tiny,
    "truncated": _truncated,
    "not an image": _not_an_image,
    "empty": _empty,
}


CHUNK: Final = 64
"""Photos that a process renders at a time."""

MIN_PER_PROCESS: Final = 256
"""Photos per process; with fewer, starting the process costs more than it saves."""


@dataclass(frozen=True, slots=True)
class RenderTask:
    """One photo file. `number` is the product's own, the brief's is that of its original."""

    path: Path
    brief: PhotoBrief
    fault: str
    number: int


def render_photos(
    plan: Plan, folder: Path, config: SampleConfig, on_progress: Callable[[int], None]
) -> None:
    """Write every photo of the plan; calls `on_progress` with the number of photos done since."""
    for split in ("train", "test"):
        (folder / f"{split}_images").mkdir()
    chunks = _chunked(_list_tasks(plan, folder, config))
    num_photos = config.num_products * config.photos
    workers = min(config.workers or os.cpu_count() or 1, -(-num_photos // MIN_PER_PROCESS))
    if workers == 1:
        for chunk in chunks:
            on_progress(render_chunk(chunk))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for num_done in pool.map(render_chunk, chunks):
                on_progress(num_done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def render_chunk(tasks: Sequence[RenderTask]) -> int:
    """Draw and write some photos; returns their number."""
    for task in tasks:
        task.path.write_bytes(_render(task))
    return len(tasks)


def _render(task: RenderTask) -> bytes:
    quality = task.brief.random("quality").randint(70, 92)
    rng = Random(f"{task.brief.seed}/{task.number}/fault")
    return encode_photo(draw_photo(task.brief), task.fault, quality, rng)


def _chunked(tasks: Iterator[RenderTask]) -> Iterator[list[RenderTask]]:
    while chunk := list(islice(tasks, CHUNK)):
        yield chunk


def _list_tasks(plan: Plan, folder: Path, config: SampleConfig) -> Iterator[RenderTask]:
    for block in plan.blocks:
        images = folder / f"{block.split}_images"
        for index in range(len(block)):
            for take in range(config.photos):
                yield RenderTask(
                    path=images / (f"{block.ids[index]:06d}" + (f"_{take}" if take else "") + ".jpg"),
                    brief=_brief(block, index, take, config),
                    fault=str(block.faults[index]),
                    number=block.first_number + index,
                )


def _brief(block: Block, index: int, take: int, config: SampleConfig) -> PhotoBrief:
    return PhotoBrief(
        category=block.facts.name,
        values=block.values(index),
        seed=config.seed,
        number=block.first_number + int(block.originals[index]),
        size_px=config.size_px,
        boxed=bool(block.boxed[index]),
        take=take,
    )
