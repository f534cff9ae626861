"""Fingerprints of photos (content hash, perceptual hash, signature), and how far two signatures differ.

Signatures are compared after image registration, as one photo may be the other, cropped a little,
brighter or darker, and compressed again. Scale and shift of both axes, gain and offset are found by
Gauss-Newton steps (Lucas and Kanade 1981) on grey signatures, many pairs at once. The residuals are
averaged over blocks: noise and fine patterns half a pixel off cancel out, another wall, lamp, skin or
print does not.

Shapes: h, w height and width of a photo in pixels, P pairs, S side of a signature in pixels
(`SIGNATURE_PX`), R side of a picture in pixels (S, or S / 2 for the coarse step), G blocks along a side.
An axis runs from -1 to 1 over a photo; a transform (P, 4) holds scale_x, shift_x, scale_y, shift_y:
the point u of the left photo is the point (1 + scale) u + shift of the right one.
"""

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facetry.catalogue.duplicates.margin import Box, Page, content_box, find_page
from facetry.product import Pixels

Floats = NDArray[np.float32]

SIGNATURE_PX: Final = 32
"""Side of a signature. On drawn garments 48 px did not separate copies from other photos better."""

SMALL_PX: Final = 128
"""A small copy's shorter side is at least this, and less than twice it."""

GREY: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
MIN_CONTENT_PX: Final = 64
"""Something less wide or high than two pixels for each of a signature is compared with its page,"""

MAX_SMALL_SHARE: Final = 0.4
"""unless it takes less than this share of both sides, where photos would be alike by their pages."""

RING_PX: Final = 2
"""Pixels of a small copy that are cut at the edges of what a page shows: there both are mixed, and
strong compression draws rings. With them, three of 360 copies of drawn photos on pages were missed, else
one."""

BLOCK_PX: Final = 4
NUM_STEPS: Final = 5
MAX_SCALE: Final = 0.12
"""Two crops of up to 4 % at each side differ by up to 9 % in scale."""

FRAME_SLACK: Final = 0.04
"""How far a crop may extend beyond the other photo, in half sides."""

WHITE: Final = 250
"""The grey level from which on a brighter copy may be clipped."""

FLAT_NOISE: Final = 2.0
EDGE_NOISE: Final = 0.1
"""The expected difference of two copies' block means, in grey levels: by compression in an even area,
and by a misalignment of half a pixel for each level that neighbouring pixels differ by."""

COARSE_LIMIT: Final = 1.6
"""Pairs that differ more at half size are not compared at full size; copies stayed below 1.25."""


def content_hash(data: bytes) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def shrink(pixels: Pixels) -> Image.Image:
    """A small copy (see `SMALL_PX`) of a photo (h, w, 3), by averaging; a small photo is not resized."""
    image, factor = Image.fromarray(pixels), _shrink_factor(pixels)
    return image.reduce(factor) if factor > 1 else image


def _shrink_factor(pixels: Pixels) -> int:
    return max(1, int(min(pixels.shape[:2])) // SMALL_PX)


def shrink_content(pixels: Pixels) -> tuple[Image.Image, tuple[int, int]]:
    """A small copy (see `SMALL_PX`) of what a photo (h, w, 3) shows, without a wide page around it.

    Also returns the width and height of what it shows in the photo's pixels.
    """
    small, factor = shrink(pixels), _shrink_factor(pixels)
    page = find_page(pixels if factor == 1 else np.asarray(small))
    if page is None or _is_part(page, factor):
        return small, (pixels.shape[1], pixels.shape[0])
    box = page.box
    if factor > 1:  # a larger copy of the content and a rim of its page shows where it ends
        left, top, right, bottom = (factor * each for each in _grow(box, 1))
        pixels = np.ascontiguousarray(pixels[max(0, top) : bottom, max(0, left) : right])
        small, factor = shrink(pixels), _shrink_factor(pixels)
        box = content_box(np.asarray(small), page.colour)
        box = _grow(box, -min(RING_PX, _least_side(box) // 4))
    return small.crop(box), (factor * (box[2] - box[0]), factor * (box[3] - box[1]))


def _grow(box: Box, rim: int) -> Box:
    left, top, right, bottom = box
    return left - rim, top - rim, right + rim, bottom + rim


def _least_side(box: Box) -> int:
    left, top, right, bottom = box
    return min(right - left, bottom - top)


def _is_part(page: Page, factor: int) -> bool:
    """Whether a page belongs to what is compared, as what it shows is too small to be compared alone."""
    return factor * _least_side(page.box) < MIN_CONTENT_PX and page.share > MAX_SMALL_SHARE


def perceptual_hash(image: Image.Image) -> int:
    """The 64 bits of imagehash's pHash: a re-saved photo differs in few of them."""
    import imagehash

    return int.from_bytes(np.packbits(imagehash.phash(image).hash).tobytes())


def signature(image: Image.Image) -> NDArray[np.uint8]:
    """The photo resized to a square (S, S, 3), whatever its aspect ratio."""
    # Bilinear: fine stripes average out, where sharper filters alias.
    size = (SIGNATURE_PX, SIGNATURE_PX)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR), dtype=np.uint8)


def difference(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> Floats:
    """How far the photos of each pair differ (P,), from signatures (P, S, S, 3) twice.

    The root mean square of the residuals over blocks, in units of what compression and a misalignment
    of half a pixel explain; infinite if neither photo can be a crop of the other.

    >>> photo = np.full((1, 32, 32, 3), 90, np.uint8)
    >>> photo[0, 8:20, 6:18] = (200, 40, 40)
    >>> bool(difference(photo, photo + 20)[0] < 0.5)
    True
    >>> bool(difference(photo, photo[:, ::-1])[0] > 2)
    True
    """
    first, second = left.astype(np.float32), right.astype(np.float32)
    coarse, transform = _register(_halve(first), _halve(second), _identity(len(left)))
    best = np.full(len(left), np.inf, dtype=np.float32)
    near = np.flatnonzero(coarse < COARSE_LIMIT)
    best[near] = _least_difference(first[near], second[near], transform[near])
    return best


def _least_difference(left: Floats, right: Floats, transform: Floats) -> Floats:
    """The least difference (P,) over both directions and, against local minima, two starts each."""
    back = np.concatenate([_inverse(transform[:, :2]), _inverse(transform[:, 2:])], axis=1)
    best = np.full(len(left), np.inf, dtype=np.float32)
    for one, other, coarse in ((left, right, transform), (right, left, back)):
        for start in (coarse, _identity(len(left))):
            found, registered = _register(one, other, start)
            best = np.minimum(best, np.where(_is_crop(registered), found, np.inf))
    return best


def _inverse(axis: Floats) -> Floats:
    """The inverse of one axis' scale and shift (P, 2)."""
    zoom = 1 / (1 + axis[:, :1])
    return np.concatenate([zoom - 1, -axis[:, 1:] * zoom], axis=1)


def _identity(num_pairs: int) -> Floats:
    return np.zeros((num_pairs, 4), dtype=np.float32)


def _is_crop(transform: Floats) -> NDArray[np.bool_]:
    """Whether, along each axis, one photo is nearly inside the other (P,)."""
    scales, shifts = np.abs(transform[:, ::2]), np.abs(transform[:, 1::2])
    fits = (scales <= MAX_SCALE) & (shifts <= scales + FRAME_SLACK)  # (P, 2)
    return fits[:, 0] & fits[:, 1]


def _register(left: Floats, right: Floats, transform: Floats) -> tuple[Floats, Floats]:
    """Register colour pictures (P, R, R, 3); returns their difference (P,) and transform (P, 4).

    The search starts at `transform`.
    """
    grey, other = left @ GREY, right @ GREY
    for _ in range(NUM_STEPS):
        transform = _step(grey, other, transform)
    return _residual(left, right, transform), transform


def _step(left: Floats, right: Floats, transform: Floats) -> Floats:
    """One Gauss-Newton step over transform, gain and offset; grey pictures (P, R, R)."""
    num_pairs, side = left.shape[:2]
    across = _centres(side)
    columns, rows, inside = _sampling(transform, side)
    warped = rows @ right @ columns.transpose(0, 2, 1)  # (P, R, R)
    down, along = np.gradient(warped, 2 / side, axis=(1, 2))
    slopes = [along * across, along, down * across[:, None], down, warped, np.ones_like(warped)]
    design = np.stack(slopes, axis=-1).reshape(num_pairs, side**2, 6)
    weighted = (design * inside.reshape(num_pairs, side**2, 1)).transpose(0, 2, 1)
    normal = (weighted @ design).astype(np.float64)  # (P, 6, 6)
    # A ridge: a photo without edges along an axis does not determine its shift there.
    ridge = 1 + 1e-5 * np.trace(normal, axis1=1, axis2=2)
    normal += np.eye(6) * ridge[:, None, None]
    solved = np.linalg.solve(normal, weighted @ left.reshape(num_pairs, side**2, 1))[:, :, 0]
    gain = np.maximum(solved[:, 4:5], 0.3)
    return np.clip(transform + solved[:, :4] / gain, -0.15, 0.15).astype(np.float32)


def _centres(side: int) -> Floats:
    """The pixels' centres along an axis (R,)."""
    return ((np.arange(side) + 0.5) * 2 / side - 1).astype(np.float32)


def _sampling(transform: Floats, side: int) -> tuple[Floats, Floats, Floats]:
    """Matrices of linear interpolation along columns and rows (P, R, R each), and a mask (P, R, R).

    The mask is 1 where the other picture has a pixel, else 0.
    """
    axes, within = [], []
    for scale, shift in ((transform[:, 0], transform[:, 1]), (transform[:, 2], transform[:, 3])):
        points = _centres(side) * (1 + scale[:, None]) + shift[:, None]
        positions = (points + 1) * side / 2 - 0.5  # (P, R), in pixels
        within.append((positions > -0.5) & (positions < side - 0.5))
        far = np.abs(np.clip(positions, 0, side - 1)[:, :, None] - np.arange(side, dtype=np.float32))
        axes.append(np.maximum(0, 1 - far))
    inside = (within[1][:, :, None] & within[0][:, None, :]).astype(np.float32)
    return axes[0], axes[1], inside


def _residual(left: Floats, right: Floats, transform: Floats) -> Floats:
    """How far registered colour pictures (P, R, R, 3) differ, in units of the expected noise (P,)."""
    num_pairs, side = left.shape[:2]
    columns, rows, inside = _sampling(transform, side)
    warped = (rows @ right.reshape(num_pairs, side, side * 3)).reshape(right.shape)
    warped = columns[:, None] @ warped
    weight = np.repeat(inside[..., None], 3, axis=-1)
    matched = _match_brightness(left, warped, weight)
    residual = left - matched
    # Where the right photo is clipped at white, the left one may be brighter.
    residual = np.where(warped >= WHITE, np.minimum(residual, 0), residual) * weight
    num_pixels = np.maximum(_block_sums(weight), BLOCK_PX**2 / 3)
    edges = _block_sums(_edges(left, matched) * weight) / num_pixels
    expected = FLAT_NOISE + EDGE_NOISE * edges.mean(axis=3, keepdims=True)
    root: Floats = np.sqrt(((_block_sums(residual) / num_pixels / expected) ** 2).mean(axis=(1, 2, 3)))
    return root


def _edges(left: Floats, right: Floats) -> Floats:
    """The mean gradient of two pictures (P, R, R, 3), in grey levels per pixel."""
    slopes = [*np.gradient(left, axis=(1, 2)), *np.gradient(right, axis=(1, 2))]
    steepness: Floats = np.sqrt(sum(each**2 for each in slopes) / 2)
    return steepness


def _match_brightness(left: Floats, right: Floats, weight: Floats) -> Floats:
    """The right pictures with the gain and offset that fit the left ones best."""
    unclipped = (left < WHITE) & (right < WHITE)
    weight = weight * unclipped
    total = weight.sum(axis=(1, 2, 3)) + 1e-6
    means = [(weight * each).sum(axis=(1, 2, 3)) / total for each in (left, right)]
    first, second = left - _to_pixels(means[0]), right - _to_pixels(means[1])
    prior = 2.0 * np.prod(left.shape[1:])  # keeps the gain near 1 where an even photo determines none
    product = (weight * first * second).sum(axis=(1, 2, 3)) + prior
    gain = np.clip(product / ((weight * second**2).sum(axis=(1, 2, 3)) + prior), 0.7, 1.4)
    offset = np.clip(means[0] - gain * means[1], -25, 25)
    matched: Floats = np.clip(_to_pixels(gain) * right + _to_pixels(offset), 0, 255)
    return matched


def _to_pixels(values: Floats) -> Floats:
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
