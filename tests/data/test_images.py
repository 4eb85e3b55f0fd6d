import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from cnn_jax.data import images
from cnn_jax.data.images import (
    CorruptImage,
    decode_image,
    full_bits,
    native_channels,
    stretched,
    traits,
    with_channels,
)
from cnn_jax.data.metadata import without_metadata
from cnn_jax.data.resizing import resized


def encode(picture: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def decode(data: bytes, channels: int) -> np.ndarray:
    return decode_image(data, channels)[0]


def pattern(height: int = 6, width: int = 8, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 200 // height, columns * 200 // width, (rows + columns) * 100 // height], -1).astype(
        np.uint8
    )


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_png_is_exact():
    pixels, full = decode_image(encode(Image.fromarray(pattern()), "PNG"), 3)
    np.testing.assert_array_equal(pixels, pattern())
    assert full == (6, 8)


def test_jpeg_is_what_pillow_reads():
    data = encode(Image.fromarray(smooth(33, 47)), "JPEG", quality=90)
    np.testing.assert_array_equal(decode(data, 3), np.asarray(Image.open(io.BytesIO(data))))
    grey = encode(Image.fromarray(smooth(33, 47)[..., 0]), "JPEG")
    np.testing.assert_array_equal(decode(grey, 1)[..., 0], np.asarray(Image.open(io.BytesIO(grey))))
    np.testing.assert_array_equal(decode(grey, 3)[..., 1], np.asarray(Image.open(io.BytesIO(grey))))


def test_cmyk_jpeg():
    rgb = decode(encode(Image.fromarray(smooth(16, 16)).convert("CMYK"), "JPEG", quality=95), 3)
    assert np.abs(rgb.astype(int) - smooth(16, 16)).mean() < 8


def test_palette_and_grey():
    picture = Image.fromarray(smooth(16, 16)).quantize(16)
    expected = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(decode(encode(picture, "PNG"), 3), expected)
    assert decode(encode(picture, "GIF"), 1).shape == (16, 16, 1)
    grey = pattern(channels=1)[..., 0]
    np.testing.assert_array_equal(decode(encode(Image.fromarray(grey), "PNG"), 3), np.stack([grey] * 3, -1))


def test_sixteen_bits_are_scaled():
    grey = np.array([[0, 257 * 200 - 1, 65535]], np.uint16)
    for white in (None, 65535):
        found = decode_image(encode(Image.fromarray(grey), "PNG"), 1, white=white)[0]
        np.testing.assert_array_equal(found[..., 0], [[0, 199, 255]])


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize(("greatest", "white"), [(4095, 4095), (4000, 4095), (2047, 2047), (40, 255), (300, 511)])
def test_deep_images_keep_their_grey_levels(form, greatest, white):
    values = np.linspace(0, greatest, 1024).reshape(32, 32).astype(np.uint16)
    data = encode(Image.fromarray(values), form)
    expected = values.astype(int) * 255 // white
    for given in (None, white):
        np.testing.assert_array_equal(decode_image(data, 1, white=given)[0][..., 0], expected)
    assert len(np.unique(expected)) >= min(greatest, 128)
    assert traits(data).greatest == greatest and full_bits(greatest) == white
    cut = decode_image(data, 1, white=greatest // 2)[0][..., 0]  # what lies above the white of a set is white
    np.testing.assert_array_equal(cut, np.minimum(values.astype(int), greatest // 2) * 255 // (greatest // 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_values_are_stretched_between_percentiles(dtype):
    values = np.random.default_rng(0).normal(100, 20, (40, 50)).clip(0, 255).astype(dtype)
    values *= dtype(np.iinfo(dtype).max // 255)
    low, high = np.percentile(values, (1, 99.8))
    expected = np.clip(np.rint((values - low) / (high - low) * 255), 0, 255)
    data = encode(Image.fromarray(values), "TIFF")
    found = decode_image(data, 1, percentiles=(1, 99.8))[0]
    np.testing.assert_array_equal(found[..., 0], expected)
    assert not stretched(np.full((3, 3), 7, dtype), (1, 99.8)).any()
    colours = np.concatenate([decode_image(data, 3, white=65535)[0], values[..., None].astype(np.uint8)], -1)
    np.testing.assert_array_equal(stretched(colours, (0, 100))[..., 3], colours[..., 3])
    if dtype is np.uint16:
        inverted = encode(Image.fromarray(65535 - values), "TIFF", tiffinfo={262: 0})
        np.testing.assert_array_equal(decode_image(inverted, 1, percentiles=(1, 99.8))[0], found)


def test_a_file_that_says_what_is_white_is_believed():
    values = np.array([[0, 1000, 3000]], np.uint16)
    netpbm = b"P5\n3 1\n4095\n" + values.astype(">u2").tobytes()
    tiff = encode(Image.fromarray(values), "TIFF", tiffinfo={281: 4095})
    png = encode(Image.fromarray(values), "PNG")
    significant = png[:33] + chunk(b"sBIT", b"\x0c") + png[33:]
    for data, white in ((netpbm, 4095), (tiff, 4095), (significant, 65535)):
        found = decode_image(data, 1, white=9999)[0][..., 0]
        assert np.abs(found.astype(int) - values * 255.0 / white).max() <= 1
        assert traits(data).greatest == 0


@pytest.mark.parametrize(("order", "photometric"), [("<", 0), ("<", 1), (">", 1)])
def test_tiff_of_another_byte_order_and_with_white_at_zero(order, photometric):
    values = np.linspace(0, 4095, 30).reshape(5, 6).astype(np.uint16)
    at = 8 + 2 + 12 * 9 + 4
    tags = {256: 6, 257: 5, 258: 16, 259: 1, 262: photometric, 273: at, 277: 1, 278: 5, 279: 60}
    data = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    data += b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    data += struct.pack(f"{order}I", 0) + values.astype(f"{order}u2").tobytes()
    expected = decode(encode(Image.fromarray(values), "TIFF"), 1)
    np.testing.assert_array_equal(decode(data, 1), expected if photometric else 255 - expected)


@pytest.mark.parametrize(("kind", "says"), [(np.int32, "signed integers"), (np.float32, "floating-point pixels")])
def test_other_numbers_are_refused_with_a_way_out(kind, says):
    data = encode(Image.fromarray(np.arange(9, dtype=kind).reshape(3, 3)), "TIFF")
    with pytest.raises(CorruptImage, match=f"{says}: store them in 8 or 16 bits, or as an array in an .npz"):
        decode(data, 1)


@pytest.mark.parametrize("bits", [8, 16])
def test_signed_integers_are_no_brightness(bits):
    values = np.arange(-2, 2, dtype=f"<i{bits // 8}")
    tags = {256: 2, 257: 2, 258: bits, 259: 1, 262: 1, 273: 134, 277: 1, 278: 2, 279: values.nbytes, 339: 2}
    data = b"II" + struct.pack("<HIH", 42, 8, len(tags))
    data += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    with pytest.raises(CorruptImage, match="signed integers: store them in 8 or 16 bits"):
        decode(data + struct.pack("<I", 0) + values.tobytes(), 1)


def chunk(kind: bytes, body: bytes, flaw: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ flaw)


BAD_EXIF = b"MM\0*\xff\xff\xff\xff"


@pytest.mark.parametrize(
    "part",
    [
        chunk(b"eXIf", BAD_EXIF),
        chunk(b"eXIf", b"", 1),
        chunk(b"iCCP", b"name\0\0no deflate"),
        chunk(b"iCCP", b"name\0\7"),
        chunk(b"zTXt", b"name\0\0" + zlib.compress(bytes(70_000_000))),
        chunk(b"tEXt", b"\xff\xff", 1),
        chunk(b"pHYs", b"1"),
        chunk(b"gAMA", b""),
    ],
    ids=lambda part: part[4:8].decode(),
)
def test_damaged_metadata_of_a_png_cost_no_pixels(part):
    data = encode(Image.fromarray(pattern()), "PNG")
    for place in (33, len(data) - 12):
        np.testing.assert_array_equal(decode(data[:place] + part + data[place:], 3), pattern())


@pytest.mark.parametrize("kind", [b"PLTE", b"IDAT", b"tRNS"])
def test_damage_to_what_makes_pixels_is_no_damage_to_metadata(kind):
    data = encode(Image.fromarray(pattern()).quantize(8), "PNG", transparency=0)
    place = data.index(kind)
    for broken in (
        data[:place] + bytes([data[place] ^ 0x20]) + data[place + 1 :],
        data[: place + 5] + b"?" + data[place + 6 :],
    ):
        if kind == b"tRNS" and kind not in broken:
            continue  # by its name the standard knows no such part
        with pytest.raises(CorruptImage):
            decode(broken, 3)


@pytest.mark.parametrize("marker", [0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE])
@pytest.mark.parametrize("body", [b"", b"Exif\0\0" + BAD_EXIF, b"Adobe", b"JFIF\0", b"MPF\0\0", b"ICC_PROFILE\0"])
def test_damaged_metadata_of_a_jpeg_cost_no_pixels(marker, body):
    data = encode(Image.fromarray(pattern()), "JPEG")
    segment = bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
    np.testing.assert_array_equal(decode(data[:2] + segment + data[2:], 3), decode(data, 3))


def test_metadata_are_taken_out_of_webp_too():
    data = encode(Image.fromarray(pattern()), "WEBP", lossless=True, exif=BAD_EXIF, icc_profile=b"none")
    bare = without_metadata(data)
    assert len(bare) < len(data) and b"EXIF" not in bare and b"ICCP" not in bare
    np.testing.assert_array_equal(decode(bare, 3), pattern())


def test_formats_that_are_not_listed_are_not_opened(monkeypatch):
    started = []
    monkeypatch.setattr("subprocess.Popen", lambda *args, **kwargs: started.append(args))
    monkeypatch.setattr("subprocess.check_call", lambda *args, **kwargs: started.append(args))
    for form in ("EPS", "PDF", "TGA", "ICO"):
        with pytest.raises(CorruptImage, match="no known image format"):
            decode(encode(Image.fromarray(pattern(16, 16)), form), 3)
    assert not started and {"EPS", "PSD", "WMF", "FITS"}.isdisjoint(images.FORMATS)


@pytest.mark.parametrize("form", images.FORMATS)
def test_every_format_of_the_list_is_read(form):
    if form not in Image.SAVE:
        pytest.skip("Pillow only reads it")
    options = {"quality": 100} if form in ("JPEG", "AVIF") else {"lossless": True} if form == "WEBP" else {}
    found = decode(encode(Image.fromarray(smooth(24, 32)), form, **options), 3)
    assert found.shape == (24, 32, 3) and np.abs(found.astype(int) - smooth(24, 32)).mean() < (
        60 if form == "GIF" else 3
    )
    assert any(Image.registered_extensions()[end] == form for end in images.SUFFIXES - {".mpo"})


def test_pictures_beyond_the_limit_are_refused_before_they_are_decoded(monkeypatch):
    header = struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(
        CorruptImage, match=r"\(200000000 pixels, at most 178,956,970: make it smaller, or set CNN_JAX_MAX"
    ):
        decode(bomb, 3)
    data = encode(Image.fromarray(pattern(6, 8)), "PNG")
    monkeypatch.setenv("CNN_JAX_MAX_PIXELS", "47")
    for read in (native_channels, traits, lambda data: decode(data, 3)):
        with pytest.raises(
            CorruptImage, match=r"\(8 x 6 pixels, at most 47: make it smaller, or set CNN_JAX_MAX_PIXELS"
        ):
            read(data)
    monkeypatch.setenv("CNN_JAX_MAX_PIXELS", "48")
    np.testing.assert_array_equal(decode(data, 3), pattern(6, 8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    monkeypatch.setenv("CNN_JAX_MAX_PIXELS", "3000000000")
    with pytest.raises(CorruptImage, match="cannot decode the image") as caught:
        decode(bomb, 3)
    assert "at most" not in str(caught.value)


def test_transparent_pixels_lie_over_white():
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    pixels[1, 1] = (0, 0, 0, 51)
    data = encode(Image.fromarray(pixels), "PNG")
    expected = [[[10, 20, 30], [255] * 3], [[255] * 3, [204] * 3]]
    np.testing.assert_array_equal(decode(data, 3), expected)
    np.testing.assert_array_equal(with_channels(pixels, 3), expected)
    np.testing.assert_array_equal(decode(data, 4), pixels)
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([9, 9, 9, 200, 0, 0])
    np.testing.assert_array_equal(decode(encode(palette, "PNG", transparency=0), 3), [[[255] * 3, [200, 0, 0]]])


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(form, orientation):
    upright = np.kron(np.array([[0, 80, 160], [240, 120, 40]], np.uint8), np.ones((16, 16), np.uint8))
    undo = {  # what the camera stored, from what the eye should see
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.T,
        6: lambda x: np.rot90(x, 1),
        7: lambda x: np.rot90(x, 2).T,
        8: lambda x: np.rot90(x, -1),
    }
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](upright)))
    data = encode(stored, form, exif=turned(orientation))
    found, full = decode_image(data, 1)
    assert found.shape == (32, 48, 1) and full == (32, 48)
    assert np.abs(found[..., 0].astype(int) - upright).max() <= 4
    small, full = decode_image(data, 1, lambda _: (4, 6))
    assert small.shape == ((4, 6, 1) if form == "JPEG" else (32, 48, 1)) and full == (32, 48)


def test_the_filter_is_a_choice():
    image = pattern(6, 9)
    for name, kind in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        expected = np.asarray(Image.fromarray(image).resize((5, 4), kind))
        np.testing.assert_array_equal(resized(image, (4, 5), name), expected)
        expected = np.asarray(Image.fromarray(image).resize((5, 4), kind, box=(0.5, 1, 8, 5.25)))
        np.testing.assert_array_equal(resized(image, (4, 5), name, (0.5, 1, 8, 5.25)), expected)
    # Of a large picture Pillow is given no more than the filter weighs, which is more than the box. It rounds between
    # rows and columns, and takes those first that are cheaper so.
    large = np.random.default_rng(0).integers(256, size=(90, 120, 3), dtype=np.uint8)
    for box, size in (((20, 30, 90, 70), (9, 11)), ((20, 30, 26, 35), (9, 11)), ((13.3, 0, 120, 81.7), (20, 60))):
        for name, kind in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
            expected = np.asarray(Image.fromarray(large).resize(size[::-1], kind, box=box))
            apart = np.abs(resized(large, size, name, box).astype(int) - expected)
            assert apart.max() <= 2 and apart.mean() < 0.1
    assert np.any(resized(image, (4, 5), "bilinear") != resized(image, (4, 5), "bicubic"))
    assert resized(image, (6, 9), "bicubic") is image


@pytest.mark.parametrize(
    ("least", "shape"),
    [
        ((1, 1), (32, 40)),
        ((24, 24), (32, 40)),
        ((33, 24), (64, 80)),
        ((24, 41), (64, 80)),
        ((129, 1), (256, 320)),  # five eighths would take longer than all
        ((900, 900), (256, 320)),
    ],
)
def test_a_large_jpeg_is_decoded_small_but_no_smaller_than_asked(least, shape):
    data = encode(Image.fromarray(smooth(256, 320)), "JPEG", quality=95)
    pixels, full = decode_image(data, 3, lambda _: least)
    assert pixels.shape == (*shape, 3) and full == (256, 320)
    expected = np.asarray(Image.fromarray(smooth(256, 320)).resize(shape[::-1], Image.Resampling.BOX))
    assert np.abs(pixels.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_damaged_files_raise_one_line(form):
    data = encode(Image.fromarray(smooth(64, 64)), form)
    for broken in (b"", b"not an image", data[: len(data) // 2], data[:20]):
        with pytest.raises(CorruptImage, match="cannot decode the image") as caught:
            decode_image(broken, 3)
        assert "\n" not in str(caught.value)


def test_random_damage_raises_nothing_else():
    rng = np.random.default_rng(0)
    for form in ("JPEG", "PNG", "GIF"):
        data = np.frombuffer(encode(Image.fromarray(smooth(24, 24)), form), np.uint8)
        for _ in range(60):
            broken = data.copy()
            broken[rng.integers(0, len(data), 4)] = rng.integers(0, 256, 4)
            with contextlib.suppress(CorruptImage):
                pixels, _ = decode_image(broken.tobytes(), 3, lambda _: (8, 8))
                assert pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8


def test_stray_bytes_in_a_jpeg_do_no_harm():
    data = encode(Image.fromarray(smooth(16, 16)), "JPEG")
    tables = data.index(b"\xff\xdb")
    stray = data[:tables] + b"\xff\x00" + data[tables:]
    with pytest.raises(ValueError, match="extraneous bytes"):
        simplejpeg.decode_jpeg(stray)
    np.testing.assert_array_equal(decode(stray, 3), decode(data, 3))


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("I;16", 1), ("P", 3), ("RGB", 3), ("LA", 4), ("RGBA", 4)]
)
def test_native_channels(mode, channels):
    assert native_channels(encode(Image.new(mode, (3, 2)), "PNG")) == channels


def test_native_channels_of_no_image():
    with pytest.raises(CorruptImage, match="cannot decode the image"):
        native_channels(b"text")


def test_channels_of_pixels():
    colour, grey = pattern(), pattern(channels=1)
    assert with_channels(colour, 3) is colour
    np.testing.assert_array_equal(with_channels(grey, 3), np.repeat(grey, 3, -1))
    np.testing.assert_array_equal(with_channels(colour, 1)[..., 0], np.asarray(Image.fromarray(colour).convert("L")))
    assert (with_channels(colour, 4)[..., 3] == 255).all()
