"""A tiny network in ONNX form, written byte by byte: the package for such files is no dependency.

Field numbers are those of onnx.proto; a field is its number and wire type, its length, its bytes.
"""

from pathlib import Path

FLOAT = 1  # TensorProto.DataType
INTS, INT = 7, 2  # AttributeProto.AttributeType
OPSET = 13


def write_brightness_network(path: Path, *, side_px: int = 320) -> Path:
    """A network from photos (1, 3, S, S) to their mean over the channels (1, 1, S, S)."""
    axes = text(1, "axes") + number(8, 1) + number(20, INTS)
    keep = text(1, "keepdims") + number(3, 1) + number(20, INT)
    node = text(1, "photos") + text(2, "mask") + text(4, "ReduceMean") + field(5, axes) + field(5, keep)
    graph = (
        field(1, node)
        + text(2, "brightness")
        + field(11, tensor("photos", (1, 3, side_px, side_px)))
        + field(12, tensor("mask", (1, 1, side_px, side_px)))
    )
    path.write_bytes(number(1, 8) + field(7, graph) + field(8, number(2, OPSET)))
    return path


def tensor(name: str, shape: tuple[int, ...]) -> bytes:
    sizes = b"".join(field(1, number(1, size)) for size in shape)
    return text(1, name) + field(2, field(1, number(1, FLOAT) + field(2, sizes)))


def number(place: int, value: int) -> bytes:
    return varint(place << 3) + varint(value)


def text(place: int, value: str) -> bytes:
    return field(place, value.encode())


def field(place: int, content: bytes) -> bytes:
    return varint(place << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    groups = [value & 127]
    while value := value >> 7:
        groups[-1] |= 128
        groups.append(value & 127)
    return bytes(groups)
