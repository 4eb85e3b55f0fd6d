"""train FOLDER: a folder of one's own pictures in place of an experiment, from the recipe to a run that goes on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import cnn_jax
from cnn_jax import config as configuration
from cnn_jax.launch import cli, experiment_file
from cnn_jax.weights import files, probe

# In place of the network of the recipe, which takes seconds to compile.
BUILD = "--config.model.build=convmixer_768_32(width=8, depth=1, kernel=3, patch=2)"
TRAIN = ("train", "my photos/", BUILD, "--config.compute.devices=1", "--config.duration=4 steps")
RUN = "runs/my-photos"


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, write_images: Callable) -> Path:
    """A folder with my photos/, and the run that came of it: not to be changed."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("cnn_jax.report.classify.figures", lambda *_: None)
        write_images(folder / "my photos", count=64)
        assert cli.main(list(TRAIN)) == 0
    return folder


@pytest.fixture
def here(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> Path:
    """A copy of that folder, the current one."""
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(path: str) -> dict:
    return json.loads(Path(path).read_text())


def test_the_run_keeps_its_recipe_as_an_experiment(begun: Path) -> None:
    values = json.loads((begun / RUN / "config.json").read_text())
    _, recipe = experiment_file.load(str(begun / RUN / "experiment.py"))
    differing = configuration.differences(configuration.to_json(recipe), values)
    assert [line.partition(":")[0] for line in differing] == ["compute.devices", "duration"]  # as the flags said
    assert values["name"] == "my-photos"
    assert values["data"]["source"] == "cnn_jax.data.folder.folder(channels=1, path='my photos/', size=8)"
    results = json.loads((begun / RUN / "results.json").read_text())
    assert 0 <= results["test"]["top1"] <= 1 and results["validation"]["top1"] >= 0


def test_the_same_words_go_on_with_the_same_recipe(here: Path, launch: Callable) -> None:
    before = Path(f"{RUN}/config.json").read_text()
    said = launch(*TRAIN)
    assert said.code == 0 and "by the recipe of the run that is there" in said.out and "is complete" in said.out
    Path("my photos").rename("moved")
    assert "is complete" in launch("train", "moved", f"--workdir={RUN}").out  # without the flags of before, too
    assert Path(f"{RUN}/config.json").read_text().replace("'moved'", "'my photos/'") == before

    said = launch("train", "moved", f"--workdir={RUN}", "--config.optim.lr=0.1")
    assert said.code == 2 and "holds a run with another configuration (optim.lr: 0.003 -> 0.1)" in said.err
    shutil.copyfile("moved/left/0.png", "moved/left/new.png")
    said = launch("train", "moved", f"--workdir={RUN}")
    assert said.code == 2 and "has changed since the run" in said.err.splitlines()[-1]
    assert "a recipe for" not in said.out


def test_a_run_lends_its_network_and_the_probe_is_fitted_once(
    here: Path, launch: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "--fresh", "my photos/", f"--config.transfer.weights={RUN}", *TRAIN[3:], "--workdir=second")
    said = launch(*words)
    assert said.code == 0 and "begins as a linear probe, a logistic regression of 8 features on 82 examples" in said.out
    assert "convmixer_768_32: its weights of runs/my-photos" in said.out and "learning      " in said.out
    record = read("second/weights.json")["probe"]
    assert read("second/weights.json")["head"] == "probe"
    assert record["examples"] == 82 and record["count"] == 20 and 0 <= record["top1"] <= 1
    first = next(json.loads(row) for row in Path("second/metrics.jsonl").read_text().splitlines())
    assert (first["step"], first["split"], first["top1"]) == (0, "validation", record["top1"])
    assert "best nll by validation: " in said.out  # whichever step it is

    Path("second/results.json").unlink()
    _, *later = sorted(map(int, (path.name for path in Path("second/checkpoints").iterdir() if path.name.isdigit())))
    for step in later:  # as if it had been killed after the first of those that are there
        for path in Path("second/checkpoints").glob(f"{step}*"):
            path.rename(f"gone-{path.name}")
    monkeypatch.setattr(probe, "fitted", lambda *_: pytest.fail("fitted again"))
    said = launch("train", "my photos/", "--workdir=second")
    assert said.code == 0 and read("second/weights.json")["probe"] == record and Path("second/results.json").exists()


def empty() -> None:
    Path("none").mkdir()


def loose() -> None:
    shutil.copytree("my photos/left", "loose")


def single() -> None:
    for name in ("left", "right"):
        Path(f"single/{name}").mkdir(parents=True)
        shutil.copyfile(f"my photos/{name}/0.png", f"single/{name}/0.png")


def unreadable() -> None:
    for name in ("a", "b"):
        Path(f"bad/{name}").mkdir(parents=True)
        Path(f"bad/{name}/1.png").write_text("no picture")


def tensors() -> None:
    files.write("other.npz", {"a": np.zeros(7, np.float32)})


def annotated() -> None:
    for file, text in {
        "a/annotations/train.json": '{"annotations": []}',
        "b/Annotations/1.xml": "<annotation></annotation>",
        "c/labels/train/1.txt": "0 .5 .5 .1 .1",
    }.items():
        Path(file).parent.mkdir(parents=True)
        Path(file).write_text(text)


DETECTOR = "train objects --config.data.source="


@pytest.mark.parametrize(
    ("words", "message", "prepare"),
    [
        (
            "a",
            f"boxes around objects (annotations/train.json): for a detector say launch.py {DETECTOR}coco:a",
            annotated,
        ),
        ("b", f"{DETECTOR}voc:b", annotated),
        ("c", f"{DETECTOR}yolo:c", annotated),
        ("none", "put them into a folder for each class, as none/cat/1.jpg", empty),
        ("loose", "no images: loose has no class folders", loose),
        ("single", "'single' has one picture of each class: none can be kept for a test", single),
        ("bad", "not one picture of 'bad' can be read, as bad/a/1.png: cannot read the image", unreadable),
        ("nowhere/", "there is no experiment 'nowhere/', and no such folder", None),
        ("my photos/left/0.png", "'my photos/left/0.png' is a file, but no experiment (FILE.py)", None),
        (
            "my photos --config.transfer.weights=other.npz --workdir=new",
            "cannot be told from their 7 parameters",
            tensors,
        ),
        ("my photos --config.transfer.weights=none --workdir=new", "'none' is not a run folder", empty),
        ("my photos --config.optim.lt=1", "unknown field 'config.optim.lt': did you mean 'optim.lr'?", None),
        ("my photos --workdir=my photos", "'my photos' is not empty and no run folder", None),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", "as it is"),
)
def test_what_is_no_folder_of_pictures_is_refused_in_one_line(
    words: str, message: str, prepare: Callable | None, here: Path, launch: Callable, contents: Callable
) -> None:
    if prepare:
        prepare()
    before = contents(here)
    word, *flags = words.split(" --")
    said = launch("train", word, *(f"--{flag}" for flag in flags))
    assert said.code == 2 and said.err.count("\n") == 1 and message in said.err
    assert contents(here) == before


def test_a_network_that_only_its_own_experiment_knows_is_refused(here: Path, launch: Callable, trained: Path) -> None:
    said = launch("train", "my photos/", f"--config.transfer.weights={trained}", "--workdir=new")
    assert said.code == 2 and "is defined in its own experiment file" in said.err and not Path("new").exists()


def test_the_run_of_another_name_goes_on_in_its_folder(here: Path, launch: Callable, contents: Callable) -> None:
    Path("my photos").rename("holiday")
    Path(RUN).rename("runs/holiday")
    assert cnn_jax.train("holiday").folder == Path("runs/holiday")
    assert cnn_jax.train("runs/holiday").folder == Path("runs/holiday")
    said = launch("train", "holiday")
    assert said.code == 0 and "runs/holiday is complete (step 4)" in said.out and not Path(RUN).exists()


def test_what_flags_change_in_a_recipe_is_said(here: Path, launch: Callable) -> None:
    said = launch(
        "train", "my photos", "--workdir=new", "--seeds=3", "--config.duration=4 steps", "--config.optim.lr=0"
    )
    assert "  flags         duration=4 steps in place of 60 epochs, optim.lr=0 in place of 0.003" in said.out
    assert "kept          as new/seed3/experiment.py" in said.out
    Path("digits").mkdir()
    said = launch("train", "digits", "--config.optim.lr=0")
    assert "'digits' is taken for the experiment: for the folder write digits/" in said.err and said.code == 2


def test_a_folder_is_told_from_the_values_of_flags(here: Path, launch: Callable) -> None:
    Path("values").mkdir()
    said = launch("train", "--workdir", "values", "--config.optim.lr", "0", "my photos")
    assert said.code == 2 and "optim.lr = 0.0 must be above 0" in said.err
    said = launch("train", "my photos", "--help")
    assert said.code == 0 and "A folder of your own has a folder of pictures for each class" in said.out
