"""Folders and tars of images: everything that is there, or an error that names the member."""

import gzip
import io
import lzma
import tarfile
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from finegrain.empirical.readers import image_folder
from finegrain.empirical.readers.image_folder import read_images
from finegrain.empirical.readers.testing import webp, write_cifar
from finegrain.theory.tools import console

CLASSES = ("cat", "dog")


def png(pixels, mode=None, kind="PNG"):
    image = Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind)
    return buffer.getvalue()


def pixels(seed, shape=(4, 5, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def sample(shape=(4, 5, 3)):
    """Member name -> content of a small sound data set: 3 training images and 1 test image a class."""
    names = [
        f"{split}/{c}/{i}.png" for split, n in (("train", 3), ("test", 1)) for c in CLASSES for i in range(n)
    ]
    return {name: png(pixels(seed, shape)) for seed, name in enumerate(names)}


def tar_bytes(members):
    """A tar of contents; None stands for a folder, a TarInfo for itself without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in members.items():
            header = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
                continue
            if content is None:
                header.type = tarfile.DIRTYPE
            tar.addfile(header)
    return buffer.getvalue()


@pytest.fixture(params=["folder", "tar"])
def written(request, tmp_path):
    """Write members as a folder or as a tar; returns the path to read."""

    def write(members):
        if request.param == "tar":
            path = tmp_path / "images.tar"
            path.write_bytes(tar_bytes(members))
            return path
        path = tmp_path / "images"
        for name, content in members.items():
            target = path / name
            (target if content is None else target.parent).mkdir(parents=True, exist_ok=True)
            if content is not None:
                target.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 5)])
def test_images_come_back_with_their_labels(written, shape):
    (train_x, train_y), (test_x, test_y), names = read_images(written(sample(shape)))
    assert names.classes == CLASSES
    np.testing.assert_array_equal(train_x, [pixels(seed, shape) for seed in range(6)])
    np.testing.assert_array_equal(test_x, [pixels(seed, shape) for seed in (6, 7)])
    np.testing.assert_array_equal(train_y, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(test_y, [0, 1])
    assert train_x.dtype == np.uint8 and train_y.dtype == np.int64
    assert not train_x.flags.owndata  # what comes in order is not copied


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_order_and_packing_of_a_tar_do_not_matter(tmp_path, pack):
    shuffled = {"./" + name: content for name, content in reversed(sample().items())}
    path = tmp_path / "any-name"
    path.write_bytes(pack(tar_bytes(shuffled)))
    (train_x, train_y), _, _ = read_images(path)
    np.testing.assert_array_equal(train_x, [pixels(seed) for seed in range(6)])
    np.testing.assert_array_equal(train_y, [0, 0, 0, 1, 1, 1])


def test_jpeg_is_read_as_its_decoder_gives_it(written):
    content = png(pixels(0, (8, 8, 3)), kind="JPEG")
    members = {f"{split}/cat/a.JPG": content for split in ("train", "test")}
    (train_x, _), _, _ = read_images(written(members))
    np.testing.assert_array_equal(train_x[0], np.asarray(Image.open(io.BytesIO(content))))


def test_lossless_webp_is_read_pixel_for_pixel(written):
    members = {f"{split}/cat/{i}.webp": webp(pixels(i)) for i, split in enumerate(("train", "test"))}
    (train_x, _), (test_x, _), _ = read_images(written(members))
    np.testing.assert_array_equal(train_x[0], pixels(0))
    np.testing.assert_array_equal(test_x[0], pixels(1))


def test_what_is_hidden_or_elsewhere_or_an_empty_folder_in_a_class_is_left_alone(written):
    extra = {"README": b"text", "valid/cat/a.png": b"-", "train/.DS_Store": b"-", "train/.trash/a.png": b"-"}
    extra["train/cat/empty"] = None
    (train_x, _), _, names = read_images(written(sample() | extra))
    assert names.classes == CLASSES and len(train_x) == 6


TRUNCATED = png(pixels(0))[:60]
PALETTE, ALPHA = png(pixels(0), mode="P"), png(pixels(0), mode="RGBA")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train/cat/9.png": b"not an image"},
            r"'train/cat/9\.png' is a broken image: not a JPEG, PNG or WebP that can be decoded$",
        ),
        ({"train/cat/9.png": b""}, r"'train/cat/9\.png' is a broken image"),
        ({"train/cat/9.png": TRUNCATED}, r"'train/cat/9\.png' is a broken image: .*truncated"),
        ({"train/cat/9.png": png(pixels(0, (5, 4, 3)))}, r"has shape \(5, 4, 3\), but .* have \(4, 5, 3\)"),
        ({"train/cat/9.png": png(pixels(0, (4, 5)))}, r"has shape \(4, 5\), but .* have \(4, 5, 3\)"),
        ({"train/cat/9.png": PALETTE}, r"has mode P, but must be 8-bit grey \(L\) or RGB: convert it"),
        ({"test/dog/9.png": ALPHA}, r"'test/dog/9\.png' has mode RGBA, but must be"),
        (
            {"train/cat/9.webp": webp(pixels(0))[:-9]},
            r"'train/cat/9\.webp' is a broken image",
        ),
        (
            {"train/cat/9.webp": b"RIFF\x0c\0\0\0WEBPVP8Q\0\0\0\0"},
            r"'train/cat/9\.webp' is a broken image: its first chunk gives no size$",
        ),
        ({"train/cat/9.gif": b"GIF89a"}, r"'train/cat/9\.gif' is not an image: need train/<class>/<name>"),
        ({"train/9.png": png(pixels(0))}, r"'train/9\.png' is not an image: need train/<class>/<name>"),
        ({"train/cat/a/9.png": png(pixels(0))}, r"'train/cat/a/9\.png' is not an image"),
        ({"train/eel": None}, r"class folder train/eel has no image"),
        ({"train/cat": None, "test/eel": None}, r"class folder test/eel has no image"),
        ({"test/eel/0.png": png(pixels(0))}, r"test has classes that train has not: eel"),
        ({"train/eel/0.png": png(pixels(0))}, r"train has classes that test has not: eel"),
    ],
)
def test_a_bad_member_is_named_with_what_is_wrong(written, change, message):
    path = written(sample() | change)
    with pytest.raises(ValueError, match=rf"{path.name}: .*{message}"):
        read_images(path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_without_images_is_an_error(written, split):
    members = {name: content for name, content in sample().items() if not name.startswith(split)}
    with pytest.raises(
        ValueError, match=rf"must hold images as {split}/<class>/\*\.jpg, \*\.png or \*\.webp, got none"
    ):
        read_images(written(members))


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"images must be a folder or a tar file, got .*absent"):
        read_images(tmp_path / "absent")


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(written):
    """By its header; Pillow's own limit, of which it warns, is higher."""
    content = bytearray(png(pixels(0)))
    content[16:24] = (10_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path = written(sample() | {"train/cat/9.png": bytes(content)})
    with pytest.raises(ValueError, match=r"is 10000 x 10000, over the limit of 16777216 pixels"):
        read_images(path)


def riff(*chunks):
    body = b"WEBP" + b"".join(
        kind + len(content).to_bytes(4, "little") + content + b"\0" * (len(content) % 2)
        for kind, content in chunks
    )
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def webp_claiming(kind, width, height):
    """A WebP of which the first chunk says this size."""
    if kind == "VP8L":
        bits = (width - 1) | (height - 1) << 14
        return riff((b"VP8L", b"\x2f" + bits.to_bytes(4, "little") + bytes(16)))
    if kind == "VP8 ":
        sizes = width.to_bytes(2, "little") + height.to_bytes(2, "little")
        return riff((b"VP8 ", b"\x10\0\0\x9d\x01\x2a" + sizes + bytes(16)))
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return riff((b"VP8X", bytes(4) + sizes), (b"VP8L", webp_claiming("VP8L", width, height)[20:]))


@pytest.mark.parametrize("kind", ["VP8L", "VP8 ", "VP8X"])
def test_a_webp_of_too_many_pixels_is_refused_before_pillow_opens_it(written, monkeypatch, kind):
    """Opening it would take memory for two canvases."""
    path = written({"train/cat/9.webp": webp_claiming(kind, 16383, 8192)})
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(
        ValueError, match=r"'train/cat/9\.webp' is 16383 x 8192, over the limit of 16777216 pixels"
    ):
        read_images(path)


def test_a_webp_whose_frame_is_larger_than_its_canvas_is_broken(written):
    small = webp_claiming("VP8X", 4, 4)[12:30]
    large = webp_claiming("VP8L", 16383, 16383)[12:]
    hostile = b"RIFF" + (4 + len(small) + len(large)).to_bytes(4, "little") + b"WEBP" + small + large
    with pytest.raises(ValueError, match=r"'train/cat/9\.webp' is a broken image"):
        read_images(written(sample() | {"train/cat/9.webp": hostile}))


def test_a_webp_with_frames_or_transparency_is_refused(written):
    frames, clear = io.BytesIO(), io.BytesIO()
    two = [Image.fromarray(pixels(i)) for i in range(2)]
    two[0].save(frames, "WEBP", save_all=True, append_images=two[1:], lossless=True)
    with pytest.raises(ValueError, match=r"'train/cat/8\.webp' has 2 frames, but must be one image"):
        read_images(written(sample() | {"train/cat/8.webp": frames.getvalue()}))
    alpha = Image.fromarray(pixels(0, (4, 5, 4)), "RGBA")
    alpha.save(clear, "WEBP", lossless=True)
    with pytest.raises(ValueError, match=r"'train/cat/7\.webp' has mode RGBA, but must be"):
        read_images(written(sample() | {"train/cat/7.webp": clear.getvalue()}))


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MAX_PIXELS", 4 * 5, r"'train/cat/0\.png' is 5 x 4, over the limit of 19 pixels"),
        ("MAX_TOTAL", 6 * 60, r"'train/dog/2\.png' takes the pixels of train over the limit of 359 bytes"),
    ],
)
def test_pixels_of_just_the_limit_are_read(written, monkeypatch, limit, value, message):
    path = written(sample())
    monkeypatch.setattr(image_folder, limit, value)
    assert len(read_images(path)[0][0]) == 6
    monkeypatch.setattr(image_folder, limit, value - 1)
    with pytest.raises(ValueError, match=message):
        read_images(path)


def test_a_member_of_just_the_limit_is_read(written, monkeypatch):
    members = sample()
    path, largest = written(members), max(map(len, members.values()))
    monkeypatch.setattr(image_folder, "MAX_FILE", largest)
    assert len(read_images(path)[0][0]) == 6
    monkeypatch.setattr(image_folder, "MAX_FILE", largest - 1)
    message = rf"{path.name}.* member '(train|test)/.*' has {largest} bytes, over the limit of {largest - 1}"
    with pytest.raises(ValueError, match=message):
        read_images(path)


def test_a_size_that_only_a_pax_record_gives_is_limited_too(tmp_path):
    header = tarfile.TarInfo("train/cat/0.png")
    header.pax_headers = {"size": str(2**40)}
    path = tmp_path / "images.tar"
    path.write_bytes(header.tobuf(tarfile.PAX_FORMAT))
    with pytest.raises(
        ValueError, match=r"images\.tar: member 'train/cat/0\.png' has 1099511627776 bytes, over"
    ):
        read_images(path)


def special(kind, name="train/cat/9.png", target=""):
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return {name: header}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"../outside.png": b"-"}, r"'\.\./outside\.png' climbs out of the archive"),
        ({"train/../../outside.png": b"-"}, r"climbs out of the archive"),
        ({"/etc/outside.png": b"-"}, r"'/etc/outside\.png' climbs out of the archive"),
        (special(tarfile.SYMTYPE, target="/etc/passwd"), r"'train/cat/9\.png' is a link or a device"),
        (special(tarfile.LNKTYPE, target="train/cat/0.png"), r"is a link or a device"),
        (special(tarfile.FIFOTYPE, name="elsewhere"), r"'elsewhere' is a link or a device"),
        (special(tarfile.CHRTYPE), r"is a link or a device"),
    ],
)
def test_a_hostile_member_is_refused(tmp_path, change, message):
    path = tmp_path / "images.tar"
    path.write_bytes(tar_bytes(sample() | change))
    with pytest.raises(ValueError, match=rf"images\.tar: member .*{message}"):
        read_images(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_in_a_folder_is_refused(tmp_path):
    for name, content in sample().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "train/eel").symlink_to(tmp_path / "train/cat")
    with pytest.raises(ValueError, match=r"'train/eel' is a link or a device, which is refused"):
        read_images(tmp_path)


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_split_that_is_a_link_is_refused(tmp_path, name):
    for member, content in sample().items():
        place = tmp_path / ("elsewhere" if member.startswith(name) else "given") / member
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    (tmp_path / "given" / name).symlink_to(tmp_path / "elsewhere" / name)
    with pytest.raises(ValueError, match=rf"given: {name} is a link, which is refused"):
        read_images(tmp_path / "given")


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
@pytest.mark.parametrize("packed", [False, True])
def test_cifars_own_files_are_told_from_folders_of_classes(tmp_path, kind, packed):
    path = tmp_path / "cifar.tar.gz"
    write_cifar(path, kind)
    folder = path if packed else tmp_path / "unpacked"
    if not packed:
        with tarfile.open(path) as tar:
            tar.extractall(folder, filter="data")
    for place in [folder] if packed else [folder, next(folder.iterdir())]:
        with pytest.raises(
            ValueError, match=r"holds CIFAR's batches, .*read its archive as cifar10:PATH or cifar100:"
        ):
            read_images(place)


LIGHT_ABOVE = np.r_[np.full((8, 16), 250), np.zeros((8, 16))].astype(np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_says(written, orientation, kind):
    """PIL's own inverse of each turn writes the pixels as a camera would that was held so."""
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    lying = Image.fromarray(LIGHT_ABOVE)
    lying = lying if turn is None else lying.transpose(Image.Transpose(turn))
    tags, buffer = Image.Exif(), io.BytesIO()
    tags[0x0112] = orientation
    lying.save(buffer, kind, exif=tags, **({"quality": 95} if kind == "JPEG" else {}))
    names = [
        f"{split}/{c}/0.{'jpg' if kind == 'JPEG' else 'png'}" for split in ("train", "test") for c in CLASSES
    ]
    (x, _), _, _ = read_images(written(dict.fromkeys(names, buffer.getvalue())))
    assert x[0, :6].min() > 200 and x[0, 10:].max() < 50


def test_a_jpeg_of_many_scans_or_a_png_of_many_frames_is_refused_at_once(written):
    buffer = io.BytesIO()
    Image.fromarray(pixels(0)).save(buffer, "JPEG", progressive=True)
    whole = buffer.getvalue()
    last = whole.rindex(b"\xff\xda")
    scans = whole[:-2] + whole[last:-2] * 100 + whole[-2:]
    with pytest.raises(ValueError, match=r"member 'train/cat/9\.jpg' has 1\d\d scans, over the limit of 64"):
        read_images(written(sample() | {"train/cat/9.jpg": scans}))
    frames = io.BytesIO()
    two = [Image.fromarray(pixels(i)) for i in range(2)]
    two[0].save(frames, "PNG", save_all=True, append_images=two[1:])
    with pytest.raises(ValueError, match=r"member 'train/cat/8\.png' has 2 frames, but must be one image"):
        read_images(written(sample() | {"train/cat/8.png": frames.getvalue()}))


def test_pixels_are_held_once(tmp_path):
    """Also where the archive's order is not that of the names."""
    names = [f"{split}/{c}/{i}.png" for c in CLASSES for split in ("test", "train") for i in (3, 1, 4, 2)]
    path, size = tmp_path / "images.tar", (1500, 1000)
    path.write_bytes(tar_bytes({name: png(np.full(size, i)) for i, name in enumerate(names)}))
    tracemalloc.start()
    (x, y), (z, _), _ = read_images(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * (x.nbytes + z.nbytes)
    order = sorted((name, i) for i, name in enumerate(names) if name.startswith("train"))
    assert x[:, 0, 0].tolist() == [i for _, i in order] and y.tolist() == [0] * 4 + [1] * 4


def test_pixels_that_do_not_fit_are_refused_with_their_bytes(written, monkeypatch):
    monkeypatch.setattr("finegrain.theory.tools.memory.allowed", lambda: 100)
    monkeypatch.setattr(image_folder, "FIRST_ASKED", 0)
    path = written(sample())
    with pytest.raises(MemoryError, match=r"images(\.tar)?: member .*pixels needs .* allowed are 100 bytes"):
        read_images(path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_image_named_twice_is_an_error(tmp_path, split):
    path = tmp_path / "images.tar"
    again = {f"./{split}/cat/0.png": png(pixels(9))}
    path.write_bytes(tar_bytes(sample() | again))
    with pytest.raises(ValueError, match=r"images\.tar: image 'cat/0\.png' is there twice"):
        read_images(path)


def blocks(content):
    return [content[i : i + 512] for i in range(0, len(content), 512)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_every_truncation_is_an_error(tmp_path, pack):
    """Also at the end of a member, where tarfile by itself would take the rest as absent."""
    whole = tar_bytes(sample()).rstrip(b"\0")
    whole += b"\0" * (-len(whole) % 512)  # without the zero blocks that mark the end
    path = tmp_path / "images.tar"
    for size in range(0, len(whole) + 1, 256):
        path.write_bytes(pack(whole[:size]))
        with pytest.raises(ValueError, match=r"images\.tar is not a whole tar, tar\.gz or tar\.xz file"):
            read_images(path)
    packed = pack(tar_bytes(sample()))
    for size in range(len(packed) - 20, len(packed)) if pack is not bytes else []:
        path.write_bytes(packed[:size])
        with pytest.raises(ValueError, match=r"images\.tar is not a whole tar, tar\.gz or tar\.xz file"):
            read_images(path)


def test_a_damaged_header_between_sound_members_is_an_error(tmp_path):
    content = bytearray(tar_bytes(sample()))
    second = content.index(b"train/cat/1.png")
    content[second + 124] ^= 1  # its size field: the header's own checksum fails
    path = tmp_path / "images.tar"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"images\.tar is not a whole tar.*header is damaged or missing"):
        read_images(path)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_wrong_checksum_at_the_end_is_an_error(tmp_path, pack):
    packed = bytearray(pack(tar_bytes(sample())))
    packed[-6] ^= 1
    path = tmp_path / "images.tar"
    path.write_bytes(packed)
    with pytest.raises(ValueError, match=r"images\.tar is not a whole tar, tar\.gz or tar\.xz file"):
        read_images(path)


def test_what_follows_a_tars_end_costs_no_memory(tmp_path):
    path = tmp_path / "images.tar.gz"
    path.write_bytes(gzip.compress(tar_bytes(sample()) + bytes(64 << 20), compresslevel=1))
    tracemalloc.start()
    try:
        assert len(read_images(path)[0][0]) == 6
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("kind", "limit"),
    [(tarfile.REGTYPE, 64 << 20), (tarfile.GNUTYPE_LONGNAME, 1 << 20), (tarfile.XHDTYPE, 1 << 20)],
)
def test_a_header_that_claims_too_much_costs_no_memory(tmp_path, kind, limit):
    header = tarfile.TarInfo("train/cat/0.png")
    header.type, header.size = kind, 2**40
    path = tmp_path / "images.tar.xz"
    path.write_bytes(lzma.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(64 << 20), preset=0))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"has 1099511627776 bytes, over the limit of {limit}"):
            read_images(path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20  # the archive unpacks to 64 MiB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("progress", [{}, {"progress": False}, {"progress": True}])
@pytest.mark.parametrize("first", [True, False])
def test_the_first_process_draws_a_bar_when_asked_for(written, capfd, monkeypatch, progress, first):
    monkeypatch.setattr(console, "FIRST", first)
    read_images(written(sample()), **progress)
    out, err = capfd.readouterr()
    assert out == "" and ("reading images" in err) == (first and progress.get("progress", False))


def test_a_chain_of_long_names_is_an_error(tmp_path):
    """tarfile would follow it by recursion."""
    header = tarfile.TarInfo("name")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 5
    path = tmp_path / "images.tar"
    path.write_bytes((header.tobuf(tarfile.GNU_FORMAT) + b"long\0".ljust(512, b"\0")) * 2000)
    with pytest.raises(
        ValueError, match=r"images\.tar is not a whole tar.*it ends at byte 2048000, without its end"
    ):
        read_images(path)
