"""explain RUN --benchmark and --timeline, and explanations as an evaluation during training."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.explain import benchmark as benchmarks
from cnn_jax.explain import verdicts as sanity
from cnn_jax.explain.truth.similarity import verdict
from cnn_jax.launch import explanations
from cnn_jax.report import log

pytestmark = pytest.mark.usefixtures("no_pictures")
TINY = "experiments/tiny.py"


@pytest.fixture
def quick(monkeypatch) -> None:
    """What is measured is tested in tests/explain: here are numbers in its place."""
    draw = np.random.default_rng(0)

    def benchmark(predictor, inputs, methods, *, masks, index, layer, seed, done):
        names = [*methods, *benchmarks.CONTROLS]
        assert (
            masks(np.arange(4), {"class": np.zeros(4, int)}) is None
            and inputs["image"].shape == (4, 8, 8, 1)
            and index[-1] == 898
        )
        return benchmarks.Benchmark(names, draw.random((len(names), len(benchmarks.MEASURES), 4)), index, ["one"] * 4)

    def verdicts(predictor, other, inputs, methods, *, memorised, layer, seed, done):
        labels = None if memorised is None else verdict(draw.random(4), draw.random(4))
        return {name: sanity.Sanity(verdict(draw.random(4), draw.random(4)), None, labels) for name in methods}

    monkeypatch.setattr(benchmarks, "benchmark", benchmark)
    monkeypatch.setattr(sanity, "verdicts", verdicts)


def test_the_benchmark_of_a_run_is_printed_and_written(run: Path, tmp_path: Path, launch, quick) -> None:
    other = tmp_path / "other"
    assert launch("train", run / "experiment.py", f"--workdir={other}", "--config.seed=1").code == 0
    how = ("--benchmark", "--methods=gradient", "--examples=4")
    by_heart = tmp_path / "by_heart"
    source = "--config.data.source=shuffled_labels(source='digits')"
    said = launch("train", run / "experiment.py", f"--workdir={by_heart}", source)
    assert said.code == 0 and "all 898 training examples of digits are in random order" in said.err
    said = launch("explain", run, *how, f"--second={other}", f"--randomised={by_heart}")
    assert said.code == 0, said.err
    assert "of random labels" in said.out
    assert "4 of 899 images, test split of digits, step 6" in said.out
    assert "gradient" in said.out and "centre" in said.out and "sanity " in said.out
    out = run / "explanations"
    rows = (out / "benchmark.csv").read_text().splitlines()
    assert rows[0].startswith("method,mean_rank,measure,better") and any(row.startswith("gradient,") for row in rows)
    assert np.load(out / "benchmark.npz")["values"].shape[0] == 4 and (out / "benchmark.png").is_file()
    stamped = explanations.verdicts_of(run, 6)
    assert stamped["gradient"].startswith("sanity ") and explanations.verdicts_of(run, 5) == {}
    (out / explanations.VERDICTS).write_text(json.dumps({"step": 6, "verdicts": {"gradient": "a\nb" * 200}}))
    assert "\n" not in explanations.verdicts_of(run, 6)["gradient"]
    # Before anything is computed:
    for second, says in ((run, "has the weights of"), (tmp_path / "none", "is not a run folder")):
        said = launch("explain", run, *how, f"--second={second}")
        assert said.code == 2 and says in said.err and said.err.count("\n") <= 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--benchmark", "a.png"), "take one run folder and no inputs"),
        (("--second=x",), "--second is for --benchmark"),
        (("--benchmark", "--randomised=x"), "--randomised needs --second"),
        (("--benchmark", "--methods=grad_cm"), "did you mean 'grad_cam'"),
        (("--benchmark", "--methods=grad_cam", "--examples=2"), "no feature map with extent"),
        (("--timeline",), "Net has no convolution"),
        (("--benchmark", "--split=val"), "split must be one of"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(run: Path, launch, words, says) -> None:
    said = launch("explain", run, *words)
    assert said.code == 2 and says in said.err, said.err
    assert "Traceback" not in said.err


def test_explanations_are_tested_while_a_run_trains(project: Path, launch) -> None:
    also = "explanations(method='input_x_gradient', examples=5, split='test')"
    said = launch("train", TINY, "--workdir=run", f"--config.evaluate.also={also}", "--config.evaluate.every=6 steps")
    assert said.code == 0, said.err
    (row,) = [row for row in log.read(Path("run")) if row["split"] == "explained_by_input_x_gradient"]
    assert {"deletion", "deletion_random", "insertion", "insertion_random", "sparseness"} <= row.keys()
    shutil.rmtree("run")
    said = launch("train", TINY, "--workdir=run", "--config.evaluate.also=explanations(method='grad_cam')")
    assert said.code == 2 and "grad_cam needs feature maps" in said.err
