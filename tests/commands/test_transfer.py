"""train with weights of a run or a file: what is frozen and recorded, and what is refused, leaving nothing behind."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from cnn_jax.models.convmixer import convmixer_768_32
from cnn_jax.models.variant import Preprocessing
from cnn_jax.train.checkpoint import newest_good, restore_variables
from cnn_jax.weights import files
from cnn_jax.weights.convert import Tensors, tensor_shapes, to_variables
from cnn_jax.weights.names.convmixer import timm
from cnn_jax.weights.parity import all_made_up

TINY = dict(width=8, depth=1, kernel=3, patch=2)
BUILD = "--config.model.build=convmixer_768_32(width=8, depth=1, kernel=3, patch=2)"
TRAIN = ("train", "experiments/tiny.py", BUILD)
PUBLISHED = 5  # classes of the made-up weights; digits have 10


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return all_made_up(tensor_shapes(convmixer_768_32(classes=PUBLISHED, **TINY), (8, 8, 1), timm), calm=False)


@pytest.fixture
def here(project: Path, tensors: Tensors, no_pictures: None) -> Path:
    """A project with weights.safetensors."""
    files.write("weights.safetensors", tensors)
    return project


def variables(run: str) -> dict[str, np.ndarray]:
    checkpoints = Path(run) / "checkpoints"
    return flatten_dict(restore_variables(checkpoints, newest_good(checkpoints)), sep="/")


def changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    return {path for path in before if not np.array_equal(before[path], after[path])}


def test_a_linear_probe_of_published_weights(here: Path, launch: Callable, tensors: Tensors) -> None:
    weights = ("--config.transfer.weights=weights.safetensors", "--config.transfer.frozen=backbone")
    said = launch(*TRAIN, *weights, "--config.data.labels=0.1", "--workdir=probe")
    assert (said.code, said.err) == (0, "")
    assert "90 trained" in said.out and "with the weights of weights.safetensors" in said.out

    model = convmixer_768_32(classes=PUBLISHED, **TINY)
    loaded = flatten_dict(to_variables(model, (8, 8, 1), tensors, timm), sep="/")
    found = variables("probe")
    assert found["params/classifier/kernel"].shape == (8, 10)
    assert changed({p: v for p, v in loaded.items() if "classifier" not in p}, found) == set()

    record = json.loads(Path("probe/weights.json").read_text())
    assert record["weights"] == "weights.safetensors" and len(record["sha256"]) == 64
    used = json.loads(Path("probe/labels.json").read_text())
    assert json.loads(Path("probe/data.json").read_text())["examples"] == len(used["positions"]) == len(used["labels"])
    assert 70 <= len(used["positions"]) <= 90 and min(np.bincount(used["labels"], minlength=10)) >= 6

    Path("weights.safetensors").unlink()  # what is finished or under way does not need it
    assert "is complete" in launch(*TRAIN, *weights, "--config.data.labels=0.1", "--workdir=probe").out
    assert launch("eval", "probe").code == 0


def test_fine_tuning_the_weights_of_a_run_for_other_classes(here: Path, launch: Callable, write_images) -> None:
    write_images(Path("pictures"))  # two classes
    pictures = ("--config.data.source=folder(pictures, channels=1)", "--config.data.batch_size=4")
    assert launch(*TRAIN, "--workdir=first").code == 0
    words = (
        *TRAIN,
        *pictures,
        "--config.transfer.weights=first",
        "--config.transfer.frozen=stem",
        "--config.optim.ema=0.9",
    )
    said = launch(*words, "--workdir=second")
    assert (
        said.code == 0
        and "weights of first (the last layer is new, as the weights are not for the same classes)" in said.out
    )
    moved = changed(variables("first"), variables("second"))
    assert {path.split("/")[1] for path in moved} == {"block1", "classifier"}
    assert any("batch_stats" in path for path in moved)
    first, second = (json.loads(Path(f"{run}/data.json").read_text()) for run in ("first", "second"))
    assert all(
        first["prepare"][name] == second["prepare"][name] for name in ("mean", "std")
    )  # the weights expect these
    assert first["fingerprint"] != second["fingerprint"]

    # stopped in the middle and gone on with: the same to the bit, though the weights are gone
    Path("second/results.json").unlink()
    for path in Path("second/checkpoints").glob("6*"):
        path.rename(Path("second") / f"gone-{path.name}")
    Path("first").rename("elsewhere")
    expected = variables_of_step("second", 4)
    assert launch(*words, "--workdir=second").code == 0
    assert newest_good(Path("second/checkpoints")) == 6
    Path("elsewhere").rename("first")
    assert launch(*words, "--workdir=third").code == 0
    assert changed(variables("third"), variables("second")) == set()
    assert changed(expected, variables("third")) != set()


def test_the_last_layer_is_kept_where_the_classes_are_the_same(here: Path, launch: Callable, trained: Path) -> None:
    words = ("train", "experiments/tiny.py", "--config.duration=1 steps", "--config.optim.lr=1e-30")
    weights = (*words, f"--config.transfer.weights={trained}")
    said = launch(*weights, "--workdir=kept")
    assert said.code == 0 and "(the last layer is kept, as the weights are for the same classes)" in said.out
    assert changed(variables(str(trained)), variables("kept")) == set()
    said = launch(*weights, "--config.transfer.head=new", "--workdir=new")
    assert said.code == 0 and "(the last layer is new)" in said.out
    assert changed(variables(str(trained)), variables("new")) == {"params/Dense_1/kernel", "params/Dense_1/bias"}
    assert [json.loads(Path(run, "weights.json").read_text())["head"] for run in ("kept", "new")] == ["kept", "new"]
    # As it was the default once: who goes on with such a run need not say so.
    assert "is complete" in launch(*weights, "--workdir=new").out
    assert json.loads(Path("new/config.json").read_text())["transfer"]["head"] == "new"
    said = launch(*weights, "--config.transfer.head=keep", "--workdir=new")
    assert said.code == 2 and "transfer.head: new -> keep" in said.err


def variables_of_step(run: str, step: int) -> dict[str, np.ndarray]:
    return flatten_dict(restore_variables(Path(run) / "checkpoints", step), sep="/")


def test_published_preprocessing_comes_with_the_weights(here: Path, launch: Callable) -> None:
    before = convmixer_768_32.preprocessing
    object.__setattr__(convmixer_768_32, "preprocessing", Preprocessing(8, 1.0, (0.1,), (0.2,)))
    try:
        weights = "--config.transfer.weights=weights.safetensors"
        assert launch(*TRAIN, weights, "--config.duration=1 steps", "--workdir=run").code == 0
        prepare = json.loads(Path("run/data.json").read_text())["prepare"]
        assert (prepare["mean"], prepare["std"]) == ([0.1], [0.2])
        object.__setattr__(convmixer_768_32, "preprocessing", Preprocessing(8, 1.0))
        said = launch(*TRAIN, weights, "--workdir=other")
        assert said.code == 2 and "they read 3 channels, the data has 1" in said.err
    finally:
        object.__setattr__(convmixer_768_32, "preprocessing", before)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["weights=weights.safetensors", "head=keep"], "the classifier is for 5 classes, the model for 10"),
        (["weights=weights.safetensors", "frozen=stagge1"], "no feature map of the model: did you mean 'stage1'?"),
        (["weights=weights.safetensors", "head=kept"], "did you mean 'keep'?"),
        (["weights=experiments/tiny.py"], "no file of weights"),
        (["weights=nowhere.pth"], "nowhere.pth"),
        (["weights=experiments"], "'experiments' is not a run folder"),
        (["weights=package:no_such_thing"], "no package 'no_such_thing' is installed"),
        (["weights=package:pytest"], "holds 0 files of weights"),
        (["weights=other.npz"], "missing: "),
        (["layer_decay=0"], "transfer.layer_decay"),
        (["layer_decai=0.5"], "did you mean 'transfer.layer_decay'?"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_leaves_nothing(here: Path, launch: Callable, words: list[str], message: str) -> None:
    np.savez("other.npz", kernel=np.zeros((3, 3), np.float32))
    said = launch(*TRAIN, *[f"--config.transfer.{word}" for word in words], "--workdir=run")
    assert said.code == 2 and said.err.count("\n") == 1 and message in said.err
    assert not Path("run").exists()


def test_weights_that_changed_since_the_run_began_are_refused(here: Path, launch: Callable, tensors: Tensors) -> None:
    weights = "--config.transfer.weights=weights.safetensors"
    assert launch(*TRAIN, weights, "--config.duration=1 steps", "--workdir=run").code == 0
    for path in Path("run/checkpoints").glob("*"):
        path.rename(Path("run") / f"gone-{path.name}")
    files.write("weights.safetensors", {name: tensor + 1 for name, tensor in tensors.items()})
    said = launch(*TRAIN, weights, "--config.duration=1 steps", "--workdir=run")
    assert said.code == 2 and "have changed since the run" in said.err


def test_a_run_folder_from_before_there_was_transfer_goes_on(here: Path, launch: Callable) -> None:
    assert launch(*TRAIN, "--workdir=run").code == 0
    config = json.loads(Path("run/config.json").read_text())
    del config["transfer"], config["data"]["labels"]
    Path("run/config.json").write_text(json.dumps(config))
    said = launch(*TRAIN, "--workdir=run")
    assert said.code == 0 and "is complete" in said.out
    assert launch("eval", "run").code == 0
