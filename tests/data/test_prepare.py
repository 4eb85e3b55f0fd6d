"""From a file to an example and back: each way of resizing by its definition, where it puts things, random boxes."""

import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnn_jax.data.placement import Placement, map_to_example, map_to_original, to_example, to_original
from cnn_jax.data.prepare import ImagePrepare, fit, nominal, square
from cnn_jax.data.reading import read_image
from tests.data.pictures import encode, gentle, noise, resize

WAYS = {
    "stored": ImagePrepare(),
    "stretch": ImagePrepare(size=(30, 50), resize="stretch"),
    "crop": ImagePrepare(size=(30, 50)),
    "crop to a share": ImagePrepare(size=(28, 36), crop=0.875, interpolation="bicubic"),
    "letterbox": ImagePrepare(size=(40, 40), resize="letterbox", background=0),
    "wide letterbox": ImagePrepare(size=(20, 60), resize="letterbox", background=0),
    "larger": ImagePrepare(size=(200, 260)),
    "pad": ImagePrepare(size=(40, 70), resize="pad", background=0),
    "short side": ImagePrepare(size=(40, 70), resize="short_side", background=0),
    "sampled": ImagePrepare(size=(30, 50), resize="stretch", interpolation="sampled"),
    "random": ImagePrepare(size=(40, 44), random_area=(0.6, 0.9)),
}
EVEN = pytest.mark.parametrize("way", [name for name in WAYS if name != "random"])
ALL = pytest.mark.parametrize("way", WAYS)


def as_bytes(made: np.ndarray) -> np.ndarray:
    return made if made.dtype == np.uint8 else np.round(255 * made)


# Each way by its definition


def test_without_a_size_nothing_changes():
    for form in ("PNG", "BMP"):
        pixels, placement = read_image(encode(noise(7, 9), form), ImagePrepare())
        np.testing.assert_array_equal(pixels, noise(7, 9))
        assert placement == Placement((7, 9), (7, 9))


@pytest.mark.parametrize("shape", [(10, 30), (30, 10), (17, 23)])
@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_stretch_resizes_both_sides(shape, kind):
    found, _ = fit(noise(*shape), ImagePrepare(size=(12, 8), resize="stretch", interpolation=kind))
    np.testing.assert_array_equal(found, resize(noise(*shape), (12, 8), kind=Image.Resampling[kind.upper()]))


def test_crop_is_of_the_largest_central_box_of_the_right_shape():
    wide = noise(10, 30)
    expected = resize(wide, (5, 15))[:, 5:10]
    np.testing.assert_array_equal(fit(wide, ImagePrepare(size=(5, 5)))[0], expected)
    tall = np.ascontiguousarray(wide.transpose(1, 0, 2))
    found = fit(tall, ImagePrepare(size=(5, 5)))[0].astype(int)
    np.testing.assert_allclose(found, expected.transpose(1, 0, 2), atol=1)  # rows before columns, or after
    np.testing.assert_array_equal(fit(wide, ImagePrepare(size=(4, 6)))[0], resize(wide, (4, 6), (7.5, 0, 22.5, 10)))
    found = fit(tall, ImagePrepare(size=(3, 4)))[0].astype(int)
    np.testing.assert_allclose(found, resize(tall, (3, 4), (0, 11.25, 10, 18.75)).astype(int), atol=1)


@pytest.mark.parametrize("shape", [(150, 220), (231, 149), (180, 180), (77, 90)])
@pytest.mark.parametrize("crop", [1.0, 0.875, 0.95])
def test_crop_is_the_usual_resizing_of_the_short_side_and_centre_crop(shape, crop):
    """As torchvision's Resize(round(size / crop)) and CenterCrop(size), but for fractions of a pixel."""
    size = 84
    short = round(size / crop)
    height, width = (short * side // min(shape) for side in shape)
    whole = resize(gentle(*shape), (height, width))
    top, left = round((height - size) / 2), round((width - size) / 2)
    expected = whole[top : top + size, left : left + size].astype(int)
    found, _ = fit(gentle(*shape), ImagePrepare(size=(size, size), crop=crop))
    assert np.abs(found - expected).max() <= 1


def test_the_share_of_a_crop_is_cut_out_after_resizing():
    prepare = ImagePrepare(size=(7, 14), crop=0.875)
    np.testing.assert_array_equal(
        fit(noise(16, 40), prepare)[0], resize(noise(16, 40), (8, 16), (4, 0, 36, 16))[0:7, 1:15]
    )


@pytest.mark.parametrize(("shape", "size"), [((20, 60), (30, 30)), ((60, 20), (30, 30)), ((33, 40), (16, 64))])
def test_letterbox_shows_all_of_the_picture_between_bars(shape, size):
    found, placement = fit(gentle(*shape), ImagePrepare(size=size, resize="letterbox", background=77))
    assert found.shape == (*size, 3)
    inner = min(size[0] / shape[0], size[1] / shape[1])  # the proportions stay
    np.testing.assert_allclose(placement.scale, inner, rtol=0.03)
    left, top, right, bottom = to_example(np.array([0, 0, shape[1], shape[0]]), placement)
    y, x = np.mgrid[: size[0], : size[1]]
    inside = (x >= left + 2) & (x < right - 2) & (y >= top + 2) & (y < bottom - 2)
    outside = (x + 3 < left) | (x > right + 2) | (y + 3 < top) | (y > bottom + 2)
    assert (found[outside] == 77).all() and outside.any()
    rows, columns = np.floor(np.stack([(y - top + 0.5) / inner, (x - left + 0.5) / inner])[:, inside]).astype(int)
    assert np.abs(found[inside] - gentle(*shape)[rows, columns].astype(int)).max() <= 4
    assert abs((left + right) / 2 - size[1] / 2) <= 1 and abs((top + bottom) / 2 - size[0] / 2) <= 1


def test_letterbox_by_its_definition():
    padded = np.full((30, 30, 3), 255, np.uint8)
    padded[10:20] = noise(10, 30)
    found, _ = fit(noise(10, 30), ImagePrepare(size=(12, 12), resize="letterbox"))
    np.testing.assert_array_equal(found, resize(padded, (12, 12)))


def test_the_bars_of_a_letterbox_are_opaque():
    for background in (0, 128, 255):
        prepare = ImagePrepare(size=(6, 6), resize="letterbox", channels=4, background=background)
        found, _ = fit(np.full((6, 2, 4), (9, 9, 9, 255), np.uint8), prepare)
        assert (found[:, 0] == [background] * 3 + [255]).all()


@pytest.mark.parametrize(
    ("original", "size", "padded"),
    [
        ((480, 640), (800, 1066), (800, 1088)),
        ((427, 640), (800, 1199), (800, 1216)),
        ((500, 500), (800, 800), (800, 800)),
        ((641, 203), (1333, 422), (1344, 448)),
        ((37, 1000), (49, 1333), (64, 1344)),
        ((3, 5), (799, 1333), (800, 1344)),  # 3 * (1333 / 5) is 799.8
        ((359, 640), (747, 1333), (768, 1344)),
        ((1, 3000), (1, 1333), (32, 1344)),  # torchvision fails: no row is left
    ],
)
def test_short_side_has_torchvisions_sizes(original, size, padded):
    placement = nominal(original, ImagePrepare(size=(800, 1333), resize="short_side"))
    assert placement.size == padded and placement.offset == (0, 0)
    np.testing.assert_allclose(np.multiply(placement.scale, original), size, rtol=1e-12)
    bare = nominal(original, ImagePrepare(size=(800, 1333), resize="short_side", multiple=1))
    assert bare.size == size and bare.scale == placement.scale


def between(places, line):
    return np.interp(places, np.arange(len(line)), line)


@pytest.mark.parametrize(
    ("original", "size"),
    [((30, 40), (40, 64)), ((40, 64), (40, 64)), ((41, 20), (80, 64)), ((20, 90), (40, 96)), ((100, 70), (128, 96))],
)
def test_pad_scales_nothing(original, size):
    """Of two sizes the smaller that holds a picture; one that none holds has its own, a multiple of 32."""
    pixels, prepare = noise(*original), ImagePrepare(size=(40, 64), sizes=((80, 64),), resize="pad", background=9)
    made, placement = fit(pixels, prepare)
    assert made.shape[:2] == size and placement == nominal(original, prepare) == Placement(original, size)
    assert (made[: original[0], : original[1]] == pixels).all()
    assert (made[original[0] :] == 9).all() and (made[:, original[1] :] == 9).all()


def test_what_short_side_adds_is_nothing_to_a_model():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    prepare = ImagePrepare(size=(30, 70), resize="short_side", interpolation="sampled", mean=mean, std=std)
    found, placement = fit(noise(20, 31), prepare)
    assert found.shape == (32, 64, 3) and placement.original == (20, 31)
    normal = (found - np.float32(mean)) / np.float32(std)
    assert (normal[30:] == 0).all() and (normal[:, 46:] == 0).all() and (normal[:30, :46] != 0).all()
    grey, _ = fit(noise(20, 31), dataclasses.replace(prepare, interpolation="bilinear"))
    assert grey.dtype == np.uint8 and (grey[30:] == np.round(255 * np.array(mean))).all()
    np.testing.assert_array_equal(grey[:30, :46], resize(noise(20, 31), (30, 46)))


@pytest.mark.parametrize("size", [(9, 31), (40, 20), (17, 23), (5, 5)])
def test_sampled_is_between_the_next_two_pixels_of_each_axis(size):
    pixels = noise(17, 23)
    expected = pixels / 255
    for axis, (length, before) in enumerate(zip(size, (17, 23), strict=True)):
        places = (np.arange(length) + 0.5) * before / length - 0.5
        expected = np.apply_along_axis(
            lambda line, at=places: np.interp(at, np.arange(len(line)), line), axis, expected
        )
    found, _ = fit(pixels, ImagePrepare(size=size, resize="stretch", interpolation="sampled"))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("own", [1, 3, 4])
def test_channels(own, channels):
    pixels = noise(9, 12, own)
    data = encode(pixels[..., 0] if own == 1 else pixels)
    for prepare in (ImagePrepare(channels=channels), ImagePrepare(size=(4, 6), channels=channels)):
        found, _ = read_image(data, prepare)
        assert found.shape == (*(prepare.size or (9, 12)), channels) and found.dtype == np.uint8
        np.testing.assert_array_equal(found, fit(pixels, prepare)[0])
    assert read_image(data, ImagePrepare())[0].shape == (9, 12, own)


def test_a_large_jpeg_is_read_small_but_alike():
    data = encode(gentle(256, 320), "JPEG", quality=95)
    whole = np.asarray(Image.open(io.BytesIO(data)))
    for prepare in (
        ImagePrepare(size=(24, 24)),
        ImagePrepare(size=(20, 31), resize="stretch"),
        ImagePrepare(size=(28, 28), crop=0.875),
        ImagePrepare(size=(30, 30), resize="letterbox"),
    ):
        found, placement = read_image(data, prepare)
        expected, exact = fit(whole, prepare)
        assert placement.original == (256, 320) and np.abs(found.astype(int) - expected).mean() < 2
        np.testing.assert_allclose(placement.scale + placement.offset, exact.scale + exact.offset, atol=0.02)


def test_an_upright_picture_is_what_is_placed():
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.ascontiguousarray(np.rot90(gentle(256, 320)))
    upright = ImagePrepare(size=(32, 40))
    for form in ("PNG", "JPEG"):
        found, placement = read_image(encode(stored, form, exif=exif), upright)
        assert placement.original == (256, 320)
        assert np.abs(found.astype(int) - fit(gentle(256, 320), upright)[0]).max() <= 4


# Where things are


def rectangle(height: int, width: int, box: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = box
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[top:bottom, left:right] = 255
    return pixels


def bounds(pixels: np.ndarray) -> list[int]:
    """Left, top, right, bottom of what is bright."""
    bright = as_bytes(pixels)[..., 0] > 127
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@ALL
@pytest.mark.parametrize("form", ["PNG", "JPEG", "turned JPEG"])
@pytest.mark.parametrize("shape", [(96, 150), (150, 96)])
def test_a_rectangle_lies_where_its_placement_says(way, form, shape):
    middle = (shape[1] // 2 - 17, shape[0] // 2 - 23, shape[1] // 2 + 20, shape[0] // 2 + 15)
    pixels, options = rectangle(*shape, middle), {}
    if form == "turned JPEG":
        pixels, options = np.ascontiguousarray(np.rot90(pixels)), {"exif": Image.Exif()}
        options["exif"][0x0112] = 6
    data = encode(pixels, form.split()[-1], **options)
    for key in (1, 2, 3) if way == "random" else (None,):
        made, placement = read_image(data, WAYS[way], key)
        assert placement.original == shape and placement.size == made.shape[:2]
        where = to_example(np.array(middle, float), placement)
        expected = np.clip(where, 0, np.resize(placement.size[::-1], 4))
        assert np.abs(bounds(made) - expected).max() <= 1
        np.testing.assert_allclose(to_original(where, placement), middle, atol=1e-9)


@ALL
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**60), st.data())
def test_to_original_undoes_to_example(way, height, width, key, data):
    _, placement = fit(np.zeros((height, width, 1), np.uint8), WAYS[way], key if way == "random" else None)
    x, y = (data.draw(st.lists(st.floats(0, side), min_size=2, max_size=2).map(sorted)) for side in (width, height))
    boxes = np.array([[x[0], y[0], x[1], y[1]], [0, 0, width, height]])
    np.testing.assert_allclose(to_original(to_example(boxes, placement), placement), boxes, atol=1e-7)
    points = boxes.reshape(-1, 2)
    np.testing.assert_allclose(to_original(to_example(points, placement), placement), points, atol=1e-7)
    far = to_original(np.array([[-1e6, -1e6, 1e6, 1e6]]), placement)
    assert far.tolist() == [[0, 0, width, height]]  # what lies outside is moved to the border


@EVEN
def test_maps_go_the_way_of_the_pictures(way):
    """A class map and the picture that shows it stay together, and come back."""
    size = (96, 150)
    classes = np.kron(np.random.default_rng(1).integers(0, 2, (6, 10)), np.ones((16, 15), int)).astype(np.uint8)
    picture = np.repeat(classes[..., None] * 255, 3, -1)
    made, placement = fit(picture, dataclasses.replace(WAYS[way], background=255))
    moved = map_to_example(classes, placement, outside=9)
    assert moved.shape == made.shape[:2] and moved.dtype == classes.dtype
    inside = moved != 9
    made, padded = as_bytes(made), "letterbox" in way or way in ("pad", "short side")
    assert ((moved > 0) == (made[..., 0] > 127))[inside].mean() > 0.9
    assert inside.all() == (not padded)
    if padded:  # the picture there is the background
        assert (made[~inside][:, 0] == 255).mean() > 0.9
    back = map_to_original(moved, placement, outside=7)
    assert back.shape == size and back.dtype == classes.dtype
    seen = back != 7
    assert (back == classes)[seen].mean() > 0.9
    assert seen.all() == ("crop" not in way and way != "larger")
    left, top, right, bottom = to_original(np.array([0, 0, *made.shape[1::-1]], float), placement)
    assert seen.sum() == pytest.approx((right - left) * (bottom - top), rel=0.03)


def test_maps_are_moved_by_the_nearest_pixel():
    classes = np.arange(12).reshape(3, 4)
    doubled = Placement((3, 4), (6, 8), (2.0, 2.0))
    np.testing.assert_array_equal(map_to_example(classes, doubled, 99), np.kron(classes, np.ones((2, 2), int)))
    np.testing.assert_array_equal(map_to_original(np.kron(classes, np.ones((2, 2), int)), doubled, 99), classes)
    shifted = Placement((3, 4), (3, 4), (1.0, 1.0), (1.0, -1.0))
    expected = [[99, 99, 99, 99], [1, 2, 3, 99], [5, 6, 7, 99]]
    np.testing.assert_array_equal(map_to_example(classes, shifted, 99), expected)
    np.testing.assert_array_equal(classes, np.arange(12).reshape(3, 4))  # the map itself is as it was


def test_a_coarse_map_of_several_channels_goes_back():
    placement = Placement((8, 8), (4, 4), (0.5, 0.5))
    scores = np.random.default_rng(0).random((2, 2, 5))  # of a model with an output stride of 2
    found = map_to_original(scores, placement, outside=0)
    np.testing.assert_array_equal(found, scores.repeat(4, 0).repeat(4, 1))


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": (0, 4)}, "size must be a height and a width of at least 1 pixel"),
        ({"size": (4,)}, "size must be"),
        ({"size": 4}, "size must be"),
        ({"size": (4.5, 4)}, "size must be"),
        ({"size": ("4", "4")}, "size must be"),
        ({"resize": "zoom"}, "one of crop, stretch, letterbox, pad, short_side, not 'zoom'"),
        ({"multiple": 0}, "multiple must be a number of pixels of at least 1, not 0"),
        ({"crop": 0.0}, r"crop must be a share in \(0, 1\]"),
        ({"crop": 1.01}, "crop must be"),
        ({"crop": float("nan")}, "crop must be"),
        ({"crop": "1"}, "crop must be"),
        ({"interpolation": "cubic"}, "'bilinear', 'bicubic' or 'sampled', not 'cubic'"),
        ({"interpolation": "sampled"}, "'sampled' needs a size"),
        ({"size": (4, 4), "interpolation": "sampled"}, "'sampled' needs a size, and resize 'stretch' or 'short_side'"),
        ({"size": (4, 4), "resize": "short_side", "random_area": (0.5, 1.0)}, "does not give"),
        ({"percentiles": (99.8, 1.0)}, "percentiles must be two numbers 0 <= low < high <= 100"),
        ({"percentiles": (1.0,)}, "percentiles must be"),
        ({"channels": 2}, "channels must be 1, 3 or 4, not 2"),
        ({"background": 256}, "background must be a grey value"),
        ({"background": -1}, "background must be"),
        ({"random_area": (0.5, 1.0)}, "random_area needs a size"),
        ({"size": (4, 4), "random_area": (0.5,)}, "random_area must be two shares"),
        ({"size": (4, 4), "random_area": 0.5}, "random_area must be two shares"),
        ({"size": (4, 4), "random_area": (0.0, 0.5)}, "random_area must be two shares"),
        ({"size": (4, 4), "random_area": (0.6, 0.5)}, "random_area must be two shares"),
        ({"size": (4, 4), "random_area": (0.6, 1.5)}, "random_area must be two shares"),
        ({"random_aspect": (2.0, 1.0)}, "random_aspect must be"),
        ({"random_aspect": (0.0, 1.0)}, "random_aspect must be"),
        ({"random_aspect": 1.0}, "random_aspect must be"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        ImagePrepare(**settings)
    assert "\n" not in str(caught.value)


def test_a_size_as_settings_give_it():
    assert square(64) == (64, 64) and square((64, 48)) == square([64, 48]) == (64, 48)
    assert square(0) is square(None) is None
    for wrong in ((3,), "64", 4.5, (4.5, 4)):
        with pytest.raises(ValueError, match="size must be"):
            ImagePrepare(size=square(wrong))


def test_a_large_jpeg_decoded_small_differs_little_from_all_of_it():
    """The smaller copy must be so much larger than the example that the filter, not the decoder, does the smoothing."""
    draw = np.random.default_rng(0)
    rough = Image.fromarray(draw.integers(256, size=(60, 80, 3), dtype=np.uint8)).resize((1600, 1200))
    file = io.BytesIO()
    rough.save(file, "JPEG", quality=95)
    for size in (32, 64, 100):
        prepare = ImagePrepare(size=(size, size), channels=3)
        small, placement = read_image(file.getvalue(), prepare)
        whole, _ = fit(np.asarray(Image.open(file)), prepare)
        assert placement.original == (1200, 1600)
        assert np.abs(small.astype(int) - whole).mean() < 1.5
        # A random box is the same one, and its part of the picture is decoded at no less than MARGIN times its size.
        boxes = dataclasses.replace(prepare, random_area=(0.3, 1.0))
        for key in range(3):
            small, placement = read_image(file.getvalue(), boxes, key)
            whole, exact = fit(np.asarray(Image.open(file)), boxes, key)
            np.testing.assert_allclose(placement.scale + placement.offset, exact.scale + exact.offset, rtol=1e-9)
            assert np.abs(small.astype(int) - whole).mean() < 1.5
