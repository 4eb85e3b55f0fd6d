"""Detectors find here what they find in torchvision, picture in and boxes out, and lose what they lose there.

`experiments/benchmarks/detection_parity.py` keeps torchvision's results in detectors/, and compares networks of full
depth on pictures of several sizes with torchvision itself; here the same networks have one block in each stage.
"""

from pathlib import Path

import numpy as np
import pytest

from cnn_jax.weights import detector_parity
from cnn_jax.weights.detector_parity import CASES, Results

FOLDER = Path(__file__).parent / "detectors"


@pytest.mark.parametrize("name", CASES)
def test_finds_what_torchvision_finds(name: str) -> None:
    reference = detector_parity.read(FOLDER / f"{name}.npz")
    assert len(reference.results.found) >= 100
    ours = detector_parity.run(CASES[name], reference.tensors, reference.factors)
    assert detector_parity.differences(ours, reference.results) == []


def test_each_detection_has_one_of_its_own() -> None:
    """Another box, score or class, one too few, and one twice in place of two are all noticed."""
    found = np.array([[0, 0, 10, 10, 0.9, 1], [0, 0, 10, 10, 0.8, 1], [5, 5, 9, 9, 0.7, 2]], np.float32)
    reference = Results({"logits": np.ones(4)}, found, {"boxes": 1.0})
    assert detector_parity.differences(reference, reference) == []
    for row, column, change in [(0, 2, 0.1), (1, 4, 1e-3), (2, 5, 1)]:
        other = found.copy()
        other[row, column] += change
        said = detector_parity.differences(reference._replace(found=other), reference)
        assert said == ["1 of 3 detections are others"]
    said = detector_parity.differences(reference._replace(found=found[[0, 0, 2]]), reference)
    assert said == ["1 of 3 detections are others"]
    assert detector_parity.differences(reference._replace(found=found[:2]), reference) == ["2 detections, not 3"]
    other = reference._replace(digests={"logits": np.ones(4) * 1.001}, losses={"boxes": np.nan})
    assert len(detector_parity.differences(other, reference)) == 2
