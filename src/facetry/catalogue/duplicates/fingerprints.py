"""How far two photos differ once one is laid over the other: crop, brightness and offset undone.

One photo may be the other, cropped a little, brighter or darker, and compressed anew. Scale and
shift of both axes, gain and offset are found by Gauss-Newton steps (Lucas and Kanade 1981) on grey
signatures, many pairs at once. What then is left is averaged over blocks: noise and fine patterns
that lie half a pixel off go, another wall, lamp, skin or print stays.

Shapes: P pairs, S side of a signature in pixels, R side of a level in pixels, G blocks along a side.
An axis runs from -1 to 1 over a photo; a placement (P, 4) holds scale_x, shift_x, scale_y, shift_y:
the point u of the left photo is the point (1 + scale) u + shift of the right one.

Shapes: h, w are a photo's height and width in pixels; S is `SIGNATURE_PX`.
"""

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facetry.product import Pixels

SIGNATURE_PX: Final = 32
"""Side of a signature. On drawn garments, 48 px told copies from others no better."""

SMALL_PX: Final = 128
"""A small copy's shorter side is at least this, and less than twice it."""


def content_hash(data: bytes) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def shrink(pixels: Pixels) -> Image.Image:
    """A small copy (see `SMALL_PX`) of a photo (h, w, 3), by averaging; a small photo as it is."""
    image = Image.fromarray(pixels)
    factor = max(1, min(image.size) // SMALL_PX)
    return image.reduce(factor) if factor > 1 else image


def perceptual_hash(image: Image.Image) -> int:
    """The 64 bits of imagehash's pHash: a re-saved photo differs in few of them."""
    import imagehash

    return int.from_bytes(np.packbits(imagehash.phash(image).hash).tobytes())


def signature(image: Image.Image) -> NDArray[np.uint8]:
    """The photo squeezed into a square (S, S, 3)."""
    # A triangle as wide as the step: fine stripes average out, where sharper filters alias.
    size = (SIGNATURE_PX, SIGNATURE_PX)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR), dtype=np.uint8)


Floats = NDArray[np.float32]

GREY: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
BLOCK_PX: Final = 4
NUM_STEPS: Final = 5
MAX_SCALE: Final = 0.12
"""Two crops of up to 4 % at each side differ by up to 9 % in scale."""

FRAME_SLACK: Final = 0.04
"""How far one frame may stick out of the other, in half sides."""

WHITE: Final = 250
"""From here on a brighter copy may have been cut off."""

FLAT_NOISE: Final = 2.0
EDGE_NOISE: Final = 0.1
"""What compression leaves of a block's mean in an even area, in grey levels, and what half a
pixel's slip adds for each level that neighbouring pixels differ by."""

COARSE_LIMIT: Final = 1.6
"""Above this difference at half size no finer look is taken; copies stayed below 1.25."""


def difference(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> Floats:
    """How far the photos of each pair differ (P,), from signatures (P, S, S, 3) twice.

    The root mean square over blocks of what is left, 1 for what compression and half a pixel's slip
    leave; infinite where neither photo can be a crop of the other.

    >>> photo = np.full((1, 32, 32, 3), 90, np.uint8)
    >>> photo[0, 8:20, 6:18] = (200, 40, 40)
    >>> bool(difference(photo, photo + 20)[0] < 0.5)
    True
    >>> bool(difference(photo, photo[:, ::-1])[0] > 2)
    True
    """
    first, second = left.astype(np.float32), right.astype(np.float32)
    coarse, placed = _lay(_halve(first), _halve(second), _unplaced(len(left)))
    best = np.full(len(left), np.inf, dtype=np.float32)
    near = np.flatnonzero(coarse < COARSE_LIMIT)
    best[near] = _look_closely(first[near], second[near], placed[near])
    return best


def _look_closely(left: Floats, right: Floats, placed: Floats) -> Floats:
    """The least difference over both directions and, against false minima, two starts each."""
    back = np.concatenate([_inverse(placed[:, :2]), _inverse(placed[:, 2:])], axis=1)
    best = np.full(len(left), np.inf, dtype=np.float32)
    for one, other, start in ((left, right, placed), (right, left, back)):
        for begin in (start, _unplaced(len(left))):
            found, where = _lay(one, other, begin)
            best = np.minimum(best, np.where(_is_crop(where), found, np.inf))
    return best


def _inverse(axis: Floats) -> Floats:
    """The placement (P, 2) of one axis, seen from the other photo."""
    zoom = 1 / (1 + axis[:, :1])
    return np.concatenate([zoom - 1, -axis[:, 1:] * zoom], axis=1)


def _unplaced(num_pairs: int) -> Floats:
    return np.zeros((num_pairs, 4), dtype=np.float32)


def _is_crop(placed: Floats) -> NDArray[np.bool_]:
    """Whether one frame lies in the other, nearly, along each axis (P,)."""
    scales, shifts = np.abs(placed[:, ::2]), np.abs(placed[:, 1::2])
    fits = (scales <= MAX_SCALE) & (shifts <= scales + FRAME_SLACK)  # (P, 2)
    return fits[:, 0] & fits[:, 1]


def _lay(left: Floats, right: Floats, placed: Floats) -> tuple[Floats, Floats]:
    """Difference (P,) and placement (P, 4) of colour pictures (P, R, R, 3), from a first placement."""
    grey, other = left @ GREY, right @ GREY
    for _ in range(NUM_STEPS):
        placed = _step(grey, other, placed)
    return _remainder(left, right, placed), placed


def _step(left: Floats, right: Floats, placed: Floats) -> Floats:
    """One Gauss-Newton step over placement, gain and offset; grey pictures (P, R, R)."""
    num_pairs, side = left.shape[:2]
    across = _centres(side)
    columns, rows, inside = _sampling(placed, side)
    warped = rows @ right @ columns.transpose(0, 2, 1)  # (P, R, R)
    down, along = np.gradient(warped, 2 / side, axis=(1, 2))
    slopes = [along * across, along, down * across[:, None], down, warped, np.ones_like(warped)]
    design = np.stack(slopes, axis=-1).reshape(num_pairs, side**2, 6)
    weighted = (design * inside.reshape(num_pairs, side**2, 1)).transpose(0, 2, 1)
    normal = (weighted @ design).astype(np.float64)  # (P, 6, 6)
    # A little of the identity: a photo without edges along an axis does not say where it lies.
    ridge = 1 + 1e-5 * np.trace(normal, axis1=1, axis2=2)
    normal += np.eye(6) * ridge[:, None, None]
    solved = np.linalg.solve(normal, weighted @ left.reshape(num_pairs, side**2, 1))[:, :, 0]
    gain = np.maximum(solved[:, 4:5], 0.3)
    return np.clip(placed + solved[:, :4] / gain, -0.15, 0.15).astype(np.float32)


def _centres(side: int) -> Floats:
    """The pixels' centres along an axis (R,)."""
    return ((np.arange(side) + 0.5) * 2 / side - 1).astype(np.float32)


def _sampling(placed: Floats, side: int) -> tuple[Floats, Floats, Floats]:
    """Linear interpolation along columns and rows (P, R, R) each; 1 where inside, else 0 (P, R, R)."""
    axes, within = [], []
    for scale, shift in ((placed[:, 0], placed[:, 1]), (placed[:, 2], placed[:, 3])):
        points = _centres(side) * (1 + scale[:, None]) + shift[:, None]
        places = (points + 1) * side / 2 - 0.5  # (P, R)
        within.append((places > -0.5) & (places < side - 0.5))
        far = np.abs(np.clip(places, 0, side - 1)[:, :, None] - np.arange(side, dtype=np.float32))
        axes.append(np.maximum(0, 1 - far))
    inside = (within[1][:, :, None] & within[0][:, None, :]).astype(np.float32)
    return axes[0], axes[1], inside


def _remainder(left: Floats, right: Floats, placed: Floats) -> Floats:
    """What is left of colour pictures (P, R, R, 3) laid over each other, to what noise leaves (P,)."""
    num_pairs, side = left.shape[:2]
    columns, rows, inside = _sampling(placed, side)
    warped = (rows @ right.reshape(num_pairs, side, side * 3)).reshape(right.shape)
    warped = columns[:, None] @ warped
    weight = np.repeat(inside[..., None], 3, axis=-1)
    likened = _like(left, warped, weight)
    left_over = left - likened
    # Where the right photo is cut off at white, the left one may well be brighter still.
    left_over = np.where(warped >= WHITE, np.minimum(left_over, 0), left_over) * weight
    num_seen = np.maximum(_block_sums(weight), BLOCK_PX**2 / 3)
    edges = _block_sums(_edges(left, likened) * weight) / num_seen
    expected = FLAT_NOISE + EDGE_NOISE * edges.mean(axis=3, keepdims=True)
    root: Floats = np.sqrt(((_block_sums(left_over) / num_seen / expected) ** 2).mean(axis=(1, 2, 3)))
    return root


def _edges(left: Floats, right: Floats) -> Floats:
    """How steep two pictures (P, R, R, 3) are, in grey levels a pixel."""
    slopes = [*np.gradient(left, axis=(1, 2)), *np.gradient(right, axis=(1, 2))]
    steepness: Floats = np.sqrt(sum(each**2 for each in slopes) / 2)
    return steepness


def _like(left: Floats, right: Floats, weight: Floats) -> Floats:
    """The right pictures with the gain and offset that bring them nearest to the left ones."""
    unclipped = (left < WHITE) & (right < WHITE)
    weight = weight * unclipped
    total = weight.sum(axis=(1, 2, 3)) + 1e-6
    means = [(weight * each).sum(axis=(1, 2, 3)) / total for each in (left, right)]
    first, second = left - _spread(means[0]), right - _spread(means[1])
    prior = 2.0 * np.prod(left.shape[1:])  # a nearly even photo does not say what the gain is: 1, then
    product = (weight * first * second).sum(axis=(1, 2, 3)) + prior
    gain = np.clip(product / ((weight * second**2).sum(axis=(1, 2, 3)) + prior), 0.7, 1.4)
    offset = np.clip(means[0] - gain * means[1], -25, 25)
    likened: Floats = np.clip(_spread(gain) * right + _spread(offset), 0, 255)
    return likened


def _spread(values: Floats) -> Floats:
    return values[:, None, None, None]


def _block_sums(pictures: Floats) -> Floats:
    """Sums over blocks (P, G, G, 3)."""
    num_pairs, side = pictures.shape[:2]
    num_blocks = side // BLOCK_PX
    blocks = pictures.reshape(num_pairs, num_blocks, BLOCK_PX, num_blocks, BLOCK_PX, 3)
    sums: Floats = blocks.sum(axis=(2, 4))
    return sums


def _halve(pictures: Floats) -> Floats:
    """Pictures of half the side."""
    num_pairs, side = pictures.shape[:2]
    halved: Floats = pictures.reshape(num_pairs, side // 2, 2, side // 2, 2, 3).mean(axis=(2, 4))
    return halved
