import contextlib
import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from cnn_jax.data.images import CorruptImage, Decode, decode_image, fit_images, native_channels


def encode(picture: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def pattern(height: int = 6, width: int = 8, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 200 // height, columns * 200 // width, (rows + columns) * 100 // height], -1).astype(
        np.uint8
    )


def test_png_is_exact():
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(pattern()), "PNG"), 3), pattern())


def test_jpeg_is_what_pillow_reads():
    data = encode(Image.fromarray(smooth(33, 47)), "JPEG", quality=90)
    np.testing.assert_array_equal(decode_image(data, 3), np.asarray(Image.open(io.BytesIO(data))))
    grey = encode(Image.fromarray(smooth(33, 47)[..., 0]), "JPEG")
    np.testing.assert_array_equal(decode_image(grey, 1)[..., 0], np.asarray(Image.open(io.BytesIO(grey))))
    np.testing.assert_array_equal(decode_image(grey, 3)[..., 1], np.asarray(Image.open(io.BytesIO(grey))))


def test_cmyk_jpeg():
    rgb = decode_image(encode(Image.fromarray(smooth(16, 16)).convert("CMYK"), "JPEG", quality=95), 3)
    assert np.abs(rgb.astype(int) - smooth(16, 16)).mean() < 8


def test_palette_and_grey():
    picture = Image.fromarray(smooth(16, 16)).quantize(16)
    expected = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(decode_image(encode(picture, "PNG"), 3), expected)
    assert decode_image(encode(picture, "GIF"), 1).shape == (16, 16, 1)
    grey = pattern(channels=1)[..., 0]
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(grey), "PNG"), 3), np.stack([grey] * 3, -1))


def test_sixteen_bits_are_scaled():
    grey = np.array([[0, 257 * 200 - 1, 65535]], np.uint16)
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(grey), "PNG"), 1)[..., 0], [[0, 199, 255]])


def test_transparent_pixels_lie_over_white():
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    pixels[1, 1] = (0, 0, 0, 51)
    data = encode(Image.fromarray(pixels), "PNG")
    expected = [[[10, 20, 30], [255] * 3], [[255] * 3, [204] * 3]]
    np.testing.assert_array_equal(decode_image(data, 3), expected)
    np.testing.assert_array_equal(decode_image(data, 4), pixels)
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([9, 9, 9, 200, 0, 0])
    np.testing.assert_array_equal(decode_image(encode(palette, "PNG", transparency=0), 3), [[[255] * 3, [200, 0, 0]]])


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
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](upright)))
    found = decode_image(encode(stored, form, exif=exif), 1)
    assert found.shape == (32, 48, 1)
    assert np.abs(found[..., 0].astype(int) - upright).max() <= 4


def test_resize_is_of_the_short_side_and_cuts_the_centre_out():
    wide = smooth(10, 30)
    expected = np.asarray(Image.fromarray(wide).resize((15, 5), Image.Resampling.BILINEAR))[:, 5:10]
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(wide), "PNG"), 3, 5), expected)
    tall = np.ascontiguousarray(wide.transpose(1, 0, 2))
    found = decode_image(encode(Image.fromarray(tall), "BMP"), 3, 5)
    np.testing.assert_array_equal(found, expected.transpose(1, 0, 2))


def test_the_filter_is_a_choice():
    image = pattern(6, 6)
    expected = np.asarray(Image.fromarray(image).resize((4, 4), Image.Resampling.BICUBIC))
    assert np.any(expected != decode_image(encode(Image.fromarray(image), "PNG"), 3, 4))
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(image), "PNG"), 3, 4, "bicubic"), expected)
    np.testing.assert_array_equal(fit_images(image[None], Decode(4, interpolation="bicubic"))[0], expected)
    with pytest.raises(ValueError, match="'bilinear' or 'bicubic', not 'cubic'"):
        Decode(interpolation="cubic")


def test_a_large_jpeg_is_decoded_small_but_alike():
    data = encode(Image.fromarray(smooth(256, 320)), "JPEG", quality=95)
    box = (32, 0, 288, 256)
    expected = np.asarray(Image.open(io.BytesIO(data)).resize((24, 24), Image.Resampling.BILINEAR, box=box))
    found = decode_image(data, 3, 24)
    assert found.shape == (24, 24, 3) and np.abs(found.astype(int) - expected).mean() < 3


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
                assert decode_image(broken.tobytes(), 3, 8).shape == (8, 8, 3)


def test_stray_bytes_in_a_jpeg_do_no_harm():
    data = encode(Image.fromarray(smooth(16, 16)), "JPEG")
    tables = data.index(b"\xff\xdb")
    stray = data[:tables] + b"\xff\x00" + data[tables:]
    with pytest.raises(ValueError, match="extraneous bytes"):
        simplejpeg.decode_jpeg(stray)
    np.testing.assert_array_equal(decode_image(stray, 3), decode_image(data, 3))


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("I;16", 1), ("P", 3), ("RGB", 3), ("LA", 4), ("RGBA", 4)]
)
def test_native_channels(mode, channels):
    assert native_channels(encode(Image.new(mode, (3, 2)), "PNG")) == channels


def test_native_channels_of_no_image():
    with pytest.raises(CorruptImage, match="cannot decode the image"):
        native_channels(b"text")


def test_fit_images():
    images = np.stack([pattern(6, 6), pattern(6, 6)[::-1]])
    assert fit_images(images, Decode()) is images and fit_images(images, Decode(6, 3)) is images
    resized = fit_images(images, Decode(3))
    expected = np.asarray(Image.fromarray(images[1]).resize((3, 3), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resized[1], expected)
    assert fit_images(images, Decode(channels=1)).shape == (2, 6, 6, 1)
    assert fit_images(images[..., :1], Decode(4, 3)).shape == (2, 4, 4, 3)


@pytest.mark.parametrize("images", [np.zeros((2, 40, 1), np.float32), np.zeros((2, 5, 5, 2), np.uint8)])
def test_fit_needs_images(images):
    with pytest.raises(ValueError, match="need uint8 images"):
        fit_images(images, Decode(image_size=8))
