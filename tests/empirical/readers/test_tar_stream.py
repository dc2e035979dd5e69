"""Tars are read as tarfile has written them; no damage shortens one, and no claim or bomb costs more than it is."""

import gzip
import io
import lzma
import struct
import tarfile
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finegrain.empirical.readers import members
from finegrain.empirical.readers.members import tar_members
from finegrain.empirical.readers.tar_stream import Damaged, Tar

NAMES = st.lists(st.text("aé/x._ 9", min_size=1, max_size=150), max_size=5)
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def tar(contents, form=tarfile.GNU_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as file:
        for name, content in contents:
            info = tarfile.TarInfo(name)
            info.size, info.type = (
                len(content or b""),
                tarfile.DIRTYPE if content is None else tarfile.REGTYPE,
            )
            file.addfile(info, io.BytesIO(content or b""))
    return buffer.getvalue()


def read(content, use=lambda tar: tar.content()):
    found, stream = [], Tar(io.BytesIO(content).read)
    while (header := stream.next()) is not None:
        found.append((header.name, None if header.kind == "folder" else use(stream)))
    return found


@given(NAMES, st.lists(st.binary(max_size=1300) | st.none(), min_size=5, max_size=5), FORMATS)
def test_what_tarfile_writes_is_read_as_tarfile_reads_it(names, contents, form):
    try:
        packed = tar(zip(names, contents, strict=False), form)
    except ValueError:  # a name that the format cannot hold
        return
    with tarfile.open(fileobj=io.BytesIO(packed)) as file:
        right = [(m.name, file.extractfile(m).read() if m.isfile() else None) for m in file]
    found = read(packed)
    # tarfile takes the slash off that ends a folder's name.
    assert [(n.rstrip("/"), c) for n, c in found] == [(n.rstrip("/"), c) for n, c in right]
    assert [name for name, _ in read(packed, use=lambda _: None)] == [name for name, _ in found]


WHOLE = tar([(f"train/{c}/{i}", bytes([65 + i]) * (700 * i)) for c in "ab" for i in range(4)])
STARTS = [i for i in range(0, len(WHOLE), 512) if WHOLE[i : i + 5] == b"train"]


@given(st.sampled_from(STARTS), st.integers(1, 6), st.booleans())
def test_headers_of_zeros_are_an_error_that_names_the_byte(start, blocks, one_alone):
    """A bad sector may cover one block or several; where all that is left is zeros, the archive ends there."""
    content = bytearray(WHOLE)
    stop = min(start + 512 * (1 if one_alone else blocks), len(WHOLE))
    content[start:stop] = bytes(stop - start)
    if not any(content[start:]):
        return
    with pytest.raises(Damaged, match=rf"zeros at byte {start}, and more after them"):
        read(bytes(content))


@given(st.sampled_from(STARTS), st.integers(0, 511), st.integers(1, 255))
def test_no_flipped_byte_of_a_header_shortens_the_archive(start, offset, flip):
    content = bytearray(WHOLE)
    content[start + offset] ^= flip
    try:
        assert len(read(bytes(content))) == len(STARTS)
    except Damaged as error:
        assert "at byte" in str(error)


@given(st.integers(0, len(WHOLE.rstrip(b"\0")) + 1))
def test_no_cut_shortens_the_archive(size):
    with pytest.raises(Damaged, match=r"it ends at byte \d+"):
        read(WHOLE[:size])


@pytest.mark.parametrize("zeros", [512, 513, 1024, 10240, 1 << 20])
def test_an_archive_ends_with_a_block_of_zeros_or_more(zeros):
    content = WHOLE.rstrip(b"\0")
    assert len(read(content + bytes(-len(content) % 512 + zeros))) == 8


def header(name, size, kind=b"0", at=()):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for offset, content in at:
        block[offset : offset + len(content)] = content
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(content):
    return (
        header("pax", len(content), b"x")
        + content
        + bytes(-len(content) % 512)
        + header("a", 0)
        + bytes(1024)
    )


RECORDS = {
    "digits without a blank": b"7" * 200_000,
    "a length of 25 digits": b"8" * 25 + b" mtime=1\n",
    "a length beyond its end": b"99 path=a\n",
    "a length of nothing": b"0 path=a\n",
    "no equals sign": b"9 path a\n",
    "no newline": b"9 path=ab",
    "a size of 1,000 digits": b"1011 size=" + b"9" * 1000 + b"\n",
    "a size below zero": b"11 size=-1\n",
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_pax_header_that_is_none_is_refused_at_once(name):
    started = time.process_time()
    with pytest.raises(Damaged, match=r"a pax header is damaged, before byte"):
        read(pax(RECORDS[name]))
    assert time.process_time() - started < 1


def test_other_pax_records_cost_nothing_and_change_nothing():
    line = b"1 mtime=" + b"7" * 100_000 + b"\n"
    line = b"%d" % (len(line) + 5) + line[1:]
    assert read(pax(line)) == [("a", b"")]


SPARSE = {
    "of GNU": header("x", 0, b"S", [(386, b"00000000000\0" * 2), (483, b"%011o\0" % (48 << 20))]),
    "0.1 of pax": pax(b"22 GNU.sparse.major=1\n"),
}


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_members_are_refused(name, tmp_path):
    (tmp_path / "a.tar").write_bytes(SPARSE[name] + bytes(1024))
    with pytest.raises(ValueError, match=r"a\.tar: member '.' is sparse, which is refused"):
        list(tar_members(tmp_path / "a.tar", max_bytes=1 << 20, progress=False))


def test_a_name_without_a_member_is_an_error():
    with pytest.raises(Damaged, match="a long name or pax header has no member after it"):
        read(header("pax", 9, b"x") + b"9 path=a\n".ljust(512, b"\0") + bytes(1024))


def xz_with_dictionary(content, exponent):
    """Repacked so that its header asks for a dictionary of about 2^exponent bytes."""
    packed = bytearray(lzma.compress(content, check=lzma.CHECK_NONE, preset=0))
    at, end = packed.index(b"\x21\x01", 12), 12 + (packed[12] + 1) * 4
    packed[at + 2] = 2 * (exponent - 12)
    packed[end - 4 : end] = struct.pack("<I", zlib.crc32(bytes(packed[12 : end - 4])))
    return bytes(packed)


@pytest.mark.parametrize(("exponent", "taken"), [(20, True), (26, True), (28, False), (31, False)])
def test_an_xz_may_ask_for_what_xz_9_asks_for(exponent, taken, tmp_path):
    path = tmp_path / "a.tar.xz"
    path.write_bytes(xz_with_dictionary(WHOLE, exponent))
    if taken:
        assert len(list(tar_members(path, max_bytes=1 << 20, progress=False))) == len(STARTS)
    else:
        with pytest.raises(ValueError, match=r"a\.tar\.xz is not a whole tar.*Memory usage limit"):
            list(tar_members(path, max_bytes=1 << 20, progress=False))


@pytest.mark.parametrize("between", [b"", bytes(4), bytes(200_000)])
@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_streams_one_after_another_are_one(pack, between, tmp_path):
    path = tmp_path / "a.tar.packed"
    path.write_bytes(pack(WHOLE[:3000]) + between + pack(WHOLE[3000:]))
    assert [content for _, content in tar_members(path, max_bytes=1 << 20, progress=False)] == [
        content for _, content in read(WHOLE)
    ]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_what_unpacks_without_end_is_refused_without_being_held(pack, tmp_path, monkeypatch):
    monkeypatch.setattr(members, "MOST_UNPACKED", 8 << 20)
    path = tmp_path / "a.tar.packed"
    path.write_bytes(pack(header("a", 32 << 20) + bytes(32 << 20) + bytes(1024)))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"unpacks to more than 8388608 bytes, which is refused: unpack it"):
        list(tar_members(path, max_bytes=64 << 20, progress=False))
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()
