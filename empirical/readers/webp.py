"""How many pixels a WebP file says it has, before anything is decoded.

Pillow's decoder takes memory for two whole canvases as soon as a file is opened, 2 GiB for one of 16,383 x 16,383; so
the size is read here first. A file is RIFF, its size, WEBP, then chunks, of which the first tells the size:

    "VP8 "   lossy: 14 bits each, after a frame tag of three bytes and a start code of three
    "VP8L"   lossless: 14 bits each, less one, after a signature byte
    "VP8X"   extended: the canvas, 24 bits each, less one, after four bytes of flags

Source: WebP Container Specification; RFC 6386, section 9.1; WebP Lossless Bitstream Specification, section 3.
"""

from __future__ import annotations

HEADER = 12  # bytes of "RIFF", size and "WEBP"
FIRST = HEADER + 8  # where the first chunk's content begins


def is_webp(content: bytes) -> bool:
    """Whether a file begins as WebP does."""
    return content[:4] == b"RIFF" and content[8:HEADER] == b"WEBP"


def webp_size(content: bytes) -> tuple[int, int]:
    """Width and height of the canvas.

    Raises:
        ValueError: a first chunk that is none of the three, or that ends before its sizes.
    """
    kind, body = content[HEADER : HEADER + 4], content[FIRST : FIRST + 10]
    if kind == b"VP8 " and len(body) == 10 and body[3:6] == b"\x9d\x01\x2a":
        return _number(body[6:8]) & 0x3FFF, _number(body[8:10]) & 0x3FFF
    if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = _number(body[1:5])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(body) == 10:
        return _number(body[4:7]) + 1, _number(body[7:10]) + 1
    raise ValueError("its first chunk gives no size")


def _number(content: bytes) -> int:
    return int.from_bytes(content, "little")
