import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from cnn_jax.data import fashion_mnist, tfds
from cnn_jax.data import source as source_module
from cnn_jax.data.source import ArraySource, View, opened, subset
from cnn_jax.lookup import lookup
from tests.data.reading import image, labels, read
from tests.data.sounds import tone


def said(i):
    """A tone at 8 kHz, [n] in 16 bits."""
    return (32768 * tone(300 + 100 * i, 0.1 + 0.01 * i)).astype(np.int16)


def encoded(i):
    file = io.BytesIO()
    soundfile.write(file, said(i), 8000, format="flac")
    return np.array(file.getvalue(), dtype=object)


SOUNDS = [
    ("spoken", {"shape": (None,), "dtype": np.int64, "sample_rate": 8000}, lambda i: said(i).astype(np.int64)),
    ("stereo", {"shape": (None, 2), "dtype": np.int32}, lambda i: np.stack([said(i)] * 2, 1).astype(np.int32) << 16),
    ("floats", {"shape": (None,), "dtype": np.float32, "sample_rate": 16000}, lambda i: tone(500, 0.1, 16000)),
    ("files", {"shape": (None,), "dtype": np.int64, "file_format": "flac", "lazy_decode": True}, encoded),
]

IMAGES = np.random.default_rng(0).integers(0, 256, (14, 6, 7, 3), np.uint8)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, prepare_set):
    """A folder with sets prepared without TensorFlow: `toy` (1.0.0, 1.2.0), `sizes`, `texts` and `unlabelled`."""
    import tensorflow_datasets

    folder = tmp_path_factory.mktemp("tfds")
    features = tensorflow_datasets.features

    def prepare(name, version, features, examples):
        prepare_set(folder, name, version, features, examples)

    def rows(first, last, cut=None):
        return [
            (i, {"image": Image.fromarray(IMAGES[i][: cut(i) if cut else None]), "label": i % 2})
            for i in range(first, last)
        ]

    label = features.ClassLabel(names=["cat", "dog"])
    fixed = {"image": features.Image(shape=(6, 7, 3), encoding_format="png"), "label": label}
    varied = {"image": features.Image(shape=(None, None, 3), encoding_format="png"), "label": label}
    prepare("toy", "1.0.0", fixed, {"train": rows(0, 2)})
    prepare("toy", "1.2.0", fixed, {"train": rows(0, 10), "test": rows(10, 14)})
    prepare("sizes", "1.0.0", varied, {"train": rows(0, 10, lambda i: 3 + i % 3), "validation": rows(10, 14)})
    prepare("unlabelled", "1.0.0", {"text": features.Text()}, {"train": [(0, {"text": "hello"})]})
    said = [(i, {"words": f"été {i}", "label": i % 2, "id": i}) for i in range(6)]
    written = {"words": features.Text(), "label": label, "id": np.int64}
    prepare("texts", "1.0.0", written, {"train": said[:4], "test": said[4:]})
    for name, stored, samples in SOUNDS:
        with tfds._sounds_without_tensorflow():  # as TensorFlow would write them
            audio = features.Audio(**stored)
        audio.dtype = audio.np_dtype  # which TFDS asks TensorFlow for when it writes
        spoken = [(i, {"audio": samples(i), "label": i % 2}) for i in range(6)]
        prepare(name, "1.0.0", {"audio": audio, "label": label}, {"train": spoken[:4], "test": spoken[4:]})
    return folder


@pytest.fixture(autouse=True)
def use(data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))


def contents(source) -> set[bytes]:
    return {image.tobytes() for image in source.batch(np.arange(len(source)))["image"]}


def test_splits_are_read(monkeypatch):
    whole, test = read("tfds:toy", "train", 0), read("tfds:toy", "test")
    assert isinstance(whole, ArraySource) and (len(whole), len(test)) == (10, 4)
    assert contents(whole) == {image.tobytes() for image in IMAGES[:10]}
    assert contents(test) == {image.tobytes() for image in IMAGES[10:]}
    by_content = {image.tobytes(): i % 2 for i, image in enumerate(IMAGES)}
    assert labels(whole).tolist() == [by_content[image(whole, i).tobytes()] for i in range(10)]
    spec, field = test.spec, test.spec.input
    assert (spec.classes, field.shape, field.dtype, spec.citation) == (("cat", "dog"), (6, 7, 3), "uint8", "Toy 2024")
    np.testing.assert_allclose(spec.prepare.mean, (IMAGES[:10] / 255).mean((0, 1, 2)))
    validation = read("tfds:toy", "validation", 0.3)
    assert contents(validation) == contents(whole) - contents(read("tfds:toy", "train", 0.3))
    monkeypatch.setattr(source_module, "MEMORY_BUDGET", 10)
    large = read("tfds:toy", "train")
    assert isinstance(large, View) and contents(large) < contents(whole)
    assert np.bincount(labels(subset(large, 3, seed=0))).tolist() == [3, 3]
    monkeypatch.setattr(tfds, "HASHED_BYTES", 10)  # where reading all labels would take too long
    assert len(subset(read("tfds:toy", "train"), 3, seed=0)) == 3


def test_versions(data_dir):
    assert tfds.prepared("toy") == data_dir / "toy" / "1.2.0"
    assert len(read("tfds:toy:1.0.0", "train", 0)) == 2
    assert len(read(f"tfds:{data_dir / 'toy' / '1.0.0'}", "train", 0)) == 2
    assert tfds.prepared("toy:3.0.0") is tfds.prepared("absent") is tfds.prepared("") is None


def test_sizes_need_a_size():
    with pytest.raises(ValueError, match="tfds:sizes has images of differing sizes: give the source a size"):
        opened(lookup("tfds:sizes"))
    source = read("tfds:sizes", "train", size=4, channels=1)
    assert len(source) == 10 and image(source, 0).shape == (4, 4, 1)
    assert len(read("tfds:sizes", "validation", size=(4, 5))) == 4


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("unlabelled", ValueError, "has no image, sound or text and class label, but text"),
        ("cifar10", FileNotFoundError, "is not prepared in .*tfds build cifar10 --file_format=array_record"),
        ("", FileNotFoundError, "tfds build NAME"),
    ],
)
def test_errors_are_one_line(name, error, message):
    with pytest.raises(error, match=message) as caught:
        opened(lookup(f"tfds({name!r})"))
    assert "\n" not in str(caught.value)


def test_another_format_is_refused(data_dir, tmp_path, monkeypatch):
    folder = tmp_path / "toy" / "1.0.0"
    folder.mkdir(parents=True)
    for file in (data_dir / "toy" / "1.0.0").iterdir():
        content = file.read_bytes()
        (folder / file.name).write_bytes(
            content.replace(b"array_record", b"tfrecord") if file.suffix == ".json" else content
        )
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="prepared as tfrecord, not for random access") as caught:
        opened(lookup("tfds:toy"))
    assert "\n" not in str(caught.value)


def test_fashion_mnist_is_found_when_tfds_has_it(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path)
    monkeypatch.delenv("CNN_JAX_DATA", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (tmp_path / "fashion_mnist").symlink_to(data_dir / "toy")
    assert fashion_mnist.available() is None
    assert len(read("fashion_mnist", "test")) == 4


def test_texts_are_read():
    with pytest.warns(UserWarning, match="left out 1 features, as id"):
        splits = opened(lookup("tfds(texts, unit='byte')"))
    train, test = splits["train"], splits["test"]
    assert (len(train), len(test), train.spec.classes) == (4, 2, ("cat", "dog"))
    found = dict(zip(train.files(np.arange(4)), train.batch(np.arange(4))["label"].tolist(), strict=True))
    assert found == {f"été {i}": i % 2 for i in range(4)}
    assert train.spec.prepare.unit == "byte" and (train.batch(np.zeros(1, int))["text"][0] > 0).sum() == 7


def test_sounds_are_read():
    """As numbers of any type or as files; none of it needs TensorFlow."""
    opening = "tfds({!r}, rate=8000, seconds=0.12)"
    for name, notes in (
        ("spoken", ["whole numbers, int64, and are read as of 16 bits", "of 6 sounds are longer than 0.12 s"]),
        ("files", ["of 6 sounds are longer"]),
        (
            "stereo",
            ["of 32 bits", "does not say its sampling rate, which is taken to be 8000 Hz", "6 of 6 sounds have"],
        ),
        ("floats", ["6 of 6 sounds have another rate and are resampled to 8000 Hz (rate)"]),
    ):
        with pytest.warns(UserWarning) as caught:
            splits = opened(lookup(opening.format(name)))
        every = "\n".join(str(one.message) for one in caught)
        assert all(note in every for note in notes), every
        train, test = splits["train"], splits["test"]
        assert (len(train), len(test), train.spec.classes) == (4, 2, ("cat", "dog"))
        assert (train.spec.input.role, train.spec.input.shape) == ("signal", (960, 1))
        if name == "floats":
            continue
        wanted = {np.pad(said(i), (0, 960))[:960].astype(np.float32).tobytes(): i % 2 for i in range(4)}
        example = train.batch(np.arange(4))
        found = {
            (sound[:, 0] * 32768).tobytes(): label
            for sound, label in zip(example["sound"], example["label"], strict=True)
        }
        assert found == wanted
