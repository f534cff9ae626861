"""Photos from a file's bytes to a predictor's pixels: per core, and how far they are from Pillow's.

    python -m benchmarks.decode [--quick] [--px WIDTH HEIGHT] [--photos FOLDER]
    python -m benchmarks.decode --catalogue TABLE --model FOLDER [--px WIDTH HEIGHT]

The baseline is Pillow alone, which is what open_clip's own preprocessing does. A core's rate counts the
process's CPU seconds, so that it hardly depends on who else uses the machine. With a model and a
catalogue: how often its answers are those that it gives for the baseline's pixels. "without wheel" is
where cykooz-resizer is not to be had.
"""

import argparse
import functools
import io
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import InterpolationMode, functional

from benchmarks.measure import Times, alternate, make_parser, ratio, show
from benchmarks.photos import draw_photo
from facetry.build.load import load as load_model
from facetry.catalogue.catalogue import open_catalogue
from facetry.images import decode, load, preprocess
from facetry.images.preprocess import (
    Interpolation,
    Resize,
    Size,
    required_side_px,
    resize,
    resize_by_pillow,
)
from facetry.predictions import Predictor
from facetry.product import Pixels, Preprocess, Product

BASELINE = "Pillow"
USUAL_PX = (800, 1000)
Decode = Callable[[bytes, Preprocess], Pixels]


def _by_pillow(data: bytes, _: Preprocess) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def _by_torchvision(data: bytes, _: Preprocess) -> Pixels:
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    planes = decode_jpeg(encoded, mode=ImageReadMode.RGB)
    return np.ascontiguousarray(planes.permute(1, 2, 0).numpy())


def _resize_by_torchvision(pixels: Pixels, size: Size, interpolation: Interpolation) -> Pixels:
    photo = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
    mode = InterpolationMode(interpolation)
    return functional.resize(photo, list(size), interpolation=mode).permute(1, 2, 0).numpy()


def _whole(data: bytes, _: Preprocess) -> Pixels:
    return decode(data)


def _scaled(data: bytes, spec: Preprocess) -> Pixels:
    return decode(
        data, min_side_px=required_side_px([spec.model_copy(update={"scaled_decoding": True})])
    )


PATHS: Mapping[str, tuple[Decode, Resize]] = {
    BASELINE: (_by_pillow, resize_by_pillow),
    "torchvision": (_by_torchvision, _resize_by_torchvision),
    "facetry": (_whole, resize),
    "without wheel": (_whole, resize_by_pillow),
    "scaled decoding": (_scaled, resize),
}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, quick="4 photos, fewer rounds")
    parser.add_argument(
        "--px", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="the size that photos are given"
    )
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs in place of drawn ones")
    parser.add_argument("--catalogue", type=Path, help="a catalogue's photos in place of drawn ones")
    parser.add_argument("--model", type=Path, help="a model folder whose answers are compared")
    parser.add_argument("--num-photos", type=int)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    num_photos = options.num_photos or (4 if options.quick else 32)
    with tempfile.TemporaryDirectory() as folder:
        products = _products(options, Path(folder), num_photos)
        predictor = load_model(options.model) if options.model else None
        (spec,) = predictor.preprocesses if predictor else (_usual_form(),)
        measured = _measure(products, spec, 2 if options.quick else 5)
        if predictor:
            _compare_answers(predictor, products, spec, measured)
        threads = {number: _photos_per_s(products, spec, number) for number in (1, options.threads)}
    _report(measured, threads, options, len(products))


def _usual_form() -> Preprocess:
    return Preprocess(size_px=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def _products(options: argparse.Namespace, folder: Path, num_photos: int) -> list[Product]:
    """What is decoded: photos that can be read, at the size asked for."""
    if options.catalogue:
        rows = open_catalogue(options.catalogue).products()
        readable = (each for each in load(rows, (), num_workers=0) if not each.problem)
        found = list(itertools.islice(readable, num_photos))
    elif options.photos:
        paths = sorted(options.photos.rglob("*.jpg"))[:num_photos]
        found = [_product(row, path) for row, path in enumerate(paths)]
    else:
        drawn = (draw_photo(number) for number in range(num_photos))
        size = options.px or USUAL_PX
        return [_product(row, _resized(each, size, folder, row)) for row, each in enumerate(drawn)]
    if not options.px:
        return found
    return [
        replace(each, photos=(_resized(Image.open(each.photos[0]), options.px, folder, row),))
        for row, each in enumerate(found)
    ]


def _product(row: int, path: Path) -> Product:
    return Product(id=row, category="", photos=(path,))


def _resized(photo: Image.Image, size: tuple[int, int], folder: Path, row: int) -> Path:
    path = folder / f"{row}.jpg"
    photo.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(path, quality=88)
    return path


def _measure(
    products: Sequence[Product], spec: Preprocess, num_rounds: int
) -> dict[str, dict[str, Any]]:
    files = [product.photos[0].read_bytes() for product in products]
    times = alternate(
        {name: functools.partial(_make_all, files, spec, name) for name in PATHS}, num_rounds=num_rounds
    )
    plain = _make_all(files, spec, BASELINE)
    return {
        name: _figures(each, times[BASELINE], _make_all(files, spec, name), plain)
        for name, each in times.items()
    }


def _figures(own: Times, plain: Times, made: Pixels, expected: Pixels) -> dict[str, Any]:
    differences = np.abs(made.astype(np.int16) - expected)
    return {
        "photos_per_core_s": round(len(made) / own.cpu.median_s, 1),
        "against_pillow": ratio(plain.cpu, own.cpu),
        "difference": round(float(differences.mean()), 4),
        "largest_difference": int(differences.max()),
    }


def _make_all(files: Sequence[bytes], spec: Preprocess, name: str) -> Pixels:
    """The pixels (B, 3, S, S) that one of the paths makes."""
    how, scale = PATHS[name]
    with _resizing_with(scale):
        return np.stack([preprocess(how(data, spec), spec) for data in files])


@contextmanager
def _resizing_with(scale: Resize) -> Iterator[None]:
    scope = preprocess.__globals__
    usual = scope["resize"]
    scope["resize"] = scale
    try:
        yield
    finally:
        scope["resize"] = usual


def _compare_answers(
    predictor: Predictor,
    products: Sequence[Product],
    spec: Preprocess,
    measured: dict[str, dict[str, Any]],
) -> None:
    """Add the share of heads that have the same top value as with the baseline's pixels."""
    files = [product.photos[0].read_bytes() for product in products]
    tops = {}
    for name in PATHS:
        made = _make_all(files, spec, name)
        shown = [replace(one, pixels={spec: row}) for one, row in zip(products, made, strict=True)]
        parts = [predictor.predict(shown[at : at + 64]).top for at in range(0, len(shown), 64)]
        tops[name] = np.concatenate(parts)
    has_head = tops[BASELINE] >= 0
    for name, top in tops.items():
        measured[name]["agreement"] = round(float((top == tops[BASELINE])[has_head].mean()), 5)
        measured[name]["num_heads"] = int(has_head.sum())


def _photos_per_s(products: Sequence[Product], spec: Preprocess, num_workers: int) -> float:
    """The loader's rate on the wall, files included."""
    rates = []
    for _ in range(3):
        started = time.perf_counter()
        assert not any(each.problem for each in load(products, [spec], num_workers=num_workers))
        rates.append(len(products) / (time.perf_counter() - started))
    return round(max(rates), 1)


def _report(
    measured: dict[str, dict[str, Any]],
    threads: Mapping[int, float],
    options: argparse.Namespace,
    num_photos: int,
) -> None:
    figures = {
        "benchmark": "decode",
        "num_photos": num_photos,
        "px": options.px,
        "paths": measured,
        "photos_per_s_by_threads": threads,
    }
    rows = [
        (
            name,
            f"{each['photos_per_core_s']:,.0f}",
            f"{each['against_pillow']['median']:.2f}",
            f"{each['difference']:.3f}",
            f"{each['agreement']:.2%}" if "agreement" in each else "",
        )
        for name, each in measured.items()
    ]
    rows += [
        (f"loader, {number} threads", f"{rate:,.0f} / s", "", "", "") for number, rate in threads.items()
    ]
    columns = ["", "photos/core s", "times Pillow", "levels off", "same answers"]
    show(f"{num_photos} photos", columns, rows, figures)


if __name__ == "__main__":
    main()
