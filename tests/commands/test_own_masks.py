"""train FOLDER of pictures with masks: from the recipe to a run that goes on and is scored on other pictures."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cnn_jax import config as configuration
from cnn_jax.data.scoring import scored
from cnn_jax.launch import cli, experiment_file
from cnn_jax.lookup import lookup
from cnn_jax.train.predictor import read_spec
from tests.data.painted import mask_set

# In place of the network of the recipe, which takes seconds to compile.
BUILD = "--config.model.build=cnn_jax.models.unet.UNet(features=1, levels=1)"
TRAIN = (
    "train",
    "my cells/",
    BUILD,
    "--config.compute.devices=1",
    "--config.duration=2 steps",
    "--config.augment=flip",
)
RUN = "runs/my-cells"


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with my cells/, and the run that came of it: not to be changed."""
    folder = tmp_path_factory.mktemp("own")
    classes = np.zeros((12, 16), np.uint8)
    classes[:4, 3:9] = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("cnn_jax.report.segment.figures", lambda *_: None)
        mask_set(folder / "my cells", classes, [str(n) for n in range(10)])
        (folder / "my cells/classes.txt").write_text("background\ncell\n")
        assert cli.main(list(TRAIN)) == 0
    return folder


@pytest.fixture
def here(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, the current one."""
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_run_keeps_its_recipe_and_goes_on(here: Path, launch: Callable) -> None:
    values = json.loads(Path(RUN, "config.json").read_text())
    _, recipe = experiment_file.load(f"{RUN}/experiment.py")
    differing = configuration.differences(configuration.to_json(recipe), values)
    assert [line.partition(":")[0] for line in differing] == ["augment", "compute.devices", "duration"]
    assert values["data"]["source"] == "cnn_jax.data.masks.masks(channels=1, path='my cells/')"
    assert 0 <= json.loads(Path(RUN, "results.json").read_text())["test"]["mean_iou"] <= 1
    Path("my cells").rename("moved")
    said = launch("train", "moved", f"--workdir={RUN}")
    assert said.code == 0 and "by the recipe of the run that is there" in said.out and "is complete" in said.out


def test_other_pictures_are_read_alike(here: Path, launch: Callable) -> None:
    """Of another size, with their classes in another order, or without names."""
    classes = np.eye(20, dtype=np.uint8)
    mask_set(here / "others", classes, "ab")
    spec = read_spec(Path(RUN))
    unnamed = scored(lookup("masks:others"), "all", spec)
    (here / "others/classes.txt").write_text("cell\nbackground\n")
    swapped = scored(lookup("masks:others"), "all", spec)
    for source, first in ((unnamed, 0), (swapped, 1)):
        batch = source.batch(np.arange(2))
        assert batch["image"].shape == (2, 12, 16, 1) and source.spec.classes == ("background", "cell")
        assert (batch["class_map"][0, 0, 2:14] == [first ^ (n == 0) for n in range(12)]).mean() > 0.9
    (here / "others/classes.txt").write_text("cell\nsky\n")
    said = launch("eval", RUN, "--data=masks:others")
    assert said.code == 2 and said.err.count("\n") == 1 and "'background'" in said.err


def test_what_is_wrong_is_one_line_and_nothing_is_written(here: Path, launch: Callable, contents: Callable) -> None:
    Path("my cells/masks/3.png").unlink()
    before = contents(here)
    said = launch(*TRAIN, "--workdir=new")
    assert said.code == 2 and said.err == (
        "error: masks:my cells/: images/3.png has no mask: add it, or say missing='skip' in the source\n"
    )
    assert contents(here) == before
    said = launch(*TRAIN, "--workdir=new", "--config.data.source=masks(my cells, size=8)")
    assert said.code == 2 and "images/3.png has no mask" in said.err and contents(here) == before
