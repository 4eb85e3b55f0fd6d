"""The stem that follows the size of the images, and the warning where one does not fit."""

from functools import partial
from typing import Any

import jax
import pytest

from cnn_jax.inspect.anatomy import count_params
from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.bit import bit_r50x1
from cnn_jax.models.cifar_resnet import resnet20
from cnn_jax.models.densenet import densenet121
from cnn_jax.models.efficientnet import efficientnet_b0
from cnn_jax.models.resnet import resnet18, resnet18_small
from cnn_jax.models.small_images import fitting_stem, stem_warning, takes_fitting_stem
from cnn_jax.models.variant import Variant


@pytest.mark.parametrize(("side", "stride"), [(25, 1), (32, 1), (63, 1), (64, 2), (127, 2), (128, 4), (224, 4)])
def test_the_last_map_keeps_four_positions(side: int, stride: int) -> None:
    model = resnet18(stem=fitting_stem)
    x = jax.ShapeDtypeStruct((1, side, 2 * side, 3), "float32")
    (_, features), _ = jax.eval_shape(partial(model.init_with_output, train=False), jax.random.key(0), x)
    assert features["stem"].shape[1] == -(-side // stride)
    assert min(features["stage4"].shape[1:3]) >= 4


def test_parameters_are_those_of_the_published_stems() -> None:
    small, half, full = (count_params(resnet18(stem=fitting_stem), (side, side, 3)) for side in (32, 64, 224))
    assert half == full == resnet18.params
    assert small == count_params(resnet18_small(classes=1000), (32, 32, 3))


def warning(variant: Variant, side: int) -> str | None:
    maps = {name: (-(-side // stride),) * 2 for name, (_, stride) in feature_info(variant(), (side, side, 3)).items()}
    return stem_warning({**maps, "pooled": ()}, (side, side), replaceable=takes_fitting_stem(variant()))


@pytest.mark.parametrize(
    ("variant", "side", "warned"),
    [
        (resnet18, 32, True),
        (resnet18, 96, True),
        (resnet18, 128, False),
        (resnet18_small, 32, False),
        (resnet18_small, 24, False),  # 3 positions, but the stem is not to blame
        (resnet20, 16, False),
        (efficientnet_b0, 32, True),
        (efficientnet_b0, 224, False),
    ],
)
def test_a_stem_is_blamed_for_what_it_does(variant: Any, side: int, warned: bool) -> None:
    assert (warning(variant, side) is not None) == warned


def test_the_warning_says_what_to_use_instead() -> None:
    assert warning(resnet18, 32) == (
        "the model was made for larger images: it shrinks 32x32 to 1x1, 4-fold at its very beginning; "
        "use stem=fitting_stem or images of at least 128 pixels a side"
    )
    assert "use a model for small images, as resnet18_small or wrn_16_4, or images of" in str(warning(bit_r50x1, 32))


def test_maps_without_a_stem_are_judged_by_the_first() -> None:
    warn = partial(stem_warning, image=(32, 48), replaceable=False)
    assert "shrinks 32x48 to 2x3, 4-fold" in str(warn({"stage1": (8, 12), "stage2": (2, 3)}))
    assert warn({"stage1": (16, 24), "stage2": (2, 3)}) is None
    assert warn({"stage1": (8, 12), "stage2": (4, 6)}) is None
    assert warn({"pooled": ()}) is None
    assert warn({}) is None
    assert stem_warning({"stem": (4,), "stage1": (1,)}, (16,), replaceable=False) is None


def test_only_stems_of_the_same_kind_are_replaced() -> None:
    found = {model: takes_fitting_stem(model()) for model in (resnet18, densenet121, bit_r50x1, efficientnet_b0)}
    assert list(found.values()) == [True, True, False, False]
