"""What a run says of its data, keeps of it, and makes of data without a test split or in another place."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import source as source_module

pytestmark = pytest.mark.usefixtures("no_pictures")
TINY = "experiments/tiny.py"


@pytest.fixture(autouse=True)
def unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process, where nothing was said yet."""
    monkeypatch.setattr(source_module, "_SAID", set())


def read(path: str) -> dict:
    return json.loads(Path(path).read_text())


def fill(root: Path, count: int, seed: int = 0) -> None:
    draw = np.random.default_rng(seed)
    for name in ("left", "right"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(100, size=(8, 8, 3))
            pixels[:, 4 * (name == "right") :][:, :4] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number}.png")


def test_without_a_test_split_the_sets_own_validation_split_is_scored(project: Path, launch: Callable) -> None:
    fill(project / "photos" / "train", 20)
    fill(project / "photos" / "val", 6, seed=1)
    (project / "photos" / "train" / "left" / "notes.txt").write_text("")
    said = launch("train", TINY, "--config.data.source=folder:photos", "--workdir=run")
    assert said.code == 0 and said.err.splitlines() == [
        "warning: folder:photos: left out 1 files whose names do not end as a picture's, as train/left/notes.txt",
        "warning: folder:photos has no test split: its validation split is scored at the end (config.evaluate.test)",
    ]
    assert "validation: loss " in said.out
    results = read("run/results.json")
    assert results["test"] is None and len(np.load("run/outputs/label.npy")) == 12
    assert read("run/data.json")["notes"] == [said.err.splitlines()[0].removeprefix("warning: ")]
    assert not Path("run/skipped.json").exists()
    assert "is complete" in launch("train", TINY, "--config.data.source=folder:photos", "--workdir=run").out
    # To be scored again it is named.
    said = launch("eval", "run", "--split=validation")
    assert said.code == 0 and f"  top1  {results['validation']['top1']:.4f}" in said.out
    assert "has no test split, but train, validation: score another by --split" in launch("eval", "run").err
    # So it is where the training itself looks at none; and nowhere where a part of train would have to do.
    words = ("--config.data.source=folder:photos", "--config.data.validation=0", "--workdir=new")
    assert launch("train", TINY, *words).code == 0
    assert len(np.load("new/outputs/label.npy")) == 12 and read("new/results.json")["validation"]["top1"] >= 0
    (project / "photos" / "val").rename(project / "val")
    said = launch("train", TINY, "--config.data.source=folder:photos", "--workdir=third")
    assert said.code == 2 and "has no test split" in said.err.splitlines()[-1] and not Path("third").exists()


def test_data_that_moved_are_gone_on_with_and_others_are_not(project: Path, launch: Callable) -> None:
    for split, seed in (("train", 0), ("test", 1)):
        fill(project / "photos" / split, 20, seed)
    words = ("train", TINY, "--workdir=run", "--config.data.source=folder({}, channels=3)")
    assert launch(*(word.format("photos") for word in words)).code == 0
    expected = read("run/results.json")
    Path("run/results.json").unlink()  # as if it was stopped before
    Path("photos").rename("elsewhere")
    said = launch(*(word.format("elsewhere") for word in words))
    assert said.code == 0 and "going on from step 6" in said.out
    assert read("run/results.json")["test"] == expected["test"]
    assert "'elsewhere'" in read("run/config.json")["data"]["source"]
    assert launch("eval", "run").code == 0

    said = launch(*(word.format("elsewhere").replace("channels=3", "channels=1") for word in words))
    assert said.code == 2 and "holds a run with another configuration (data.source: " in said.err
    fill(project / "others" / "train", 20, seed=2)
    fill(project / "others" / "test", 20, seed=3)
    said = launch(*(word.format("others") for word in words))
    assert said.code == 2 and "has changed since the run in 'run' began" in said.err


def test_other_data_are_scored_whole_and_by_the_names_of_their_classes(run: Path, launch: Callable, tmp_path) -> None:
    from cnn_jax.data.digits import digits

    test = digits()["test"].arrays
    for number in range(100):
        path = tmp_path / "scans" / str(test["label"][number]) / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(test["image"][number, ..., 0]).save(path)
    order = np.random.default_rng(0).permutation(10)
    names = np.array([str(number) for number in range(10)])[order]
    labels = np.argsort(order)[test["label"][:100]]
    np.savez(tmp_path / "mixed.npz", images=test["image"][:100], labels=labels, classes=names)
    logits = np.load(run / "outputs" / "logits.npy")[:100]
    top1 = (logits.argmax(-1) == test["label"][:100]).mean()
    for data in (f"folder:{tmp_path / 'scans'}", f"npz:{tmp_path / 'mixed.npz'}"):
        said = launch("eval", run, f"--data={data}")
        assert said.code == 0 and f"100 images, all of {data}" in said.out
        assert f"  top1  {top1:.4f}" in said.out
        assert ("are taken by their names" in said.err) == data.startswith("npz")


def test_names_of_other_encodings_go_through_all_commands(project: Path, launch: Callable) -> None:
    for split, seed in (("train", 0), ("test", 1)):
        fill(project / "photos" / split, 10, seed)
        (project / "photos" / split / "left").rename(project / "photos" / split / "caf\udce9")
        (project / "photos" / split / "right" / "0.png").rename(project / "photos" / split / "right" / "\udcff.png")
    words = ("train", TINY, "--workdir=run", "--config.data.source=folder:photos")
    said = launch(*words)
    assert said.code == 0 and said.err == ""
    assert read("run/data.json")["classes"] == [r"caf\xe9", "right"]
    said = launch("eval", "run")
    assert said.code == 0 and r"  caf\xe9              " in said.out
    said = launch("predict", "run", project / "photos" / "test" / "right" / "\udcff.png")
    assert said.code == 0 and r"photos/test/right/\xff.png" in said.out
