from typing import Any

import flax.linen as nn
import jax
import pytest

from cnn_jax.inspect.stages import (
    CLASSIFIER,
    HEAD,
    depths,
    feature_info,
    feature_names,
    last_layer_paths,
    within_backbone,
)
from cnn_jax.models.cifar_resnet import resnet20
from cnn_jax.models.mobilenet_v3 import mobilenet_v3_small
from cnn_jax.models.point_detector import point_detector


class Tangled(nn.Module):
    """The second map does without the first, a scalar scales one, and something is computed for nothing."""

    classes: int = 3

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        late = nn.Dense(4, name="a_late")(x)
        gain = self.param("gain", nn.initializers.zeros, ())
        early = nn.Dense(4, name="z_early")(x) * gain
        nn.Dense(4, name="unused")(early)
        return nn.Dense(self.classes, name="last")(early + late), {"one": early, "another": late}


def test_the_order_is_that_of_the_network_not_of_the_alphabet() -> None:
    assert feature_names(Tangled(), (5,)) == ["one", "another"]
    found = depths(Tangled(), (5,))
    assert list(dict.fromkeys(found.values())) == ["one", "another", CLASSIFIER]
    stages: dict[str, set[str]] = {}
    for path, stage in found.items():
        stages.setdefault(stage, set()).add(path.split("/")[1])
    assert stages == {"one": {"z_early", "gain"}, "another": {"a_late"}, CLASSIFIER: {"unused", "last"}}


def test_running_statistics_lie_where_their_norm_lies() -> None:
    found = depths(resnet20(), (32, 32, 3))
    for path, stage in found.items():
        module = path.split("/")[1]
        expected = (
            module.split("_")[0] if module.startswith("stage") else {"classifier": CLASSIFIER}.get(module, "stem")
        )
        assert stage == expected
    assert any(path.startswith("batch_stats/stage3") for path in found)


def test_a_hidden_layer_behind_all_maps_is_no_part_of_the_classifier() -> None:
    found = depths(mobilenet_v3_small(), (64, 64, 3))
    assert {path.split("/")[1] for path, stage in found.items() if stage == HEAD} == {"hidden"}
    assert {path.split("/")[1] for path, stage in found.items() if stage == CLASSIFIER} == {"classifier"}


def test_the_stages_of_a_detector_are_those_of_its_backbone() -> None:
    model, shape = point_detector(backbone=resnet20, strides=(2, 4), classes=3), (32, 32, 1)
    found, inside = depths(model, shape), depths(resnet20(classes=None), shape)
    assert {within_backbone(path): stage for path, stage in inside.items()}.items() <= found.items()
    assert {path for path, stage in found.items() if stage == CLASSIFIER} == {
        path for path in found if path.split("/")[1] != "backbone"
    }
    # What other classes need others of is one layer of that.
    assert last_layer_paths(model, shape) == {"params/classifier/kernel", "params/classifier/bias"}


@pytest.mark.parametrize("size", [32, 48])
def test_names_are_those_of_the_maps(size: int) -> None:
    names: Any = feature_names(resnet20(), (size, size, 3))
    assert names[:-1] == list(feature_info(resnet20(), (size, size, 3))) and names[-1] == "pooled"
