"""Segmenters give each pixel the logits that they give in torchvision, for an image whose sides no stride divides.

`experiments/benchmarks/segmentation_parity.py` keeps torchvision's in segmenters/, and compares networks of full depth
on images of several sizes, and gradients, with torchvision itself; here the ResNets have one block in each stage.
"""

from pathlib import Path

import pytest

from cnn_jax.weights import parity, segmenter_parity
from cnn_jax.weights.segmenter_parity import CASES, SIZE

FOLDER = Path(__file__).parent / "segmenters"


@pytest.mark.parametrize("name", CASES)
def test_logits_of_every_pixel(name: str) -> None:
    reference = parity.read(FOLDER / f"{name}.npz")
    ours = segmenter_parity.forward(CASES[name], reference.tensors, SIZE)
    assert ours["logits"].shape == (segmenter_parity.BATCH, *SIZE, 21)
    assert parity.too_far(parity.distances(parity.digests(ours), reference.digests)) == {}
    assert {array for array in ours} == {"logits"} | ({"feature aux"} if name != "lraspp" else set())
