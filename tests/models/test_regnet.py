"""RegNet's rule for widths against the tables of the paper, and where groups and squeeze take their size from."""

from functools import partial

import jax
import pytest

from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.regnet import RegNet, quantised_line, regnet_y_400mf

# arXiv:2003.13678, figures 16 and 17: depth, w_0, w_a, w_m and g (with the digits of the authors' code) -> d_i, w_i
PUBLISHED = {
    "X-800MF": ((16, 56, 35.73, 2.28, 16), (1, 3, 7, 5), (64, 128, 288, 672)),
    "X-3.2GF": ((25, 88, 26.31, 2.25, 48), (2, 6, 15, 2), (96, 192, 432, 1008)),
    "X-8.0GF": ((23, 80, 49.56, 2.88, 120), (2, 5, 15, 1), (80, 240, 720, 1920)),
    "X-32GF": ((23, 320, 69.86, 2.0, 168), (2, 7, 13, 1), (336, 672, 1344, 2520)),
    "Y-400MF": ((16, 48, 27.89, 2.09, 8), (1, 3, 6, 6), (48, 104, 208, 440)),
    "Y-1.6GF": ((27, 48, 20.71, 2.65, 24), (2, 6, 17, 2), (48, 120, 336, 888)),
    "Y-16GF": ((18, 200, 106.23, 2.48, 112), (2, 4, 11, 1), (224, 448, 1232, 3024)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_quantised_line(name: str) -> None:
    parameters, blocks, widths = PUBLISHED[name]
    assert quantised_line(*parameters) == (blocks, widths)


def test_widths_are_rounded_to_groups_as_in_torchvision() -> None:
    """Ties go up, 392 = 24.5 x 16, 136 = 8.5 x 16, 776 = 48.5 x 16; so does 192 = 3.43 x 56, for 168 is too far."""
    assert quantised_line(22, 24, 24.48, 2.54, 16) == ((1, 2, 7, 12), (32, 64, 160, 400))
    assert quantised_line(14, 56, 38.84, 2.4, 16) == ((1, 3, 8, 2), (64, 144, 320, 784))
    assert quantised_line(17, 192, 76.82, 2.19, 56) == ((2, 4, 10, 1), (224, 448, 896, 2016))


def test_a_line_that_is_a_geometric_sequence_is_kept() -> None:
    """u_j = 8 + 8 j is 8 x 2^s for j = 0, 1, 3, 7; the others go to the nearest in the logarithm."""
    assert quantised_line(8, 8, 8.0, 2.0, 1) == ((1, 1, 3, 3), (8, 16, 32, 64))


def test_groups_and_squeeze() -> None:
    """Groups count the output's channels, at most all of them; the squeeze is a fraction of the block's input."""
    module = RegNet(classes=3, blocks=(2, 1), widths=(8, 48), group_width=16, squeeze=0.25)
    x = jax.ShapeDtypeStruct((1, 32, 48, 3), "float32")
    params = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), x)["params"]
    assert params["stage1_block1"]["conv2"]["kernel"].shape == (3, 3, 8, 8)
    assert params["stage2_block1"]["conv2"]["kernel"].shape == (3, 3, 16, 48)
    reduced = {name: value["squeeze"]["reduce"]["kernel"].shape[-1] for name, value in params.items() if "_b" in name}
    assert reduced == {"stage1_block1": 8, "stage1_block2": 2, "stage2_block1": 2}
    assert "shortcut_conv" not in params["stage1_block2"]


def test_channels_and_strides() -> None:
    assert feature_info(regnet_y_400mf(), (64, 64, 3)) == {
        "stem": (32, 2),
        "stage1": (48, 4),
        "stage2": (104, 8),
        "stage3": (208, 16),
        "stage4": (440, 32),
    }
