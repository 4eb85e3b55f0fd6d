"""Any bytes as a picture, any tree as a folder of pictures: the right answer or one line; no hang, bounded memory."""

import io
import os
import resource
import struct
import tempfile
import warnings
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnn_jax.data import images
from cnn_jax.data.folder import folder
from cnn_jax.data.images import CorruptImage, decode_image, native_channels, traits
from cnn_jax.data.metadata import without_metadata
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.reading import read_image
from cnn_jax.data.source import in_memory, opened

LIMIT = 2**21  # pixels, for these tests
GROWTH = 2**19  # KiB of memory that they may take beyond what was taken before


@pytest.fixture(autouse=True, scope="module")
def bounded():
    """A limit that is met in tests; and the memory that was taken."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv(images.LIMIT, str(LIMIT))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        yield
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def _files() -> dict[str, bytes]:
    colour = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
    rgb, grey = Image.fromarray(colour), Image.fromarray(colour[..., 0])
    deep = Image.fromarray(colour[..., 0].astype(np.uint16) * 16)
    exif = Image.Exif()
    exif[0x0112] = 6
    made = {
        "png": encoded(rgb, "PNG", exif=exif),
        "palette": encoded(rgb.quantize(9), "PNG", transparency=0),
        "deep": encoded(deep, "PNG"),
        "jpeg": encoded(rgb, "JPEG", exif=exif),
        "progressive": encoded(rgb, "JPEG", progressive=True, icc_profile=b"icc"),
        "printed": encoded(rgb.convert("CMYK"), "JPEG"),
        "gif": encoded(rgb.quantize(9), "GIF", save_all=True, append_images=[grey.quantize(9)]),
        "webp": encoded(rgb, "WEBP", exif=exif),
        "animated": encoded(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
        "bmp": encoded(rgb, "BMP"),
        "jp2": encoded(rgb, "JPEG2000"),
        "ppm": encoded(rgb, "PPM"),
        "pgm": encoded(deep, "PPM"),
    }
    for compression in ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        made[f"tiff {compression}"] = encoded(rgb, "TIFF", compression=compression)
    for form in {"AVIF", "QOI"} & set(Image.SAVE):
        made[form] = encoded(rgb, form)
    return made


FILES = _files()
EXTREME = [struct.pack(order + "I", value) for order in "<>" for value in (0, 1, 2**15, 2**16, 2**31 - 1, 2**32 - 1)]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A picture that was cut, overwritten, repeated or joined with another in up to four places."""
    data = bytearray(draw(st.sampled_from(list(FILES.values()))))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)) | st.integers(0, 64))  # headers more often
        what = draw(st.sampled_from(("byte", "number", "cut", "repeat", "insert", "other")))
        if what == "byte":
            data[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif what == "number":
            data[place : place + 4] = draw(st.sampled_from(EXTREME))
        elif what == "cut":
            del data[place : place + draw(st.integers(1, 400))]
        elif what == "repeat":
            data[place:place] = data[place : place + draw(st.integers(1, 200))]
        elif what == "insert":
            data[place:place] = draw(st.binary(max_size=30))
        else:
            data[place:] = draw(st.sampled_from(list(FILES.values())))[place:]
    return bytes(data)


@settings(deadline=None)
@given(
    damaged() | st.binary(max_size=200), st.sampled_from((1, 3, 4)), st.sampled_from(("crop", "stretch", "letterbox"))
)
def test_bytes_become_a_picture_or_one_line(data: bytes, channels: int, resize: str) -> None:
    for prepare in (ImagePrepare(), ImagePrepare(size=(9, 13), channels=channels, resize=resize)):
        try:
            pixels, placement = read_image(data, prepare)
        except CorruptImage as error:
            assert "\n" not in str(error) and str(error)
        else:
            assert pixels.dtype == np.uint8 and pixels.ndim == 3
            assert pixels.shape == ((9, 13, channels) if prepare.size else (*placement.original, native_channels(data)))
    try:
        seen = traits(data)
    except CorruptImage as error:
        assert "\n" not in str(error)
    else:
        assert 0 <= seen.greatest <= 65535


def chunk(kind: bytes, body: bytes, checksum: bool) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ (not checksum))


BOMB = zlib.compress(bytes(80_000_000), 9)
KINDS = {
    "png": [b"eXIf", b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"gAMA", b"cHRM", b"pHYs", b"sRGB", b"tIME", b"acTL", b"xxXx"],
    "jpeg": [bytes([0xFF, marker]) for marker in (*range(0xE0, 0xF0), 0xFE)],
}
STARTS = [
    b"Exif\0\0MM\0*",
    b"ICC_PROFILE\0\1\1",
    b"MPF\0",
    b"Photoshop 3.0\0",
    b"http://ns.adobe.com/xap/1.0/\0",
    b"JFIF\0",
    b"",
]


@settings(deadline=None)
@given(st.data())
def test_metadata_cost_no_pixels(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(("png", "jpeg")))
    file, kind = without_metadata(FILES[form]), data.draw(st.sampled_from(KINDS[form]))
    body = data.draw(st.sampled_from(STARTS)) + data.draw(st.binary(max_size=40))
    if form == "png":
        body = data.draw(st.sampled_from((body, b"text\0\0" + BOMB)))
        place = data.draw(st.sampled_from((33, len(file) - 12)))
        added = chunk(kind, body, data.draw(st.booleans()))
    else:
        place, added = 2, kind + struct.pack(">H", len(body) + 2) + body
    expected = decode_image(file, 3)[0]
    found = decode_image(file[:place] + added + file[place:], 3)[0]
    turns = [expected, *(np.rot90(expected, k) for k in (1, 2, 3))]  # the metadata may happen to say so
    assert any(found.shape == turn.shape and (found == turn).all() for side in turns for turn in (side, side[:, ::-1]))


NAMES = st.sampled_from(
    ["train", "Training", "valid", "dev", "test", "cat", "dog", ".cache", "a.png", "B.JPG", "c.txt", ".d.png", "e.gif"]
) | st.binary(min_size=1, max_size=4).map(lambda raw: os.fsdecode(raw.replace(b"/", b"-").replace(b"\0", b"-")))
CONTENT = st.sampled_from([*FILES, "empty", "text", "link", "loop", "pipe"])
TREES = st.recursive(CONTENT, lambda inner: st.dictionaries(NAMES, inner, max_size=5), max_leaves=25)


def grow(path: Path, tree: object) -> None:
    if path.name in (".", "..") or path.exists() or path.is_symlink():
        return
    if isinstance(tree, dict):
        path.mkdir()
        for name, inner in tree.items():
            grow(path / name, inner)
    elif tree in ("link", "loop"):
        path.symlink_to("nowhere" if tree == "link" else "..")
    elif tree == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(FILES.get(str(tree), {"empty": b"", "text": b"words"}.get(str(tree), b"")))


@settings(deadline=None)
@given(st.dictionaries(NAMES, TREES, max_size=5), st.sampled_from((None, 8)))
def test_trees_become_splits_or_one_line(tree: dict[str, object], size: int | None) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "root"  # out of which links may lead
        grow(root, tree)
        try:
            splits = opened(partial(folder, path=str(root), size=size), validation=0.3)
            sources = [in_memory(source) for source in splits.values()]
        except ValueError as error:
            assert "\n" not in str(error) and str(error).isprintable()
        else:
            spec = sources[0].spec
            assert len(set(spec.classes)) == len(spec.classes) > 1
            assert all(text.isprintable() for text in (*spec.classes, *spec.notes, spec.name))
            for source in sources:
                batch = source.batch(np.arange(len(source)))
                assert batch["image"].shape == (len(source), *spec.input.shape) and batch["label"].max(initial=0) < len(
                    spec.classes
                )
