"""Tar archives read block by block: a header that is damaged, zeroed or hollow is an error that gives its byte.

Python's tarfile takes a header of zeros for the end of an archive, follows chains of long names by recursion, and
believes what a sparse member claims. Here a member is a plain file or a folder with the bytes that are there:

    header    512 bytes: name, size in octal (or binary), checksum, kind, and a prefix of the name (POSIX.1-1988)
    content   padded to whole blocks
    end       a block of zeros (two, as it should be), and nothing but zeros after it

Kinds L (GNU's long name) and x (a pax header: "LENGTH KEY=VALUE" lines) precede a member and give its name or size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

BLOCK = 512
MAX_NAME = 1 << 20  # bytes of one long name or pax header
MAX_DIGITS = 20  # of a number in a pax header
PIECE = 1 << 16
KINDS = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"5": "folder",
    b"S": "sparse",
    b"L": "name",
    b"K": "link's name",
}
KINDS |= {b"x": "pax", b"X": "pax", b"g": "pax for all"}


class Damaged(ValueError):
    """What is no whole tar."""


@dataclass(frozen=True)
class Header:
    """Of a member: its name, its size in bytes, and its kind, "file", "folder", "sparse" or "else"."""

    name: str
    size: int
    kind: str


class Tar:
    """The members of a tar that `read` gives the bytes of, in order: next(), then content() or nothing."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read, self._at = read, 0
        # Bytes of the last member that are still to be read: of its content, and what fills its last block.
        self._left = self._filling = 0

    def next(self) -> Header | None:
        """The next member's header, None at the end; what is left of the last one's content is passed over.

        Raises:
            Damaged: a header or an end that is not whole.
        """
        self._pass_over()
        told: dict[str, Any] = {}
        while (header := self._header()) is not None:
            if header.kind not in ("name", "link's name", "pax", "pax for all"):
                header = Header(told.get("name", header.name), told.get("size", header.size), header.kind)
                if told.get("sparse"):
                    header = Header(header.name, header.size, "sparse")
                self._begin(0 if header.kind in ("folder", "else") else header.size)
                return header
            if header.size > MAX_NAME:
                raise Damaged(
                    f"member {header.name!r:.200} has {header.size} bytes, over the limit of {MAX_NAME}"
                )
            self._begin(header.size)
            content = self.content()
            self._pass_over()
            if header.kind == "name":
                told["name"] = _text(content.rstrip(b"\0"))
            elif header.kind == "pax":
                told |= _pax(content, self._at)
        if told:
            raise Damaged(f"a long name or pax header has no member after it, at byte {self._at}")
        return None

    def content(self) -> bytes:
        """Of the member whose header was given last; memory grows with the bytes that are there."""
        content = b"".join(self._pieces(self._left))
        self._left = 0
        return content

    def _begin(self, size: int) -> None:
        self._left, self._filling = size, -size % BLOCK

    def _pass_over(self) -> None:
        for _ in self._pieces(self._left + self._filling):
            pass
        self._left = self._filling = 0

    def _pieces(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._piece(min(size, PIECE))
            size -= len(piece)
            yield piece

    def _piece(self, size: int) -> bytes:
        piece = self._read(size)
        if not piece:
            raise Damaged(f"it ends at byte {self._at}, inside of a member")
        self._at += len(piece)
        return piece

    def _block(self) -> bytes:
        """The next 512 bytes."""
        start, block = self._at, b""
        while len(block) < BLOCK:
            piece = self._read(BLOCK - len(block))
            if not piece:
                raise Damaged(
                    f"a member's header is damaged or missing: it ends at byte {self._at}, without its end"
                )
            block += piece
            self._at = start + len(block)
        return block

    def _header(self) -> Header | None:
        start, block = self._at, self._block()
        if not any(block):
            self._require_end(start)
            return None
        checked = block[:148] + b" " * 8 + block[156:]
        signed = sum(checked) - 256 * sum(byte > 127 for byte in checked)
        if _octal(block[148:156]) not in (sum(checked), signed):
            raise Damaged(
                f"a member's header is damaged or missing, at byte {start}: its checksum does not fit"
            )
        name, prefix = (_text(part.partition(b"\0")[0]) for part in (block[:100], block[345:500]))
        if prefix and block[257:263] == b"ustar\0":
            name = f"{prefix}/{name}"
        kind = KINDS.get(block[156:157], "else")
        if block[156:157] == b"\0" and name.endswith("/"):
            kind = "folder"
        size = _octal(block[124:136])
        if size is None or size < 0:
            raise Damaged(f"a member's header is damaged, at byte {start}: it has no size")
        return Header(name, size, kind)

    def _require_end(self, start: int) -> None:
        """Nothing but zeros from the block at `start` on."""
        while piece := self._read(PIECE):
            if any(piece):
                raise Damaged(
                    f"a member's header is damaged or missing: there are zeros at byte {start}, and more after them"
                )


def _octal(field: bytes) -> int | None:
    """A number of a header: octal digits, or GNU's binary form; None if it is neither."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    return int(digits, 8) if all(48 <= digit < 56 for digit in digits) else None


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _pax(content: bytes, at: int) -> dict[str, Any]:
    """The name and size that a pax header gives, and whether it speaks of a sparse file."""
    told: dict[str, Any] = {}
    position = 0
    while position < len(content) and content[position]:
        word, blank, _ = content[position : position + MAX_DIGITS].partition(b" ")
        length = int(word) if blank and word.isdigit() else 0
        record = content[position + len(word) + 1 : position + length]
        key, equals, value = record[:-1].partition(b"=")
        if not (equals and record.endswith(b"\n") and position + length <= len(content)):
            raise Damaged(f"a pax header is damaged, before byte {at}: it must hold lines LENGTH KEY=VALUE")
        if key == b"path":
            told["name"] = _text(value)
        elif key == b"size":
            if not (value.isdigit() and len(value) <= MAX_DIGITS):
                raise Damaged(f"a pax header is damaged, before byte {at}: its size is {value[:40]!r}")
            told["size"] = int(value)
        elif key.startswith(b"GNU.sparse."):
            told["sparse"] = True
        position += length
    return told
