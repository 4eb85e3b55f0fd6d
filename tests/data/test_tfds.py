import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import fashion_mnist, tfds
from cnn_jax.data import source as source_module
from cnn_jax.data.source import ArraySource, View, open_source, subset

IMAGES = np.random.default_rng(0).integers(0, 256, (14, 6, 7, 3), np.uint8)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A folder with three sets prepared without TensorFlow: `toy` (1.0.0, 1.2.0), `sizes` and `texts`."""
    import tensorflow_datasets

    folder = tmp_path_factory.mktemp("tfds")
    features = tensorflow_datasets.features

    def prepare(name, version, feature_dict, examples):
        class Toy(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = tensorflow_datasets.core.Version(version)
            pkg_dir_path = folder

            def _info(self):
                return tensorflow_datasets.core.DatasetInfo(
                    builder=self, features=features.FeaturesDict(feature_dict), citation="Toy 2024"
                )

            def _split_generators(self, dl_manager):
                return {split: iter(rows) for split, rows in examples.items()}

            def _generate_examples(self):
                return iter(())

        Toy.name = name
        Toy(data_dir=folder, file_format="array_record").download_and_prepare()

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
    prepare("texts", "1.0.0", {"text": features.Text()}, {"train": [(0, {"text": "hello"})]})
    return folder


@pytest.fixture(autouse=True)
def use(data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))


def contents(source) -> set[bytes]:
    return {source[i]["image"].tobytes() for i in range(len(source))}


def test_splits_are_read(monkeypatch):
    whole = open_source("tfds:toy", "train", validation=0)
    test = open_source("tfds:toy", "test")
    assert isinstance(whole, ArraySource) and (len(whole), len(test)) == (10, 4)
    assert contents(whole) == {image.tobytes() for image in IMAGES[:10]}
    assert contents(test) == {image.tobytes() for image in IMAGES[10:]}
    by_content = {image.tobytes(): i % 2 for i, image in enumerate(IMAGES)}
    assert all(whole[i]["label"] == by_content[whole[i]["image"].tobytes()] for i in range(10))
    spec = test.spec
    assert (spec.classes, spec.shape, spec.dtype, spec.citation) == (("cat", "dog"), (6, 7, 3), "uint8", "Toy 2024")
    np.testing.assert_allclose(spec.mean, (IMAGES[:10] / 255).mean((0, 1, 2)))
    validation = open_source("tfds:toy", "validation", validation=0.3)
    assert contents(validation) == contents(whole) - contents(open_source("tfds:toy", "train", validation=0.3))
    monkeypatch.setattr(source_module, "MEMORY_BUDGET", 10)
    large = open_source("tfds:toy", "train")
    assert isinstance(large, View) and contents(large) < contents(whole)
    assert np.bincount(subset(large, 3, seed=0).labels).tolist() == [3, 3]


def test_versions(data_dir):
    assert tfds.prepared("toy") == data_dir / "toy" / "1.2.0"
    assert len(open_source("tfds:toy:1.0.0", "train", validation=0)) == 2
    assert len(open_source(f"tfds:{data_dir / 'toy' / '1.0.0'}", "train", validation=0)) == 2
    assert tfds.prepared("toy:3.0.0") is tfds.prepared("absent") is tfds.prepared("") is None


def test_sizes_need_image_size():
    with pytest.raises(ValueError, match="tfds:sizes has images of differing sizes: set image_size"):
        open_source("tfds:sizes", "train")
    source = open_source("tfds:sizes", "train", image_size=4, channels=1)
    assert len(source) == 10 and source[0]["image"].shape == (4, 4, 1)
    assert len(open_source("tfds:sizes", "validation", image_size=4)) == 4


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("texts", ValueError, "has no image and class label, but text"),
        ("cifar10", FileNotFoundError, "is not prepared in .*tfds build cifar10 --file_format=array_record"),
        ("", FileNotFoundError, "tfds build NAME"),
    ],
)
def test_errors_are_one_line(name, error, message):
    with pytest.raises(error, match=message) as caught:
        open_source(f"tfds:{name}", "train")
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
        open_source("tfds:toy", "train")
    assert "\n" not in str(caught.value)


def test_fashion_mnist_is_found_when_tfds_has_it(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path)
    monkeypatch.delenv("CNN_JAX_DATA", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (tmp_path / "fashion_mnist").symlink_to(data_dir / "toy")
    assert fashion_mnist.available() is None
    assert len(open_source("fashion_mnist", "test")) == 4
