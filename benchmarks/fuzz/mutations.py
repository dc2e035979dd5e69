"""Damage done to a valid file: what a disk, a network or an attacker might make of it.

mutated(content, other, rng)    bits, bytes and spans of any file, its length fields, its numbers if it is text
mutated_tar(content, rng)       fields of a tar header, the header's own checksum made to fit again
random_pickle(rng)              instructions of a pickle in any order, with arguments of the right form
"""

from __future__ import annotations

import pickletools
import re
import struct
from random import Random

EDGES = (
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**63 - 1,
    2**64 - 1,
)
NUMBERS = (
    "0",
    "-1",
    "1e999",
    "-1e-400",
    "nan",
    "inf",
    "9" * 400,
    "0x10",
    "1_000",
    "4294967296",
    "true",
    '"1"',
    "",
)
NUMBER = re.compile(rb"-?\d+(\.\d+)?(e-?\d+)?")
TAR_FIELDS = ((0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155), (482, 13))
NAMES = (
    b"../../outside",
    b"/tmp/outside",
    b"train/../../outside",
    b"train/a/b/c.png",
    b"train/\xff\xfe.png",
    b"x" * 100,
)


def mutated(content: bytes, other: bytes, rng: Random) -> bytes:
    """One to four mutations, one after another; `other` is a file of the same kind to splice with."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = rng.choice(ANYWHERE)(content, other, rng)
    return content


def mutated_tar(content: bytes, rng: Random) -> bytes:
    """Replace one field of one header of a tar that is not compressed."""
    headers = [i for i in range(0, len(content) - 511, 512) if content[i + 257 : i + 262] == b"ustar"]
    if not headers:
        return content
    start = rng.choice(headers)
    header = bytearray(content[start : start + 512])
    offset, size = rng.choice(TAR_FIELDS)
    header[offset : offset + size] = _tar_value(offset, size, rng)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content[:start] + bytes(header) + content[start + 512 :]


def _tar_value(offset: int, size: int, rng: Random) -> bytes:
    if offset == 156:
        return rng.choice(
            (b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"S", b"L", b"K", b"x", b"g", b"X", b"\0")
        )
    if offset in (0, 157, 345):
        return rng.choice(NAMES)[:size].ljust(size, b"\0")
    number = rng.choice(EDGES)
    octal = b"%o" % number
    base256 = b"\x80" + number.to_bytes(size + 8, "big")[-(size - 1) :]
    return rng.choice((octal[: size - 1].rjust(size - 1, b"0") + b"\0", base256, rng.randbytes(size)))


def random_pickle(rng: Random) -> bytes:
    """Up to 60 instructions. Most such programs are senseless; some build what no sound file holds."""
    code = b"\x80\x02" + b"".join(_instruction(rng) for _ in range(rng.randrange(60)))
    return code + b"."


def _instruction(rng: Random) -> bytes:
    opcode = rng.choice(pickletools.opcodes)
    name = opcode.arg.name if opcode.arg else ""
    if name.startswith("stringnl") or name in (
        "decimalnl_short",
        "decimalnl_long",
        "floatnl",
        "unicodestringnl",
    ):
        text = rng.choice((b"os", b"numpy", b"numpy.core.multiarray", b"'text'", b"12", b"1e5", b"data"))
        pair = (
            b"\n" + rng.choice((b"system", b"ndarray", b"dtype", b"_reconstruct")) if "pair" in name else b""
        )
        argument = text + pair + b"\n"
    elif opcode.arg and opcode.arg.n > 0:
        argument = rng.choice(
            (rng.randbytes(opcode.arg.n), b"\0" * opcode.arg.n, b"\1" + b"\0" * (opcode.arg.n - 1))
        )
    elif opcode.arg:  # a length and as many bytes, or not as many
        length = rng.choice((0, 1, 2, 4, rng.choice(EDGES)))
        width = {-2: 1, -3: 4, -4: 4, -5: 8}.get(opcode.arg.n, 4)
        argument = (length % 2 ** (8 * width)).to_bytes(width, "little") + rng.choice((b"", b"u1", b"data"))
    else:
        argument = b""
    return opcode.code.encode("latin-1") + argument


def _flip_bits(content: bytes, other: bytes, rng: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(min(rng.choice((1, 1, 2, 8, 64)), len(changed))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(content: bytes, other: bytes, rng: Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _delete(content: bytes, other: bytes, rng: Random) -> bytes:
    start, length = rng.randrange(len(content) + 1), rng.choice((1, 2, 4, 64, 512))
    return content[:start] + content[start + length :]


def _repeat(content: bytes, other: bytes, rng: Random) -> bytes:
    start, length = rng.randrange(len(content) + 1), rng.choice((1, 4, 64, 512))
    return (
        content[: start + length]
        + rng.choice((1, 2, 200)) * content[start : start + length]
        + content[start:]
    )


def _insert(content: bytes, other: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + rng.randbytes(rng.choice((1, 2, 4, 64))) + content[start:]


def _splice(content: bytes, other: bytes, rng: Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


def _edit_length(content: bytes, other: bytes, rng: Random) -> bytes:
    """An integer at the edge of its range over any place, but more often over one in the first 64 bytes."""
    size, order = rng.choice((1, 2, 4, 8)), rng.choice("<>")
    value = struct.pack(order + {1: "B", 2: "H", 4: "I", 8: "Q"}[size], rng.choice(EDGES) % 2 ** (8 * size))
    start = rng.randrange(min(len(content), rng.choice((64, 10**9))) + 1)
    return content[:start] + value + content[start + size :]


def _edit_number(content: bytes, other: bytes, rng: Random) -> bytes:
    """Another number where there is one in plain text, as in TOML, CSV, JSON and the headers of safetensors and npy."""
    found = list(NUMBER.finditer(content[:4096]))
    if not found:
        return _edit_length(content, other, rng)
    match = rng.choice(found)
    return content[: match.start()] + rng.choice(NUMBERS).encode() + content[match.end() :]


def _swap_lines(content: bytes, other: bytes, rng: Random) -> bytes:
    lines = content.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[i], lines[j] = lines[j], rng.choice((lines[i], lines[j], b""))
    return b"\n".join(lines)


ANYWHERE = (
    *(_flip_bits, _truncate, _delete, _repeat, _insert, _splice),
    *(_edit_length, _edit_length, _edit_number, _edit_number, _swap_lines),
)
