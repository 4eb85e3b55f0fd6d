"""What is served is what was trained: a file is read as the source read it, bit for bit, by every source of files."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cnn_jax.data
from cnn_jax.data import openclipart
from cnn_jax.data.files import read_example
from cnn_jax.data.images import outline
from cnn_jax.data.prepare import ImagePrepare, fit
from cnn_jax.data.source import Source, in_memory, made, opened
from cnn_jax.data.spec import Field, Spec
from tests.data.painted import coco_json

Found = Iterator[tuple[Path, Source, int]]

SETTINGS: list[dict] = [
    {},
    {"size": (24, 40), "resize": "stretch"},
    {"size": (24, 40)},
    {"size": (28, 20), "resize": "crop", "crop": 0.875, "interpolation": "bicubic"},
    {"size": 24, "resize": "letterbox", "interpolation": "bicubic"},
    {"size": (24, 60), "resize": "letterbox", "channels": 1},
    {"size": (90, 70), "resize": "letterbox", "channels": 4},
    {"size": 20, "channels": 4},
    {"size": 20, "channels": 1, "interpolation": "bicubic"},
    {"size": 24, "random_area": (0.2, 0.5)},
]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pictures of odd sizes and of every kind that takes a way of its own through decoding, by name."""
    root = tmp_path_factory.mktemp("pictures")

    def spots(height: int, width: int, channels: int = 3) -> Image.Image:
        pixels = np.random.default_rng(height).integers(0, 256, (9, 9, channels), np.uint8)
        return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)

    turned = {}
    for value in (3, 6):
        turned[value] = Image.Exif()
        turned[value][0x0112] = value
    spots(37, 61).save(root / "small.jpg")
    spots(211, 397).save(root / "large.jpg")  # decoded at a part of its size
    spots(397, 211).save(root / "tall.jpeg", quality=60)
    spots(301, 203).save(root / "sideways.jpg", exif=turned[6])
    spots(55, 33).save(root / "upside_down.png", exif=turned[3])
    spots(45, 31, 4).save(root / "transparent.png")
    spots(64, 64).convert("CMYK").save(root / "printed.jpg")
    spots(29, 83).quantize(16).save(root / "palette.gif")
    spots(83, 29).convert("L").save(root / "grey.jpg")
    spots(24, 40).save(root / "as_it_is.png")
    Image.fromarray(np.arange(0, 60000, 20, dtype=np.uint16).reshape(50, 60)).save(root / "deep.png")
    return {path.stem: path for path in sorted(root.iterdir())}


# Each case: (pictures, a folder of its own, settings, ...) -> the file of every example with its source and place.


def by_class(splits: dict[str, Source], pictures: dict[str, Path]) -> Found:
    """Where each picture has a class of its own."""
    for source in splits.values():
        for index, label in enumerate(source.batch(np.arange(len(source)))["label"]):
            yield pictures[source.spec.classes[label]], source, index


@pytest.fixture
def folder(pictures, tmp_path) -> Callable[[dict], Found]:
    for name, path in pictures.items():
        for split in ("train", "test"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / path.name).symlink_to(path)
    return lambda settings: by_class(opened(partial(source_of("folder"), str(tmp_path), **settings)), pictures)


@pytest.fixture(scope="session")
def prepared(pictures, tmp_path_factory, prepare_set) -> Path:
    from tensorflow_datasets import features

    root = tmp_path_factory.mktemp("tfds")
    kinds = {
        "image": features.Image(shape=(None, None, 3)),  # stored as the files are
        "label": features.ClassLabel(names=list(pictures)),
    }
    rows = [(name, {"image": str(path), "label": name}) for name, path in pictures.items()]
    prepare_set(root, "pictures", "1.0.0", kinds, {"train": rows})
    return root / "pictures"


@pytest.fixture
def tfds(pictures, prepared) -> Callable[[dict], Found]:
    return lambda settings: by_class(opened(partial(source_of("tfds"), str(prepared), **settings)), pictures)


@pytest.fixture(name="openclipart")
def drawings(pictures, tmp_path, monkeypatch) -> Callable[[dict], Found]:
    """Its files are PNG; of each there are enough that all splits have some."""
    kept = [path for path in pictures.values() if path.suffix == ".png"]
    for number, name in enumerate(openclipart.CLASSES):
        (tmp_path / name).mkdir()
        for count in range(24):
            letters = chr(97 + number) + chr(97 + count)
            with Image.open(kept[count % len(kept)]) as picture:
                picture.load()
                pixels = picture.copy()
            if pixels.mode in ("RGB", "RGBA"):  # so that none is a copy of another, nor looks like it
                spots = np.random.default_rng(100 * number + count).integers(0, 256, (7, 7, len(pixels.mode)), np.uint8)
                pixels = Image.fromarray(spots).resize(pixels.size, Image.Resampling.BICUBIC)
            else:
                deep = np.random.default_rng(100 * number + count).integers(0, 65536, (50, 60))
                pixels = Image.fromarray(deep.astype(np.uint16))
            pixels.save(tmp_path / name / f"{letters * 2}.png", exif=picture.getexif())
    monkeypatch.setenv("CNN_JAX_DATA", str(tmp_path))

    def found(settings: dict) -> Found:
        splits, files = opened(partial(source_of("openclipart"), **settings)), openclipart.files()
        for split, source in splits.items():
            yield from ((path, source, index) for index, (path, _) in enumerate(files[split]))

    return found


@pytest.fixture
def coco(pictures, tmp_path) -> Callable[[dict], Found]:
    paths = list(pictures.values())
    sizes = {path.name: outline(path)[:2] for path in paths}
    coco_json(tmp_path / "set.json", sizes, [(number, 1, (1, 1, 9, 9)) for number in range(1, len(paths) + 1)])

    def found(settings: dict) -> Found:
        text, images = str(tmp_path / "set.json"), str(paths[0].parent)
        source = made(partial(source_of("coco"), text, images=images, **settings))["all"]
        yield from ((path, source, index) for index, path in enumerate(paths))

    return found


CASES = ("coco", "folder", "tfds", "openclipart")
# Where fashion_mnist has pictures, tfds reads them; those of voc, yolo and masks are read as those of coco; the rest
# are made of some, but for sounds, which tests/data/test_sound.py reads.
HANDED_ON = {
    *("fashion_mnist", "voc", "yolo", "trees", "scenes", "tuxpaint", "nuclei", "masks", "planted_patch"),
    "shuffled_labels",
}
SOUNDS = {"wav", "drums", "spoken_languages"}


def source_of(name: str) -> Callable:
    return getattr(importlib.import_module(f"cnn_jax.data.{name}"), name)


def imports(name: str) -> set[str]:
    """What a module of data imports, as MODULE and MODULE.NAME."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(importlib.import_module(f"cnn_jax.data.{name}")))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_every_source_of_files_has_a_case() -> None:
    names = [module.name for module in pkgutil.iter_modules(cnn_jax.data.__path__)]
    sources = {name for name in names if hasattr(importlib.import_module(f"cnn_jax.data.{name}"), name)}
    reading = {
        "cnn_jax.data.images",
        "cnn_jax.data.decoded",
        "cnn_jax.data.objects",
        "cnn_jax.data.reading.read_image",
        "PIL",
        "simplejpeg",
    }
    while more := {name for name in sources if imports(name) & reading and f"cnn_jax.data.{name}" not in reading}:
        reading |= {f"cnn_jax.data.{name}" for name in more}
    found = {name for name in sources if f"cnn_jax.data.{name}" in reading}
    assert found - SOUNDS == {*CASES, *HANDED_ON}
    assert {"digits", "npz", "mnist1d"} <= sources - found


@pytest.mark.filterwarnings("error", "ignore:.*images (are in more than|looked at (have|are))")
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_a_file_is_read_as_its_source_read_it(case, settings, request, pictures) -> None:
    known = inspect.signature(source_of(case)).parameters
    if not settings.keys() <= known.keys() and settings.get("resize", "crop") != "letterbox":
        pytest.skip("this source has a way of its own")
    settings = {name: value for name, value in settings.items() if name in known}
    if not settings and case != "openclipart":
        pytest.skip("these pictures differ in size")
    seen: set[Path] = set()
    for path, source, index in request.getfixturevalue(case)(settings):
        image, placement = read_example(path, source.spec)
        np.testing.assert_array_equal(source.batch(np.array([index]))["image"][0], image, err_msg=str(path))
        assert placement.size == image.shape[:2]
        seen.add(path)
    assert len(seen) == (24 * 6 if case == "openclipart" else len(pictures))


def test_so_it_is_when_a_split_is_held_in_memory(folder) -> None:
    held: dict[int, Source] = {}
    for path, source, index in folder({"size": (24, 40), "crop": 0.9}):
        memory = held.setdefault(id(source), in_memory(source))
        np.testing.assert_array_equal(memory.arrays["image"][index], read_example(path, source.spec)[0])
    assert len(held) == 2


def test_so_it_is_without_a_size(tmp_path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number, form in enumerate(("png", "jpg", "gif", "bmp")):
            pixels = np.random.default_rng(number).integers(0, 256, (13, 17, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.{form}")
    paths = {label: sorted((tmp_path / name).iterdir()) for label, name in enumerate(("cat", "dog"))}
    splits = opened(partial(source_of("folder"), str(tmp_path)))
    found = {image.tobytes() for s in splits.values() for image in s.batch(np.arange(len(s)))["image"]}
    assert found == {read_example(path, splits["train"].spec)[0].tobytes() for path in sum(paths.values(), [])}


# One file for a model of arrays


def spec_of(field: Field, prepare: ImagePrepare | None = None) -> Spec:
    targets = {"label": Field("label", (), "int32")}
    return Spec(
        name="x", classes=("a",), inputs={"x": field}, targets=targets, prepare=prepare or ImagePrepare(),
        licence="", citation="", fingerprint="",
    )  # fmt: skip


def test_a_model_of_arrays_of_pixels_wants_such_an_image_or_leave_to_convert(pictures) -> None:
    spec = spec_of(Field("image", (24, 40, 3), "uint8"))
    image, _ = read_example(pictures["as_it_is"], spec)
    np.testing.assert_array_equal(image, np.asarray(Image.open(pictures["as_it_is"])))
    with pytest.raises(ValueError, match=r"is \(37, 61, 3\), the run was trained on \(24, 40, 3\).* or say --convert"):
        read_example(pictures["small"], spec)
    with pytest.raises(ValueError, match=r"is \(24, 40, 3\), the run was trained on \(24, 40, 1\)"):
        read_example(pictures["as_it_is"], spec_of(Field("image", (24, 40, 1), "uint8")))
    for name in ("small", "transparent", "grey", "sideways"):
        image, placement = read_example(pictures[name], spec, convert=True)
        assert image.shape == (24, 40, 3) and placement.size == (24, 40)
    grey, _ = read_example(pictures["as_it_is"], spec_of(Field("image", (24, 40, 1), "uint8")), convert=True)
    expected = np.asarray(Image.open(pictures["as_it_is"]).convert("L"))
    np.testing.assert_array_equal(grey[..., 0], expected)


def test_a_model_of_arrays_that_were_brought_to_a_size_reads_any_picture(pictures) -> None:
    prepare = ImagePrepare(size=(10, 12), channels=1, mean=(0.5,), std=(0.5,))
    image, placement = read_example(pictures["as_it_is"], spec_of(Field("image", (10, 12, 1), "uint8"), prepare))
    with Image.open(pictures["as_it_is"]) as picture:
        expected, _ = fit(np.asarray(picture), prepare)  # as `array_splits` brings arrays to a size
    np.testing.assert_array_equal(image, expected)
    assert placement.original == (24, 40)


@pytest.mark.parametrize("role", ["signal", "image"])
def test_a_model_of_other_arrays_reads_npy(tmp_path, role) -> None:
    shape = (5, 1) if role == "signal" else (3, 4, 1)
    spec = spec_of(Field(role, shape, "float32"))
    for array in (np.arange(np.prod(shape)).reshape(shape), np.ones(shape[:-1], np.float64)):
        np.save(tmp_path / "one.npy", array)
        found, placement = read_example(tmp_path / "one.npy", spec)
        assert (found.shape, found.dtype, placement) == (shape, np.float32, None)
        np.testing.assert_array_equal(found, array.reshape(shape))


def test_files_that_are_no_such_example_are_named_in_one_line(tmp_path) -> None:
    signals, images = spec_of(Field("signal", (5, 1), "float32")), spec_of(Field("image", (4, 4, 3), "uint8"))
    (tmp_path / "text.png").write_text("no picture")
    np.save(tmp_path / "short.npy", np.zeros(4))
    np.save(tmp_path / "nan.npy", np.full(5, np.nan))
    np.save(tmp_path / "words.npy", np.full(5, "a"))
    np.savez(tmp_path / "several.npz", a=np.zeros(5))
    np.save(tmp_path / "objects.npy", np.array([{}] * 5), allow_pickle=True)
    np.save(tmp_path / "large.npy", np.full(5, 1e300))
    declared = b"{'descr': '<f8', 'fortran_order': False, 'shape': (%s), }\n"
    for name, shape in (("bomb", b"5, 1000000000000"), ("short_of_data", b"5,")):
        header = declared % shape
        (tmp_path / f"{name}.npy").write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
    for name, spec, kind, message in (
        ("bomb.npy", signals, ValueError, r"is \(5, 1000000000000\), the run was trained on"),
        ("short_of_data.npy", signals, ValueError, r"is no .npy array \(it declares \[5\] float64 but has 0 bytes\)"),
        ("large.npy", signals, ValueError, "finite numbers only"),
        ("absent.png", images, FileNotFoundError, "there is no file '.*absent.png'"),
        (".", images, FileNotFoundError, "it is a folder"),
        ("text.png", images, ValueError, "text.png': cannot decode .*give a picture such as PNG or JPEG"),
        ("text.png", signals, ValueError, "is no .npy array"),
        ("short.npy", signals, ValueError, r"is \(4,\), the run was trained on arrays \(5, 1\)"),
        ("nan.npy", signals, ValueError, "finite numbers only"),
        ("words.npy", signals, ValueError, "finite numbers only"),
        ("several.npz", signals, ValueError, "is no .npy array"),
        ("objects.npy", signals, ValueError, "is no .npy array"),
    ):
        with pytest.raises(kind, match=message) as caught:
            read_example(tmp_path / name, spec)
        assert "\n" not in str(caught.value)
