"""The records of a protocol buffer, with nothing but the standard library: the device has no onnx package.

Source: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class WireRecord:
    """One field of a message: its number, its content (empty for a number), its value, and all of its bytes.

    Attributes:
        number: the field's number.
        content: what a field of a given length holds; empty for a number.
        raw: the field with its key and length.
        value: a varint's value; 0 for every other field.
    """

    number: int
    content: memoryview
    raw: memoryview
    value: int = 0


def records_of(message: memoryview) -> Iterator[WireRecord]:
    """The fields of a message, in its order.

    Raises:
        ValueError: the bytes are no message.
    """
    position = 0
    while position < len(message):
        start = position
        key, position = _read_varint(message, position)
        length, value, kind = 0, 0, key & 7
        if kind == VARINT:
            value, position = _read_varint(message, position)
        elif kind == LENGTH:
            length, position = _read_varint(message, position)
        elif kind in (FIXED32, FIXED64):
            position += 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} at byte {start}")
        content = message[position : position + length]
        position += length
        if position > len(message):
            raise ValueError(f"a record of {position - start} bytes ends after its message")
        yield WireRecord(key >> 3, content, message[start:position], value)


def varint(value: int) -> bytes:
    """A number in the buffer's spelling: seven bits a byte, the lowest first."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
    raise ValueError(f"no number ends at byte {position}")
