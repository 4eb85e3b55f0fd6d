"""train: what a run leaves behind, when it goes on, and when it refuses to."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax import config as configuration
from cnn_jax.data import digits
from cnn_jax.lookup import load_file
from cnn_jax.report import log
from cnn_jax.train import run_folder

pytestmark = pytest.mark.usefixtures("no_pictures")
TINY = "experiments/tiny.py"
ROOT = Path(__file__).parents[2]


def test_the_run_folder_describes_itself(trained):
    config = json.loads((trained / "config.json").read_text())
    load_file(str(trained / "experiment.py"))
    assert configuration.to_json(configuration.from_json(config)) == config
    assert config["optim"]["lr"] == 0.05 and config["duration"] == "6 steps"
    assert "Digits, but tiny." in (trained / "experiment.py").read_text()
    versions = json.loads((trained / "versions.json").read_text())
    assert {"python", "jax", "flax", "optax", "numpy", "git"} <= versions.keys()
    data = json.loads((trained / "data.json").read_text())
    assert data["examples"] == 898 - 90 and len(data["fingerprint"]) == 64 and len(data["classes"]) == 10
    assert next((trained / "tensorboard").glob("events.out.tfevents.*")).stat().st_size > 100
    assert sorted(p.name for p in (trained / "checkpoints").iterdir() if p.is_dir()) == ["4", "6"]


def test_the_log_has_a_row_where_one_is_due(trained):
    rows = log.read(trained)
    assert [row["step"] for row in rows if row["split"] == "train"] == [2, 4, 6]
    assert [row["step"] for row in rows if row["split"] == "validation"] == [4, 6]
    assert {"loss", "top1", "learning_rate", "epoch", "examples_per_second"} <= rows[0].keys()


def test_results_have_their_shape(trained):
    results = json.loads((trained / "results.json").read_text())
    assert {"top1", "top5", "nll", "brier", "ece"} <= results["test"].keys()
    assert 0 <= results["test"]["top1"] <= 1 and "confusion" not in results["test"]
    with np.load(trained / "tables" / "test.npz") as tables:
        assert tables["confusion"].shape == (10, 10) and tables["confusion"].sum() == 899
        assert tables["classes"].tolist() == [str(digit) for digit in range(10)]
    low, high = results["test"]["interval95"]["top1"]
    assert low <= results["test"]["top1"] <= high
    assert results["seed"] == 0 and results["steps"] == 6 and results["headline"] == "top1"
    seconds = results["seconds"]
    assert 0 < seconds["train"] <= seconds["total"] and 0 < seconds["compile"] <= seconds["total"]
    cost, forward = results["cost"], 64 * 16 + 16 * 10
    assert cost["multiply_adds"] == forward
    # The gradients of both kernels, and of what the second layer reads.
    assert cost["step_multiply_adds"] == 16 * (2 * forward + 16 * 10)
    assert 0 < cost["share_of_peak"] < 1 and cost["memory"] > 10**8 and cost["joules"] > 0
    assert cost["joules_by"].startswith("estimated: 12 W")


def test_a_few_steps_are_profiled(project, launch):
    said = launch("train", TINY, "--profile=2", "--workdir=run")
    assert said.code == 0 and "\nprofile of 2 steps of 16, " in said.out and "cost: 40.4 k multiply-adds" in said.out
    table = Path("run/profile/table.txt").read_text()
    assert table in said.out and "optimizer" in table


def test_pictures_and_outputs(trained):
    names = {"learning_curves.png", "confusion_matrix.png", "mistakes.png"}
    assert names <= {path.name for path in (trained / "figures").iterdir()}
    for name in names:
        assert min(Image.open(trained / "figures" / name).size) > 100
    logits, labels, index = (np.load(trained / "outputs" / f"{name}.npy") for name in ("logits", "label", "index"))
    top1 = (logits.argmax(-1) == labels).mean()
    assert logits.shape == (899, 10) and index.tolist() == list(range(899))
    assert top1 == pytest.approx(json.loads((trained / "results.json").read_text())["test"]["top1"])


def test_a_complete_run_says_so_and_stays_as_it_is(project, run, launch, contents):
    before = contents(run)
    said = launch("train", TINY, f"--workdir={run}")
    assert said.code == 0 and "complete" in said.out and "--fresh" in said.out
    after = contents(run)
    assert {name for name in before if before[name] != after.get(name)} <= {
        "data.json",
        "versions.json",
        "experiment.py",
    }
    assert after["data.json"] == before["data.json"]


def test_a_stopped_run_goes_on(project, run, launch):
    """Without its last checkpoint and results the run is one that was killed after step 4."""
    for path in ("checkpoints/6.sha256", "results.json"):
        (run / path).unlink()
    expected = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    said = launch("train", TINY, f"--workdir={run}")
    assert said.code == 0 and "going on from step 4" in said.out
    assert "checkpoint of step 6 was never finished" in said.err
    rows = log.read(run)
    assert [row["step"] for row in rows if row["split"] == "train"] == [2, 4, 6]
    assert rows[-1]["nll"] == pytest.approx(expected["nll"], rel=1e-6)


def test_the_source_in_the_run_folder_goes_on_too(project, run, launch):
    said = launch("train", run / "experiment.py", f"--workdir={run}")
    assert said.code == 0 and "complete" in said.out


def test_another_configuration_is_refused_by_field(project, run, launch, contents):
    before = contents(run)
    said = launch("train", TINY, f"--workdir={run}", "--config.optim.lr=0.1", "--config.optim.build=adamw(b1=0.8)")
    assert said.code == 2 and "--fresh" in said.err
    assert "optim.lr: 0.05 -> 0.1" in said.err
    assert "optim.build: cnn_jax.train.optim.sgd -> cnn_jax.train.optim.adamw(b1=0.8)" in said.err
    assert "duration" not in said.err
    assert contents(run) == before


def test_fresh_moves_the_old_run_aside(project, run, launch, contents):
    before = contents(run)
    said = launch("train", TINY, f"--workdir={run}", "--fresh", "--config.duration=2steps")
    aside = run.with_name("run.old-1")
    assert said.code == 0 and str(aside) in said.out
    assert contents(aside) == before
    assert json.loads((run / "results.json").read_text())["steps"] == 2


def test_fresh_leaves_the_old_run_where_the_new_one_cannot_begin(project, run, launch, contents):
    before = contents(run)
    said = launch("train", TINY, f"--workdir={run}", "--fresh", "--config.data.source=npz:nothing.npz")
    assert said.code == 2 and contents(run) == before
    assert not run.with_name("run.old-1").exists()


@pytest.mark.parametrize("flag", ["--nofresh", "--fresh"])
def test_two_processes_in_one_folder_are_refused(project, run, launch, flag):
    with run_folder.opened(run):
        said = launch("train", TINY, f"--workdir={run}", flag)
    assert said.code == 2 and "another process is training" in said.err


def test_a_run_killed_before_it_began_can_begin(project, launch):
    with run_folder.opened(project / "run"):
        pass
    assert launch("train", TINY, "--workdir=run", "--config.duration=1steps").code == 0


def test_changed_data_is_refused(project, run, launch, monkeypatch):
    images, labels = digits._arrays()
    monkeypatch.setattr(digits, "_arrays", lambda: (255 - images, labels))
    said = launch("train", TINY, f"--workdir={run}")
    assert said.code == 2 and "has changed since the run" in said.err and "--fresh" in said.err


def test_seeds_make_a_folder_each_and_a_summary(project, launch):
    said = launch("train", TINY, "--seeds=0,3", "--config.duration=2 steps", "--config.data.validation=0")
    assert said.code == 0 and "±" in said.out
    runs = [project / "runs" / "tiny" / name for name in ("seed0", "seed3")]
    results = [json.loads((run / "results.json").read_text()) for run in runs]
    assert [result["seed"] for result in results] == [0, 3]
    assert json.loads((runs[1] / "config.json").read_text())["seed"] == 3
    losses = [result["test"]["nll"] for result in results]
    assert losses[0] != losses[1]
    summary = json.loads((project / "runs" / "tiny" / "summary.json").read_text())
    assert summary["nll"]["values"] == losses and summary["nll"]["n"] == 2
    assert summary["nll"]["mean"] == pytest.approx(np.mean(losses))
    assert summary["nll"]["stdev"] == pytest.approx(np.std(losses, ddof=1))


def test_flags_override_fields(project, launch):
    flags = {
        "optim.lr": "0.5",
        "optim.schedule": "cosine(final=0.1)",
        "augment": "compose(flip, shift(pixels=2))",
        "compute.remat": "true",
        "data.validation": "0",
    }
    words = [f"--config.{name}={value}" for name, value in flags.items()]
    assert launch("train", TINY, *words, "--config.duration", "1 steps", "--workdir=run").code == 0
    config = json.loads((project / "run" / "config.json").read_text())
    assert config["optim"]["lr"] == 0.5 and config["compute"]["remat"] is True and config["duration"] == "1 steps"
    assert config["optim"]["schedule"] == "cnn_jax.train.schedules.cosine(final=0.1)"
    assert "flip, cnn_jax.augment.geometry.shift(pixels=2)" in config["augment"]
    assert log.read(project / "run")[0]["learning_rate"] == pytest.approx(0.5)


def test_plain_lines_where_there_is_no_terminal(project, launch):
    said = launch("train", TINY, "--config.duration=3 steps", "--workdir=run")
    lines = [line for line in said.out.splitlines() if line.startswith("step ")]
    assert lines[0].startswith("step 1/3  epoch ") and lines[-1].startswith("step 3/3")
    assert "loss" in lines[-1] and "\x1b" not in said.out and "\r" not in said.out
    assert said.err == ""


def test_help_teaches_the_fields(project, launch):
    said = launch("train", "--help")
    assert said.code == 0 and "--fresh" in said.out and "--workdir" in said.out
    for name, field in configuration.fields():
        assert f"--config.{name}\n        {field.metadata['help']} (" in said.out
    said = launch("train", TINY, "--help")
    assert said.code == 0 and "--config.optim.lr=0.05" in said.out
    assert "--config.model.build=experiment.Net(hidden=16)" in said.out


def test_in_a_process_of_its_own_nothing_but_its_lines_is_said(project):
    words = ["train", TINY, "--config.duration=2 steps", "--workdir=run"]
    done = subprocess.run([sys.executable, ROOT / "launch.py", *words], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert "test: loss" in done.stdout and "\x1b" not in done.stdout


def test_an_experiment_file_runs_itself(project):
    words = [ROOT / "experiments" / "digits.py", "--config.optim.lr=nan"]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "error: optim.lr = nan must be a finite number\n"


def test_data_without_a_test_split_is_refused_before_training(project, launch):
    np.savez(project / "only.npz", train_images=np.zeros((20, 8, 8), np.uint8), train_labels=np.arange(20) % 2)
    said = launch("train", TINY, "--config.data.source=npz:only.npz", "--workdir=new")
    error = said.err.splitlines()[-1]
    assert said.code == 2 and error.startswith("error: npz:only.npz has no test split, but train, validation: ")
    assert "evaluate.test=never" in error
    assert not (project / "new").exists()


def test_an_experiment_that_needs_a_module_beside_it_is_refused(project, launch, monkeypatch):
    """The run folder holds the experiment's file alone, and the run could never be scored."""
    source = (project / TINY).read_text()
    (project / "helper_of_mine.py").write_text(source)
    (project / "mine.py").write_text("from helper_of_mine import Net, experiment\n")
    monkeypatch.syspath_prepend(str(project))
    said = launch("train", "mine.py", "--workdir=new")
    assert said.code == 2 and "imports 'helper_of_mine' from beside it" in said.err and not (project / "new").exists()


@pytest.mark.parametrize("name", ["config.json", "data.json"])
@pytest.mark.parametrize("damage", ["", "{", None])
def test_what_describes_the_run_is_written_anew_where_the_checkpoint_agrees(name, damage, project, run, launch):
    expected = json.loads((run / name).read_text())
    (run / name).unlink() if damage is None else (run / name).write_text(damage)
    said = launch("train", TINY, f"--workdir={run}", "--config.optim.lr=0.1")
    assert said.code == 2 and "optim.lr: 0.05 -> 0.1" in said.err
    said = launch("train", TINY, f"--workdir={run}")
    assert said.code == 0 and "complete" in said.out and json.loads((run / name).read_text()) == expected
    assert (run / f"{name}.bad").exists() == (damage is not None) == ("renamed to" in said.err)


def test_changed_data_is_refused_without_their_description_too(project, run, launch, monkeypatch):
    (run / "data.json").unlink()
    images, labels = digits._arrays()
    monkeypatch.setattr(digits, "_arrays", lambda: (255 - images, labels))
    said = launch("train", TINY, f"--workdir={run}")
    assert said.code == 2 and "has changed since the run" in said.err


@pytest.mark.parametrize("damage", ["{}", '{"test": {"top1"', '{"test": 1, "validation": null, "seconds": {}}', "seed"])
def test_damaged_results_are_computed_again(damage, project, run, launch):
    before = json.loads((run / "results.json").read_text())
    if damage == "seed":  # the results of another run
        damage = json.dumps({**before, "seed": 99})
    (run / "results.json").write_text(damage)
    said = launch("train", TINY, f"--workdir={run}")
    assert said.code == 0 and "is damaged, or another run's: the run is scored again" in said.err
    after = json.loads((run / "results.json").read_text())
    assert [after[part]["interval95"] for part in ("test", "validation")] == [
        before[part]["interval95"] for part in ("test", "validation")
    ]


@pytest.mark.parametrize(
    "setting", ["seed=2**70", "seed=1180591620717411303424", "keep=99999999999", "max_skipped=3e9"]
)
def test_numbers_that_no_device_counts_to_are_refused(setting, project, launch):
    said = launch("train", TINY, "--workdir=new", f"--config.{setting}")
    assert said.code == 2 and len(said.err.splitlines()) == 1 and not (project / "new").exists()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("data.batch_size=1000000000000", "must be at most 2147483647"),
        ("data.batch_size=1000000000", "larger than the training split of 808"),
        ("evaluate.batch_size=1000000000000", "must be at most 2147483647"),
        ("duration=99999999999999999999999 steps", "is more than 2147483647 steps"),
        (f"save_every={'9' * 400} steps", "is more than 2147483647 steps"),
        ("optim.warmup=50 epochs", "longer than the training of 6"),
    ],
)
def test_what_is_too_large_is_refused_at_once(setting, says, project, launch):
    said = launch("train", TINY, "--workdir=new", f"--config.{setting}")
    assert said.code == 2 and says in said.err and not (project / "new").exists()


def test_the_files_of_a_desktop_are_no_run_of_someone_else(project, launch):
    (project / "new").mkdir()
    (project / "new" / ".DS_Store").write_bytes(b"\xff")
    assert launch("train", TINY, "--workdir=new", "--config.duration=1steps").code == 0
