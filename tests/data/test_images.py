import contextlib
import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from cnn_jax.data.images import CorruptImage, decode_image, native_channels, resized, with_channels


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
    np.testing.assert_array_equal(decode(encode(Image.fromarray(grey), "PNG"), 1)[..., 0], [[0, 199, 255]])


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
    small, full = decode_image(data, 1, (4, 6))
    assert small.shape == ((4, 6, 1) if form == "JPEG" else (32, 48, 1)) and full == (32, 48)


def test_the_filter_is_a_choice():
    image = pattern(6, 9)
    for name, kind in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        expected = np.asarray(Image.fromarray(image).resize((5, 4), kind))
        np.testing.assert_array_equal(resized(image, (4, 5), name), expected)
        expected = np.asarray(Image.fromarray(image).resize((5, 4), kind, box=(0.5, 1, 8, 5.25)))
        np.testing.assert_array_equal(resized(image, (4, 5), name, (0.5, 1, 8, 5.25)), expected)
    assert np.any(resized(image, (4, 5), "bilinear") != resized(image, (4, 5), "bicubic"))
    assert resized(image, (6, 9), "bicubic") is image


@pytest.mark.parametrize(
    ("least", "shape"),
    [
        ((0, 0), (256, 320)),
        ((24, 24), (32, 40)),
        ((33, 24), (64, 80)),
        ((24, 41), (64, 80)),
        ((129, 1), (160, 200)),
        ((900, 900), (256, 320)),
    ],
)
def test_a_large_jpeg_is_decoded_small_but_no_smaller_than_asked(least, shape):
    data = encode(Image.fromarray(smooth(256, 320)), "JPEG", quality=95)
    pixels, full = decode_image(data, 3, least)
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
                pixels, _ = decode_image(broken.tobytes(), 3, (8, 8))
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
