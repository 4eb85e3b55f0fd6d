"""Published models compute here what they compute in PyTorch, on made-up weights.

`experiments/benchmarks/parity.py` keeps digests of PyTorch's results in parity/, compares all variants with them
(--stored) or with PyTorch itself, and says which layer differs; here the smallest variants of the families are
compared. Where the extra `parity` is installed, the smallest of each library also is with the library itself.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.weights import parity
from cnn_jax.weights.convert import tensor_shapes

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "weights" / "parity"
CASES = parity.cases()
FAMILIES = {name.split(".")[0] for name in CASES}
SMALLEST = sorted(
    min((name for name in CASES if name.startswith(f"{family}.")), key=lambda name: CASES[name].variant.params)
    for family in FAMILIES
)
# Made-up numbers for more parameters than this, and compiling more layers, take longer than all else: those are left to
# the script, as are the larger variants of each family.
MOST_PARAMETERS, MOST_TENSORS, MOST_IN_GRADIENTS = 30_000_000, 300, 130

STORED = {path.stem for path in FOLDER.glob("*.npz")}


def stored(name: str) -> parity.Reference:
    return parity.read(FOLDER / f"{name}.npz")


COUNTS = {name: len(stored(name).tensors) for name in SMALLEST if name in STORED}
SHALLOW = [
    name for name, count in COUNTS.items() if count <= MOST_TENSORS and CASES[name].variant.params <= MOST_PARAMETERS
]
SHALLOWER = [name for name in SHALLOW if COUNTS[name] <= MOST_IN_GRADIENTS]


def test_every_published_variant_has_a_reference():
    missing, unknown = sorted(CASES.keys() - STORED), sorted(STORED - CASES.keys())
    assert not missing, f"python experiments/benchmarks/parity.py --write {' '.join(missing)}"
    assert not unknown, f"no variants have these references: {' '.join(unknown)}"


@pytest.mark.parametrize("name", COUNTS)
def test_the_reference_is_of_the_variants_tensors(name):
    case, reference = CASES[name], stored(name)
    ours = tensor_shapes(case.variant(), reference.input_shape, case.scheme.names)
    # a scale may be stored as [C, 1, 1], a 1x1 convolution as a linear layer
    assert {name: without_ones(shape) for name, shape in reference.tensors.items()} == {
        name: without_ones(shape) for name, shape in ours.items()
    }
    gradients = {f"gradient {name}" for name in ours if "running_" not in name}
    assert gradients == {name for name in reference.digests if name.startswith("gradient")}
    assert "logits" in reference.digests and any(name.startswith("feature") for name in reference.digests)


def without_ones(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]


def too_far(ours: dict[str, np.ndarray], reference: parity.Reference, *kinds: str) -> dict[str, float]:
    expected = {name: digest for name, digest in reference.digests.items() if name.split()[0] in kinds}
    return parity.too_far(parity.distances(parity.digests(ours), expected))


@pytest.mark.parametrize("name", SHALLOW)
def test_features_and_logits(name):
    reference = stored(name)
    ours = parity.forward(CASES[name], reference.tensors, reference.input_shape)
    assert too_far(ours, reference, "logits", "feature") == {}


@pytest.mark.parametrize("name", SHALLOWER)
def test_gradients_in_training(name):
    reference = stored(name)
    ours = parity.gradients(CASES[name], reference.tensors, reference.input_shape)
    assert too_far(ours, reference, "gradient") == {}


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_the_library_itself_agrees(library):
    pytest.importorskip("torch")
    pytest.importorskip(library)
    of_library = [case for case in CASES.values() if case.library == library]
    smallest = min(of_library, key=lambda case: case.variant.params).name
    done = subprocess.run(
        [sys.executable, ROOT / "experiments" / "parity.py", smallest], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and smallest in done.stdout, done.stdout + done.stderr


def test_made_up_tensors_never_change():
    """The stored references hold for these numbers."""
    ordinary = parity.made_up("layer1.0.conv1.weight", (2, 3), calm=False)
    expected = [[0.44652137, -0.8352756, 1.1519649], [-1.1738034, 1.1274207, -0.15938863]]
    np.testing.assert_allclose(ordinary, expected, rtol=1e-6)
    assert ordinary.dtype == np.float32
    variance = parity.made_up("a.running_var", (2,), calm=True)
    np.testing.assert_allclose(variance, [1.1099712, 1.8920273], rtol=1e-6)
    calm = parity.made_up("a.weight", (1, 1, 2, 2), calm=True)
    np.testing.assert_allclose(calm.ravel(), [-0.30937588, -0.85876757, 0.6671455, 0.51761913], rtol=1e-6)
    images, labels = parity.batch((1, 2, 1), 10, calm=True)
    np.testing.assert_allclose(images[0].ravel(), [0.5292157, 0.12004716], rtol=1e-6)
    assert labels.tolist() == [0, 7, 4, 1]


def test_calm_tensors_keep_activations_off_the_kinks():
    bias, scale = (parity.made_up(f"bn.{leaf}", (1000,), calm=True) for leaf in ("bias", "weight"))
    assert (bias - 3.9 * scale > 0).all() and (bias + 3.9 * scale < 3).all()
    kernel = parity.made_up("conv.weight", (64, 32, 3, 3), calm=True)
    assert np.abs(kernel.sum((1, 2, 3))).max() < 0.3


def test_digests_measure_the_distance_of_arrays():
    draw = np.random.default_rng(0)
    array = draw.normal(size=(40, 50))
    for size in (1e-6, 1e-3, 0.1):
        error = draw.normal(size=array.shape)
        other = array + size * error / np.linalg.norm(error) * np.linalg.norm(array)
        (far,) = parity.distances(parity.digests({"a": other}), parity.digests({"a": array})).values()
        assert 0.3 * size < far < 3 * size
    few = parity.distances(parity.digests({"a": np.ones(3)}), parity.digests({"a": np.array([1.0, 1, 2])}))
    assert few["a"] == pytest.approx(1 / np.sqrt(6))


def test_small_gradients_are_measured_by_the_largest():
    reference = {"gradient a": np.ones(4), "gradient b": np.full(4, 1e-9), "logits": np.full(4, 1e-9)}
    ours = {"gradient a": np.ones(4), "gradient b": np.full(4, 2e-9), "logits": np.full(4, 2e-9)}
    far = parity.distances(parity.digests(ours), parity.digests(reference))
    assert far["gradient a"] == 0 and far["gradient b"] == pytest.approx(1e-6) and far["logits"] == pytest.approx(1)


def test_each_kind_has_its_tolerance():
    distances = {"logits": 9e-5, "feature stem": 2e-4, "gradient a": 9e-5, "gradient b": 9e-7, "gradient c": np.nan}
    assert list(parity.too_far(distances)) == ["feature stem", "gradient a", "gradient c"]


def test_a_stored_reference_is_read_as_written(tmp_path):
    digests = {"logits": np.arange(9.0), "gradient a.weight": np.ones(9)}
    reference = parity.Reference((8, 6, 3), {"a.weight": (2, 3), "scale": ()}, digests)
    parity.write(tmp_path / "a.b.npz", reference)
    found = parity.read(tmp_path / "a.b.npz")
    assert found.input_shape == (8, 6, 3) and found.tensors == reference.tensors
    assert list(found.digests) == list(digests)
    np.testing.assert_array_equal(list(found.digests.values()), list(digests.values()))
