"""A recipe for a folder with masks: what is chosen for what is found."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax import config as configuration
from cnn_jax.data.planning import Fingerprint
from cnn_jax.launch import own_masks
from cnn_jax.launch.experiment_file import load
from cnn_jax.launch.own_masks import FoundMasks, look
from cnn_jax.launch.pretrained import Network
from cnn_jax.launch.recipe import SECONDS, Machine, Recipe
from cnn_jax.launch.recipe_file import text
from cnn_jax.launch.segmentation_recipe import choose
from cnn_jax.lookup import describe, lookup
from tests.data.painted import mask_set

TWO = Machine(2)


def found(size: tuple[int, int] = (200, 300), examples: int = 80, **changes: object) -> FoundMasks:
    """Colour pictures of two classes, 4 % of the pixels cells, without splits."""
    seen = Fingerprint(examples, size, 3, ("background", "cell"), (96, 4), (examples, examples), 0.0, 0.4, 0.2, 0.05)
    known = FoundMasks(
        "masks('my cells/')", {"all": examples * 5 // 4}, examples // 4, (examples,), seen, False, size, False
    )
    return known._replace(**changes)  # type: ignore[arg-type]


def fields(recipe: Recipe) -> dict[str, str]:
    return {field: value for topic in recipe.topics for field, value in topic.fields.items()}


def why(recipe: Recipe, name: str) -> str:
    return next(topic.why for topic in recipe.topics if topic.name == name)


def test_small_pictures_are_seen_whole() -> None:
    recipe = choose(found(), TWO)
    chosen = fields(recipe)
    assert chosen["model.build"] == "unet(features=16, levels=6)" and chosen["data.source"] == "masks('my cells/')"
    assert chosen["augment"] == "compose(flip, scale)" and "window" not in chosen["model.task"]
    assert chosen["data.batch_size"] == "4" and chosen["data.validation"] == "0.2"
    assert "20 pictures are the test split, 16 of the others" in why(recipe, "splits")
    assert float(recipe.time.split()[3]) * 60 <= SECONDS + 6


def test_large_pictures_are_cropped_around_what_is_rare_and_predicted_by_windows() -> None:
    large = found((1500, 2000))
    chosen = fields(choose(large, TWO))
    assert chosen["augment"] == "compose(crop(size=(224, 256), foreground=0.33), flip, scale)"
    assert "window=(224, 256)" in chosen["model.task"]
    several = fields(choose(large._replace(several=True, size=(256, 256)), TWO))
    assert several["augment"].startswith("compose(crop(")


def test_grey_pictures_of_any_brightness_are_stretched() -> None:
    grey = found(grey=True, seen=found().seen._replace(channels=1, brightness=0.15))
    recipe = choose(grey, TWO)
    assert fields(recipe)["data.source"] == "masks('my cells/', channels=1, percentiles=(0.5, 99.5))"
    assert "the means of pictures vary by 0.75" in why(recipe, "pictures")
    asked = fields(choose(grey._replace(source="masks('my cells/', channels=3)", asked=True), TWO))
    assert asked["data.source"] == "masks('my cells/', channels=3)"  # as somebody asks for


def test_weights_that_are_asked_for_are_of_the_backbone_or_of_the_whole() -> None:
    grey = found(grey=True, seen=found().seen._replace(channels=1))
    recipe = choose(grey, TWO, Network("package:lite0", "efficientnet_lite0(drop_path=0.0)"))
    chosen = fields(recipe)
    name = "cnn_jax.models.backbone_unet.BackboneUNet(backbone=efficientnet_lite0(drop_path=0.0))"
    assert chosen["model.build"] == name and chosen["transfer.weights"] == "package:lite0"
    assert "channels" not in chosen["data.source"] and "for the weights" in why(recipe, "pictures")
    assert fields(choose(grey, TWO, Network("runs/mine", "unet_small", 1)))["model.build"] == "unet_small"
    assert fields(choose(grey, TWO, None, "unet_small"))["model.build"] == "unet_small"


def test_splits_that_are_there_are_used() -> None:
    own = found(counts={"train": 80, "validation": 9}, scored=0)
    assert "evaluate.test" not in fields(choose(own, TWO)) and "scored at the end" in why(choose(own, TWO), "splits")
    alone = fields(choose(found(counts={"train": 80}, scored=0), TWO))
    assert alone["evaluate.test"] == "never" and alone["data.validation"] == "0.2"
    assert "9 of the others" in why(choose(found(groups=(13, 2, 30)), TWO), "splits")
    few = fields(choose(found(examples=8), TWO))
    assert few["data.validation"] == "0" and "evaluate.patience" not in few


@pytest.mark.parametrize("size", [(200, 300), (1500, 2000)])
def test_the_text_is_the_experiment_of_the_choices(tmp_path: Path, size: tuple[int, int]) -> None:
    recipe = choose(found(size), TWO)
    (tmp_path / "mine.py").write_text(text(recipe, "mine", "my cells/"))
    _, experiment = load(str(tmp_path / "mine.py"))
    configuration.check(experiment)
    values = {name: value for name, _, value in configuration.walk(experiment)}
    for field, value in fields(recipe).items():
        if callable(values[field]):
            assert describe(values[field]) == describe(lookup(value)), field


def test_what_is_found_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = np.zeros((16, 24), np.uint8)
    classes[:4] = 1
    mask_set(tmp_path, classes, [str(n) for n in range(10)])
    seen = look(str(tmp_path))
    assert seen.grey and seen.counts == {"all": 10} and seen.scored == 2 and seen.size == (16, 24)
    said = "10 grey pictures with masks, of 16 x 24 pixels, 2 classes: background 75.0%, foreground 25.0%"
    assert str(seen) == said and seen.source == f"masks({str(tmp_path)!r})"
    Image.fromarray(np.full((16, 24, 3), (9, 8, 7), np.uint8)).save(tmp_path / "images/3.png")
    assert not look(str(tmp_path)).grey or own_masks.LOOKED_AT < 10
    asked = look(str(tmp_path), f"masks('{tmp_path}', size=32, channels=1)")
    assert asked.size == (32, 32) and asked.source.endswith("channels=1)") and asked.seen.size == (22, 32)
