"""Every kind of photo that is taken, and every kind that is refused."""

import contextlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from facetry.errors import ImageError, PhotoProblem
from facetry.images import decode, read_photo
from facetry.images.decode import MAX_FILE_BYTES
from facetry.images.formats import ALLOWED_FORMATS

Encode = Callable[[Image.Image], bytes]


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png(width: int, height: int, *, bit_depth: int, colour: int, rows: bytes, extra=b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(chunk(kind, data) + (extra if kind == b"IHDR" else b"") for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(image: Image.Image, *, grey: bool) -> bytes:
    pixels = np.asarray(image.convert("L" if grey else "RGB")).astype(">u2") * 257
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)
    return png(*image.size, bit_depth=16, colour=0 if grey else 2, rows=lines)


def jpeg_claiming(width: int, height: int) -> bytes:
    """A JPEG of a few hundred bytes whose header claims any size."""
    data = bytearray(encoded(Image.new("L", (8, 8)), "JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def avif_claiming(width: int, height: int) -> bytes:
    """An AVIF of a few hundred bytes whose header claims any size."""
    data = bytearray(encoded(Image.new("L", (8, 8)), "AVIF"))
    place = data.index(b"ispe") + 8
    data[place : place + 8] = struct.pack(">II", width, height)
    return bytes(data)


def swapped_profile() -> bytes:
    """A valid profile that takes red for green and green for red."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = data.replace("sRGB".encode("utf-16-be"), "odd!".encode("utf-16-be"))
    swapped = data.replace(b"rXYZ", b"?XYZ").replace(b"gXYZ", b"rXYZ")
    return swapped.replace(b"?XYZ", b"gXYZ")


def linear_grey_profile() -> bytes:
    """A grey profile with gamma 1, built by hand: Pillow makes none."""
    tags = {
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">I", 0),
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + bytes(79),
    }
    offset, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(
        ">I4sI4s4s4s", offset + len(body), b"lcms", 0x02100000, b"mntr", b"GRAY", b"XYZ "
    )
    header += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return header + table + body


def table(names: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> pytest.MarkDecorator:
    """Run a test on every row; a row's first entry is its name."""
    return pytest.mark.parametrize(names, [row[1:] for row in rows], ids=[str(row[0]) for row in rows])


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def judged_by_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def animation(photo: Image.Image, image_format: str, **options: object) -> bytes:
    second = Image.new("RGB", photo.size, "blue")
    return encoded(photo, image_format, save_all=True, append_images=[second], **options)


jpeg = partial(encoded, image_format="JPEG", quality=95)


def cmyk_jpeg(photo: Image.Image, **options: object) -> bytes:
    return jpeg(photo.convert("CMYK"), **options)


def opaque_alpha(grey: Image.Image) -> Image.Image:
    return Image.merge("LA", [grey, Image.new("L", grey.size, 255)])


# name, how the photo is written, how far from the drawn photo at most on average (grey levels)
TAKEN: list[tuple[str, Encode, float]] = [
    ("jpeg", jpeg, 4),
    ("progressive jpeg", partial(jpeg, progressive=True), 4),
    ("jpeg with sRGB profile", partial(jpeg, icc_profile=srgb()), 4),
    ("jpeg with broken profile", partial(jpeg, icc_profile=b"no"), 4),
    ("cmyk jpeg", cmyk_jpeg, 6),
    ("cmyk jpeg, RGB profile", partial(cmyk_jpeg, icc_profile=swapped_profile()), 6),
    ("png", lambda photo: encoded(photo, "PNG"), 0),
    ("rgba png", lambda photo: encoded(photo.convert("RGBA"), "PNG"), 0),
    ("16-bit rgb png", partial(deep_png, grey=False), 0),
    ("palette png", lambda photo: encoded(photo.quantize(256), "PNG"), 12),
    ("webp", lambda photo: encoded(photo, "WEBP", quality=95), 5),
    ("lossless webp", lambda photo: encoded(photo, "WEBP", lossless=True), 0),
    ("animated webp", lambda photo: animation(photo, "WEBP", lossless=True), 0),
    ("avif", lambda photo: encoded(photo, "AVIF", quality=95), 5),
    ("avif sequence", lambda photo: animation(photo, "AVIF", quality=95), 5),
    ("gif", lambda photo: encoded(photo, "GIF"), 12),
    ("animated gif", lambda photo: animation(photo, "GIF"), 12),
    ("bmp", lambda photo: encoded(photo, "BMP"), 0),
    ("junk after the end", lambda photo: encoded(photo, "PNG") + b"junk", 0),
]


@table(("encode", "tolerance"), TAKEN)
def test_colour_photo(draw, encode, tolerance):
    photo = draw(61, 80)
    pixels = decode(encode(photo))
    assert pixels.shape == (80, 61, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous
    assert np.abs(pixels.astype(int) - np.asarray(photo)).mean() <= tolerance


GREY: list[tuple[str, Encode, float]] = [
    ("grey jpeg", jpeg, 3),
    ("grey png", lambda grey: encoded(grey, "PNG"), 0),
    ("16-bit grey png", partial(deep_png, grey=True), 0),
    ("grey with alpha", lambda grey: encoded(opaque_alpha(grey), "PNG"), 0),
    ("grey gif", lambda grey: encoded(grey, "GIF"), 0),
    ("grey bmp", lambda grey: encoded(grey, "BMP"), 0),
    ("colour profile", lambda grey: encoded(grey, "PNG", icc_profile=swapped_profile()), 0),
]


@table(("encode", "tolerance"), GREY)
def test_grey_photo(draw, encode, tolerance):
    grey = draw(61, 80).convert("L")
    pixels = decode(encode(grey))
    assert pixels.shape == (80, 61, 3)
    assert np.abs(pixels.astype(int) - np.asarray(grey)[:, :, None]).mean() <= tolerance


def test_one_bit_photo(draw):
    photo = draw(20, 30).convert("1")
    for image_format in ("PNG", "BMP"):
        expected = np.asarray(photo.convert("RGB"))
        np.testing.assert_array_equal(decode(encoded(photo, image_format)), expected)


def transparent_palette(*, partly: bool) -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    return encoded(image, "PNG", transparency=b"\x00\xff" if partly else 0)


def left_transparent(mode: str, colour: tuple[int, ...], image_format: str) -> bytes:
    image = Image.new(mode, (2, 1), (*colour, 0))
    image.putpixel((1, 0), (*colour, 255))
    lossless = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}
    return encoded(image, image_format, **lossless.get(image_format, {}))


DEEP_GREY_WITH_KEY = png(
    2, 1, bit_depth=16, colour=0, rows=b"\0\x12\x34\x80\0", extra=chunk(b"tRNS", b"\x12\x34")
)


# name, file, the colour of the opaque right pixel; the left one is transparent: white
TRANSPARENT = [
    ("rgba png", lambda: left_transparent("RGBA", (0, 0, 255), "PNG"), (0, 0, 255)),
    ("rgba avif", lambda: left_transparent("RGBA", (0, 0, 0), "AVIF"), (0, 0, 0)),
    ("rgba webp", lambda: left_transparent("RGBA", (0, 0, 255), "WEBP"), (0, 0, 255)),
    ("grey with alpha", lambda: left_transparent("LA", (90,), "PNG"), (90, 90, 90)),
    ("palette, one colour", lambda: transparent_palette(partly=False), (0, 0, 255)),
    ("palette, alpha per colour", lambda: transparent_palette(partly=True), (0, 0, 255)),
    ("16-bit grey, one value", lambda: DEEP_GREY_WITH_KEY, (128, 128, 128)),
]


@table(("make", "colour"), TRANSPARENT)
def test_transparency_is_blended_with_white(make, colour):
    assert decode(make()).tolist() == [[[255, 255, 255], list(colour)]]


def test_half_transparent_is_half_white():
    pixels = decode(encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 128)), "PNG"))
    assert abs(int(pixels[0, 0, 0]) - 127) <= 1


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_exif_turns_the_photo_upright(draw, orientation, image_format):
    data = encoded(draw(30, 20), image_format, exif=exif(orientation))
    np.testing.assert_array_equal(decode(data), judged_by_pillow(data))


def tiff_exif(entry: bytes) -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + bytes(4)


ODD_EXIF = {
    "not TIFF": b"Exif\0\0garbage",
    "empty": b"Exif\0\0",
    "count beyond the end": b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
    "offset beyond the end": b"Exif\0\0MM\0*\xff\xff\xff\xf0",
    "value beyond the end": tiff_exif(struct.pack("<HHII", 0x010F, 2, 500, 9999)),
    "orientation as text": tiff_exif(struct.pack("<HHI4s", 0x0112, 2, 4, b"up!\0")),
    "orientation 6 times": tiff_exif(struct.pack("<HHII", 0x0112, 3, 6, 8)),
    "zero denominator": tiff_exif(struct.pack("<HHII", 0x011A, 5, 1, 8)),
}


@pytest.mark.parametrize("odd", ODD_EXIF.values(), ids=ODD_EXIF)
def test_odd_exif_is_ignored_without_a_warning(draw, odd):
    data = encoded(draw(16, 24), "JPEG", exif=odd)
    assert decode(data).shape == (24, 16, 3)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_embedded_profile_is_brought_to_srgb(image_format):
    red = Image.new("RGB", (16, 16), (255, 0, 0))
    data = encoded(red, image_format, icc_profile=swapped_profile())
    assert np.abs(decode(data) - np.array([0, 255, 0])).max() <= 4


def test_profile_applies_to_palette_and_transparent_photos():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((0, 0), (255, 0, 0, 0))
    pixels = decode(encoded(image, "PNG", icc_profile=swapped_profile()))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert np.abs(pixels[0, 1] - np.array([0, 255, 0])).max() <= 2


def test_grey_profile_is_brought_to_srgb():
    data = encoded(Image.new("L", (4, 4), 128), "PNG", icc_profile=linear_grey_profile())
    assert abs(int(decode(data)[0, 0, 0]) - 188) <= 2


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}, {"keep_rgb": True}]
)
def test_jpegs_are_decoded_as_pillow_does(draw, options):
    data = encoded(draw(123, 77), "JPEG", **options)
    assert np.abs(decode(data) - judged_by_pillow(data)).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1)])
def test_thin_photos(draw, size):
    for image_format in ALLOWED_FORMATS:
        assert decode(encoded(draw(*size), image_format)).shape == (*reversed(size), 3)


BLACK_30000 = png(30_000, 30_000, bit_depth=1, colour=0, rows=bytes(30_000 * 3751))


def broken_png(photo: Image.Image) -> bytes:
    return encoded(photo, "PNG").replace(b"IDAT", b"IDAX")


def png_ending_early(side_px: int) -> bytes:
    """A PNG with one row, after which its compressed rows end as they should."""
    start, end = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"
    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 + 3 * side_px))
    chunks = [(b"IHDR", header), (b"IDAT", rows)]
    sums = (struct.pack(">I", zlib.crc32(kind + content)) for kind, content in chunks)
    lengths = (struct.pack(">I", len(content)) for _, content in chunks)
    parts = zip(lengths, chunks, sums, strict=True)
    return (
        start + b"".join(each + kind + content + check for each, (kind, content), check in parts) + end
    )


def jpeg_with_scans(num_scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    content = io.BytesIO()
    Image.new("L", (64, 64), 70).save(content, "JPEG", progressive=True)
    data = content.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (num_scans - data.count(b"\xff\xda")) + data[-2:]


def test_a_progressive_photo_is_taken():
    assert decode(jpeg_with_scans(10)).shape == (64, 64, 3)


REFUSED = [
    ("no bytes", lambda _: b"", PhotoProblem.EMPTY),
    ("text", lambda _: b"Dear customer,\nyour photo", PhotoProblem.NOT_AN_IMAGE),
    (
        "text that begins like BMP",
        lambda _: b"BMW, red, 5 doors, as new",
        PhotoProblem.NOT_AN_IMAGE,
    ),
    ("zeros", lambda _: bytes(1000), PhotoProblem.NOT_AN_IMAGE),
    ("html", lambda _: b"<!DOCTYPE html><html>404</html>", PhotoProblem.NOT_AN_IMAGE),
    ("tiff", lambda photo: encoded(photo, "TIFF"), PhotoProblem.FORMAT),
    ("avif without photo", lambda _: b"\0\0\0\x1cftypavif" + bytes(16), PhotoProblem.TRUNCATED),
    ("heic", lambda _: b"\0\0\0\x18ftypheic" + bytes(20), PhotoProblem.HEIC),
    ("heic by its second brand", lambda _: b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", PhotoProblem.HEIC),
    ("pdf", lambda _: b"%PDF-1.7\n", PhotoProblem.FORMAT),
    ("svg", lambda _: b"<svg xmlns='http://www.w3.org/2000/svg'/>", PhotoProblem.FORMAT),
    ("ico", lambda photo: encoded(photo, "ICO"), PhotoProblem.FORMAT),
    ("jpeg of 65000 x 65000", lambda _: jpeg_claiming(65_000, 65_000), PhotoProblem.TOO_LARGE),
    ("avif of 15000 x 12000", lambda _: avif_claiming(15_000, 12_000), PhotoProblem.TOO_LARGE),
    ("avif of 11000 x 10000", lambda _: avif_claiming(11_000, 10_000), PhotoProblem.TOO_LARGE),
    ("jpeg of 12000 x 9000", lambda _: jpeg_claiming(12_000, 9_000), PhotoProblem.TOO_LARGE),
    ("png of 30000 x 30000", lambda _: BLACK_30000, PhotoProblem.TOO_LARGE),
    (
        "jpeg of 300 bytes, 9000 x 9000",
        lambda _: jpeg_claiming(9_000, 9_000),
        PhotoProblem.TRUNCATED,
    ),
    ("png of 300 bytes, 6000 x 6000", lambda _: png_ending_early(6000), PhotoProblem.TRUNCATED),
    ("png with a broken chunk", broken_png, PhotoProblem.UNREADABLE),
    ("jpeg with a scan too often", lambda _: jpeg_with_scans(50), PhotoProblem.UNREADABLE),
]


@table(("make", "problem"), REFUSED)
def test_refused(draw, make, problem):
    with pytest.raises(ImageError) as raised:
        decode(make(draw(40, 50)))
    assert raised.value.problem == problem


def test_a_photo_of_twelve_million_pixels_is_taken():
    data = encoded(Image.new("L", (4000, 3000), 70), "JPEG")
    assert decode(data).shape == (3000, 4000, 3)


def test_the_caller_sets_the_limit(draw):
    data = encoded(draw(40, 50), "PNG")
    assert decode(data, max_pixels=2000).shape == (50, 40, 3)
    with pytest.raises(ImageError, match=r"too many pixels \(40 x 50"):
        decode(data, max_pixels=1999)


def test_the_format_is_named(draw):
    with pytest.raises(ImageError, match="TIFF; allowed: JPEG, PNG, WEBP, GIF, BMP, AVIF"):
        decode(encoded(draw(4, 4), "TIFF"))


CUTS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.95)


@pytest.mark.parametrize("share", CUTS)
@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("GIF", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("AVIF", {}),
    ],
)
def test_truncated(draw, image_format, options, share):
    data = encoded(draw(90, 120), image_format, **options)
    with pytest.raises(ImageError) as raised:
        decode(data[: int(share * len(data))])
    assert raised.value.problem == PhotoProblem.TRUNCATED


def test_a_download_filled_up_with_zeros_is_truncated(draw):
    data = encoded(draw(90, 120), "JPEG")
    half = len(data) // 2
    with pytest.raises(ImageError) as raised:
        decode(data[:half] + bytes(half))
    assert raised.value.problem == PhotoProblem.TRUNCATED


SMALL = {
    image_format: encoded(Image.effect_noise((24, 24), 60).convert("RGB"), image_format)
    for image_format in ALLOWED_FORMATS
}


@pytest.mark.parametrize("image_format", SMALL)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes_give_pixels_or_an_image_error(capfd, image_format, changes):
    data = bytearray(SMALL[image_format])
    for place, byte in changes:
        data[int(place * len(data))] = byte
    # Pixels or an ImageError; anything else fails the test.
    with contextlib.suppress(ImageError):
        decode(bytes(data))
    # What libjpeg says of damaged files goes to standard error; it must not fill the test's report.
    capfd.readouterr()


ODD_APNG = png(
    1, 1, bit_depth=8, colour=0, rows=b"\0\x40", extra=chunk(b"acTL", b"\0\0\0\0\0\0\0\0") * 2
)


def test_warnings_do_not_leak_from_threads(draw):
    odd = encoded(draw(16, 24), "JPEG", exif=ODD_EXIF["value beyond the end"])
    files = [odd, ODD_APNG, transparent_palette(partly=True), jpeg_claiming(9500, 9500)] * 20
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(shape_or_problem, files))
        assert caught == []
        assert outcomes[:4] == [(24, 16, 3), (1, 1, 3), (1, 2, 3), PhotoProblem.TRUNCATED]
        # One filter more, whatever the number of photos.
        assert [entry for entry in warnings.filters if entry not in before] == warnings.filters[:1]


def shape_or_problem(data: bytes) -> object:
    try:
        return decode(data).shape
    except ImageError as error:
        return error.problem


def test_threads_give_what_one_thread_gives(draw):
    files = [encoded(draw(50 + each, 60), "JPEG", icc_profile=swapped_profile()) for each in range(24)]
    expected = [decode(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(expected, pool.map(decode, files), strict=True):
            np.testing.assert_array_equal(one, other)


def test_read_photo(draw, tmp_path):
    path = tmp_path / "photo.jpg"
    draw(30, 40).save(path)
    np.testing.assert_array_equal(read_photo(path), decode(path.read_bytes()))


def paths(folder: Path) -> dict[str, tuple[Path, PhotoProblem]]:
    heavy = folder / "heavy.jpg"
    heavy.touch()
    os.truncate(heavy, MAX_FILE_BYTES + 1)  # takes no room on the disk
    os.mkfifo(folder / "pipe.jpg")
    return {
        "missing": (folder / "none.jpg", PhotoProblem.MISSING),
        "folder": (folder, PhotoProblem.MISSING),
        "pipe": (folder / "pipe.jpg", PhotoProblem.MISSING),
        "below a file": (heavy / "photo.jpg", PhotoProblem.MISSING),
        "zero byte in name": (folder / "a\0b.jpg", PhotoProblem.MISSING),
        "name too long": (folder / ("a" * 5000), PhotoProblem.UNREADABLE),
        "heavy": (heavy, PhotoProblem.TOO_HEAVY),
    }


def test_files_that_cannot_be_read(tmp_path):
    for name, (path, problem) in paths(tmp_path).items():
        with pytest.raises(ImageError) as raised:
            read_photo(path)
        assert raised.value.problem == problem, name
