"""The transform of evaluation and prediction, held against Pillow's and open_clip's own."""

import sys
import threading
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facetry.images import Augmentation, Augmenter, preprocess
from facetry.images.preprocess import RESIZES
from facetry.product import Preprocess

HALF = (0.5, 0.5, 0.5)
SIZES = [(80, 100), (333, 217), (64, 64), (224, 224), (20, 30), (500, 60), (8, 200), (1, 1)]


def spec_of(size_px: int = 64, **options: str) -> Preprocess:
    return Preprocess.model_validate({"size_px": size_px, "mean": HALF, "std": HALF, **options})


def threads() -> set[str]:
    """The threads of this process, by the numbers that the system gives each once."""
    return {path.name for path in Path("/proc/self/task").iterdir()}


def mean_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float(np.abs(ours.astype(float) - theirs).mean())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize", ["shortest", "squash"])
def test_as_open_clip_does_it(draw, size, interpolation, resize):
    import open_clip

    config = open_clip.transform.PreprocessCfg(
        size=64, mean=(0, 0, 0), std=(1, 1, 1), interpolation=interpolation, resize_mode=resize
    )
    transform = open_clip.transform.image_transform_v2(config, is_train=False)
    photo = draw(*size)
    theirs = transform(photo).numpy() * 255
    ours = preprocess(np.array(photo), spec_of(interpolation=interpolation, resize=resize))
    assert mean_difference(ours, theirs) <= 1


@pytest.mark.parametrize("size", SIZES)
def test_letterbox_shows_the_whole_photo_on_white(draw, size):
    photo = draw(*size)
    scale = 64 / max(size)
    width, height = (max(1, round(side * scale)) for side in size)
    square = Image.new("RGB", (64, 64), "white")
    resized = photo.resize((width, height), Image.Resampling.BICUBIC)
    square.paste(resized, ((64 - width) // 2, (64 - height) // 2))
    ours = preprocess(np.array(photo), spec_of(resize="letterbox"))
    assert mean_difference(ours, np.asarray(square).transpose(2, 0, 1)) <= 1


@pytest.mark.parametrize("resize", ["shortest", "squash", "letterbox"])
@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (2, 2001), (7, 5), (64, 64), (900, 64)])
def test_any_shape_gives_a_square_of_its_own(draw, resize, size):
    pixels = np.array(draw(*size))
    before = pixels.copy()
    made = preprocess(pixels, spec_of(resize=resize))
    assert made.shape == (3, 64, 64)
    assert made.dtype == np.uint8
    assert made.flags.c_contiguous
    made[:] = 0
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("size", [(40, 2000), (2000, 41), (3, 1999), (1000, 4)])
def test_a_very_long_photo_keeps_its_centre(draw, size):
    photo = draw(*size)
    scale = 64 / min(size)
    whole = photo.resize([int(side * scale) for side in size], Image.Resampling.BICUBIC)
    left, top = (round((side - 64) / 2) for side in whole.size)
    theirs = np.asarray(whole.crop((left, top, left + 64, top + 64))).transpose(2, 0, 1)
    # Scaled whole, the length is rounded to a pixel: the centre moves by up to one.
    assert mean_difference(preprocess(np.array(photo), spec_of()), theirs) <= 3


def test_a_photo_that_may_not_be_written_to(draw):
    pixels = np.asarray(draw(50, 40))
    assert not pixels.flags.writeable
    np.testing.assert_array_equal(preprocess(pixels, spec_of()), preprocess(pixels.copy(), spec_of()))


def test_training_and_evaluation_are_two_transforms(draw):
    photo = np.array(draw(90, 70))
    evaluated = [preprocess(photo, spec_of()) for _ in range(3)]
    assert all(np.array_equal(evaluated[0], each) for each in evaluated)

    import torch

    augmenter = Augmenter(Augmentation(crop=0.125), seed=0)
    batch = torch.from_numpy(np.stack([evaluated[0]] * 200))
    trained = augmenter(batch, epoch=0, indices=np.arange(200)).numpy()
    assert np.mean([np.array_equal(each, evaluated[0]) for each in trained]) < 0.05
    assert mean_difference(trained.mean(axis=0), evaluated[0]) > 5


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_resizing_starts_no_threads(draw):
    """Each thread of the loader would otherwise start a team of torch's own."""
    import torch

    photo = np.array(draw(800, 1000))
    added: dict[str, int] = {}

    def count(name: str, work: Callable[[], object]) -> None:
        before = threads()
        work()
        added[name] = len(threads() - before)

    def resize_all() -> None:
        for resize, interpolation in product(RESIZES, ["bicubic", "bilinear"]):
            preprocess(photo, spec_of(224, resize=resize, interpolation=interpolation))

    torch.set_num_threads(2)
    try:
        # A thread starts its team once, so each count has a thread of its own.
        for name, work in (("resize", resize_all), ("control", lambda: torch.ones(10**7).sin())):
            thread = threading.Thread(target=count, args=(name, work))
            thread.start()
            thread.join()
    finally:
        torch.set_num_threads(1)
    assert added["resize"] == 0
    if added["control"] == 0:  # OpenMP may give a new thread the team of one that has ended
        pytest.skip("the number of threads cannot be read on this system")
