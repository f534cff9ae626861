"""Resizing is Pillow's, whoever does the work."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
from PIL import Image

from facetry.images import preprocess
from facetry.images.preprocess import resize, resize_by_pillow
from facetry.product import Preprocess

SIZES = [(60, 80), (333, 217), (64, 64), (20, 30), (500, 60), (7, 1999), (1, 1)]


def difference(one, other):
    return np.abs(np.asarray(one).astype(int) - np.asarray(other)).mean()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("goal", [(24, 30), (64, 64), (1, 1), (150, 9)])
def test_as_pillow_does_it(draw, size, interpolation, goal):
    photo = draw(*size)
    theirs = photo.resize((goal[1], goal[0]), Image.Resampling[interpolation.upper()])
    ours = resize(np.array(photo), goal, interpolation)
    assert ours.shape == (*goal, 3)
    assert difference(ours, theirs) <= 0.5


@pytest.mark.parametrize("kind", ["shortest", "squash", "letterbox"])
def test_no_size_is_refused(kind):
    spec = Preprocess(size_px=37, mean=(0, 0, 0), std=(1, 1, 1), resize=kind)
    for height, width in product((*range(1, 60), 99, 101, 997), (1, 7, 31, 64, 333)):
        grey = np.full((height, width, 3), 200, np.uint8)
        for photo in (grey, grey.transpose(1, 0, 2)):
            assert preprocess(photo, spec).min() == 200


def test_threads_do_not_get_in_each_others_way(draw):
    photos = [np.array(draw(100 + 10 * number, 150)) for number in range(12)]
    expected = [resize(photo, (50, 40)) for photo in photos]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            made = pool.map(lambda photo: resize(photo, (50, 40)), photos)
            for one, other in zip(made, expected, strict=True):
                np.testing.assert_array_equal(one, other)


def test_loading_needs_no_torch(products):
    """A process that serves an exported model never imports it."""
    code = (
        "import sys; from pathlib import Path\n"
        "from facetry.images import load_batches, stack_pixels\n"
        "from facetry.product import Preprocess, Product\n"
        "spec = Preprocess(size_px=32, mean=(0, 0, 0), std=(1, 1, 1))\n"
        f"product = Product(id=1, category='', photos=(Path({str(products[0].photos[0])!r}),))\n"
        "((loaded,),) = load_batches([product], [spec])\n"
        "print(stack_pixels([loaded], spec).shape)\n"
        "print(sorted({'torch', 'torchvision', 'open_clip', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["(1, 3, 32, 32)", "[]"]


def test_pillow_is_the_fallback():
    """Where there is no wheel of what is faster."""
    code = (
        "import sys; sys.modules['cykooz_resizer'] = None\n"
        "import numpy as np; from facetry.images.preprocess import resize\n"
        "photo = np.arange(90 * 60 * 3, dtype=np.uint8).reshape(90, 60, 3)\n"
        "sys.stdout.buffer.write(resize(photo, (30, 20)).tobytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    photo = np.arange(90 * 60 * 3, dtype=np.uint8).reshape(90, 60, 3)
    expected = resize_by_pillow(photo, (30, 20), "bicubic")
    assert done.stdout == expected.tobytes()
