"""Tasks of other kinds go all the way: a class for every pixel, boxes, several labels, two views with a teacher.

Each is one file in toys/, with a module beside it that draws and words its results; nothing between the command line
and the loop knows of them. Each is trained, killed and gone on with, evaluated, asked and drawn.
"""

import json
import multiprocessing
import re
import runpy
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image

from cnn_jax.data.files import read_example
from cnn_jax.data.source import opened
from cnn_jax.launch import cli, experiment_file
from cnn_jax.report import log
from cnn_jax.train import checkpoint
from cnn_jax.train.predictor import load, predict
from cnn_jax.train.run import assemble
from cnn_jax.train.state import AVERAGED

TESTS = Path(__file__).parent
CHILD = str(TESTS / "train" / "child_run.py")
TOYS = ("dense", "boxes", "tags", "views")
STEPS = 8


@pytest.fixture(scope="module", autouse=True)
def on_the_path() -> Any:
    """A report's module is found by its name, as a user's would be: beside the experiment, on Python's path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TESTS))
        yield


def file_of(toy: str) -> Path:
    return TESTS / "toys" / f"{toy}.py"


class Runs(NamedTuple):
    """The folders of a run that was left alone, and of one that was killed after its checkpoint of step 4."""

    toy: str
    undisturbed: Path
    killed: Path


@pytest.fixture(scope="module", params=TOYS)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    toy, folder = request.param, tmp_path_factory.mktemp(request.param)
    found = Runs(toy, folder / "undisturbed", folder / "killed")
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cnn_jax.launch.training", "cnn_jax.commands.train", "sklearn.datasets"])
    output = folder / "killed.output"
    settings = (["train", str(file_of(toy)), f"--workdir={found.killed}"], "sealed", 4, str(output))
    child = context.Process(
        target=runpy.run_path, args=(CHILD,), kwargs={"init_globals": {"SETTINGS": settings}}, daemon=True
    )
    child.start()
    assert cli.main(["train", str(file_of(toy)), f"--workdir={found.undisturbed}"]) == 0
    child.join(120)
    assert child.exitcode == -signal.SIGKILL, output.read_text()
    assert checkpoint.newest_good(found.killed / "checkpoints") == 4
    return found


@pytest.fixture
def run(runs: Runs, tmp_path: Path) -> Path:
    """A copy of the undisturbed run, free to be changed."""
    return Path(shutil.copytree(runs.undisturbed, tmp_path / "run"))


def arrays(toy: str, folder: Path) -> dict[str, np.ndarray]:
    """All arrays of the last state by path: weights, collections, optimizer, average and counters."""
    config = experiment_file.load(str(file_of(toy)))[1]
    source = opened(config.data.source, validation=config.data.validation)["train"]
    target = assemble(config, source.spec, len(source)).engine.target
    state = checkpoint.restore(folder / "checkpoints", STEPS, target)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(state)}


def rows(folder: Path) -> list[dict[str, Any]]:
    measured = ("time", "examples_per_second")
    return [{name: value for name, value in row.items() if name not in measured} for row in log.read(folder)]


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def test_a_report_that_is_not_there_is_said_before_the_training(launch: Callable, tmp_path: Path) -> None:
    path = tmp_path / "tags.py"
    path.write_text(file_of("tags").read_text().replace("toys.tags_report", "toys.nothing"))
    said = launch("train", path, f"--workdir={tmp_path / 'run'}")
    assert said.code == 2 and not (tmp_path / "run").exists()
    assert (
        said.err
        == "error: the task's report 'toys.nothing' cannot be imported: add the folder it is in to PYTHONPATH\n"
    )


COLLECTIONS = {
    "dense": (),
    "boxes": (".model_state['batch_stats']", ".ema['batch_stats']"),
    "tags": (".opt_state[0].mu",),
    "views": (".model_state['teacher']", ".model_state['queue']", ".ema['params']"),
}


def test_a_killed_run_ends_bit_for_bit_as_one_that_was_left_alone(runs: Runs, launch: Callable, tmp_path: Path) -> None:
    shutil.copytree(runs.killed, tmp_path / "run")
    said = launch("train", file_of(runs.toy), f"--workdir={tmp_path / 'run'}")
    assert said.code == 0 and "going on from step 4" in said.out
    found, expected = arrays(runs.toy, tmp_path / "run"), arrays(runs.toy, runs.undisturbed)
    assert found.keys() == expected.keys()
    different = {path for path in found if found[path].tobytes() != expected[path].tobytes()}
    assert different == set()
    for part in (".params", ".opt_state", *COLLECTIONS[runs.toy]):
        leaves = [array for path, array in expected.items() if path.startswith(part)]
        assert leaves and any(np.abs(leaf).max() > 0 for leaf in leaves), part
    assert not any("teacher" in path or "queue" in path for path in found if path.startswith(".ema"))
    assert rows(tmp_path / "run") == rows(runs.undisturbed)
    assert results(tmp_path / "run")["test"] == results(runs.undisturbed)["test"]


HEADLINES = {"dense": "mean_iou", "boxes": "iou", "tags": "f1", "views": "spread"}
TABLES = {"dense": {"pairs", "iou"}, "boxes": set(), "tags": {"counts", "f1"}, "views": set()}
LINES = {
    "dense": [r"iou of nothing: [01]\.\d{3}", r"iou of dim: [01]\.\d{3}", r"iou of bright: [01]\.\d{3}"],
    "boxes": ["boxes are in pixels"],
    "tags": [r"f1 of low: [01]\.\d{3}", r"f1 of middle: [01]\.\d{3}", r"f1 of high: [01]\.\d{3}"],
    "views": ["embeddings lie on a sphere"],
}
UNITS = {"dense": "30 images", "boxes": "30 images", "tags": "30 signals", "views": "899 images"}


def test_it_is_logged_scored_and_drawn(runs: Runs) -> None:
    headline = HEADLINES[runs.toy]
    assert [row["step"] for row in rows(runs.undisturbed) if row["split"] == "train"] == [3, 6, 8]
    validated = [row for row in rows(runs.undisturbed) if row["split"] == "validation"]
    assert [row["step"] for row in validated] == [4, 8] and all({"loss", headline} <= row.keys() for row in validated)
    found = results(runs.undisturbed)
    assert found["test"].keys() == {"loss", headline, "interval95"} and found["validation"]["step"] == STEPS
    best = max(validated, key=lambda row: row[headline])  # the first of equals
    assert found["best_step"] == best["step"]
    if runs.toy == "boxes":
        low, high = found["test"]["interval95"]["iou"]
        assert low <= found["test"]["iou"] <= high and low < high
    with np.load(runs.undisturbed / "tables" / "test.npz") as tables:
        assert set(tables) == {"classes", *TABLES[runs.toy]}
    assert min(Image.open(runs.undisturbed / "figures" / "learning_curves.png").size) > 100


def test_eval_prints_numbers_and_the_lines_of_its_report(runs: Runs, run: Path, launch: Callable) -> None:
    said = launch("eval", run)
    assert said.code == 0 and said.err.count("\n") == 1 and "experiment.py' is run" in said.err
    title, *lines = said.out.splitlines()
    assert title.startswith(f"{UNITS[runs.toy]}, test split of ") and title.endswith("checkpoint of step 8")
    expected = results(run)["test"]
    for line, name in zip(lines, ("loss", HEADLINES[runs.toy]), strict=False):
        assert re.match(rf"  {name} +{expected[name]:.4f}", line), line
    for line, pattern in zip(lines[2:], LINES[runs.toy], strict=False):
        assert re.fullmatch(f"  {pattern}", line), line
    folder = run / "evaluations" / "test-step8"
    again = json.loads((folder / "scores.json").read_text())
    assert again[HEADLINES[runs.toy]] == pytest.approx(expected[HEADLINES[runs.toy]], rel=1e-5)  # on eight devices
    with np.load(folder / "tables.npz") as tables:
        assert set(tables) == {"classes", *TABLES[runs.toy]}
    assert (folder / "learning_curves.png").is_file()


def test_predict_says_and_draws_what_the_task_means(
    runs: Runs, run: Path, launch: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw, file = np.random.default_rng(0), tmp_path / "example.png"
    if runs.toy == "tags":
        file = tmp_path / "example.npy"
        np.save(file, np.sin(0.9 * np.arange(32, dtype=np.float32)))
    else:
        shape = {"dense": (8, 8), "boxes": (24, 36), "views": (8, 8)}[runs.toy]
        Image.fromarray(draw.integers(80, size=shape).astype(np.uint8)).save(file)
    said = launch("predict", run, file)
    assert said.code == 0 and said.err.count("\n") == 1 and "experiment.py' is run" in said.err
    picture = run / "predictions" / f"{file.name}.predicted.png"
    title, *lines, drawn = said.out.splitlines()
    assert (title, drawn) == (str(file), f"  drawn in {picture}") and min(Image.open(picture).size) > 100

    predictor = load(run, devices=jax.devices()[:1]).predictor
    example, _ = read_example(file, predictor.spec)
    outputs = predict(predictor, {next(iter(predictor.spec.inputs)): example[None]})
    (output,) = (array[0] for array in outputs.values())
    if runs.toy == "boxes":
        # 24 x 36 pixels lie in 12 x 12 as 8 x 12, two below the top: three pixels of the original for each.
        left, top, right, bottom = output
        there = np.clip([3 * left, 3 * (top - 2), 3 * right, 3 * (bottom - 2)], 0, [36, 24, 36, 24])
        found = np.array([float(word) for word in lines[0].split()[1:]])
        np.testing.assert_allclose(found, there, atol=0.006)
        assert ((there > 0) & (there < 24))[1::2].any()  # one that the two pixels moved, not the border
    elif runs.toy == "dense":
        counts = [f"  {name}: {(output == k).sum()} pixels" for k, name in enumerate(predictor.spec.classes)]
        assert lines == counts
    elif runs.toy == "tags":
        assert lines == [f"  {p:.2f} {name}" for p, name in zip(output, predictor.spec.classes, strict=True)]
    else:
        assert lines == ["  length 1.000"] and output.shape == (8,)


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("views") / "run"
    assert cli.main(["train", str(file_of("views")), f"--workdir={folder}"]) == 0
    return folder


def test_two_views_are_compared_over_the_whole_batch(launch: Callable, tmp_path: Path) -> None:
    said = launch("train", file_of("views"), f"--workdir={tmp_path / 'run'}", "--config.optim.accumulate=2")
    assert said.code == 2 and said.err.count("\n") == 1 and not (tmp_path / "run").exists()
    assert said.err.startswith("error: optim.accumulate = 2 cuts the batch into parts, but this task's loss compares")


def test_teacher_and_queue_move_but_are_not_averaged(views: Path) -> None:
    variables = flatten_dict(checkpoint.restore_variables(views / "checkpoints", STEPS), sep="/")
    state = arrays("views", views)
    assert {path.split("/")[0] for path in variables} == {"params", "teacher", "queue"}
    averaged = {path.split("'")[1] for path in state if path.startswith(".ema")}
    assert averaged <= {"params", *AVERAGED}
    for path, value in variables.items():
        collection, *words = path.split("/")
        keys = "".join(f"['{word}']" for word in words)
        part = f".ema['{collection}']{keys}" if collection in averaged else f".model_state['{collection}']{keys}"
        np.testing.assert_array_equal(value, state[part], err_msg=path)
    assert state[".model_state['queue']['next']"] == STEPS * 16 % 32
    student, teacher, average = (
        state[f"{part}['backbone']['hidden']['kernel']"]
        for part in (".params", ".model_state['teacher']['params']", ".ema['params']")
    )
    assert not np.array_equal(student, teacher) and not np.array_equal(student, average)


@pytest.mark.parametrize(
    ("part", "origin"),
    [
        ("backbone", "params/backbone"),
        ("params/backbone", "params/backbone"),
        ("teacher/backbone", "teacher/params/backbone"),
        ("teacher/params/backbone", "teacher/params/backbone"),
    ],
)
def test_a_probe_takes_a_part_of_the_student_or_of_the_teacher(
    views: Path, part: str, origin: str, launch: Callable, tmp_path: Path
) -> None:
    words = probe(views, part, "--config.transfer.frozen=backbone", "--config.optim.ema=0.9")
    said = launch("train", file_of("views"), f"--workdir={tmp_path / 'run'}", *words)
    assert said.code == 0 and said.err == ""
    assert "170 trained" in said.out  # the classifier's 16 x 10 + 10
    before, after = (
        flatten_dict(checkpoint.restore_variables(run / "checkpoints", STEPS), sep="/")
        for run in (views, tmp_path / "run")
    )
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(after[f"params/hidden/{name}"], before[f"{origin}/hidden/{name}"])
    assert after["params/classifier/kernel"].any()
    record = json.loads((tmp_path / "run" / "weights.json").read_text())
    assert record["part"] == part and record["arrays"] == 2


def test_a_part_that_is_none_is_said(views: Path, launch: Callable, tmp_path: Path) -> None:
    for part, says in {
        "backbon": "transfer.part = 'backbon' is no part of them: did you mean 'backbone'?",
        "teacher": "missing: params/hidden/",  # the whole encoder, not its backbone
        "teacher/projectin": "'teacher/projectin' is no part of them: did you mean 'teacher/projection'?",
    }.items():
        said = launch("train", file_of("views"), f"--workdir={tmp_path / 'run'}", *probe(views, part))
        assert said.code == 2 and said.err.count("\n") == 1 and says in said.err, said.err
        assert not (tmp_path / "run").exists()


def probe(weights: Path, part: str, *more: str) -> list[str]:
    """Flags that make a classifier of the experiment with two views, beginning with a part of a run of it."""
    return [
        "--config.model.build=experiment.Probe",
        "--config.model.task=classify",
        "--config.augment=identity",
        f"--config.transfer.weights={weights}",
        f"--config.transfer.part={part}",
        *more,
    ]


def test_nothing_of_them_is_known_between_the_command_line_and_the_loop() -> None:
    """The four tasks were written without a line for them in the parts that they go through."""
    words = re.compile(r"\b(class_map|box_labels|instance_map|teacher)\b|[\"']queue[\"']")
    for part in ("train", "launch", "commands"):
        for path in sorted((TESTS.parent / "cnn_jax" / part).rglob("*.py")):
            code = re.sub(r'""".*?"""|#[^\n]*', "", path.read_text(), flags=re.DOTALL)
            assert not words.search(code), path
    assert "toys" not in {name.split(".")[0] for name in sys.modules if name.startswith("cnn_jax")}
