"""What is evaluated beside the validation split, what is not, and what is kept of it: the settings under `evaluate`."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data.digits import digits
from cnn_jax.report import log

pytestmark = pytest.mark.usefixtures("no_pictures")
TINY = "experiments/tiny.py"
NEVER = "--config.evaluate.test=never"


@pytest.fixture
def scans(project: Path) -> Path:
    """60 of the test digits as files without splits, as another source has them."""
    test = digits()["test"].arrays
    for number in range(60):
        path = project / "scans" / str(test["label"][number]) / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(test["image"][number, ..., 0]).save(path)
    return project / "scans"


def read(path: str) -> dict:
    return json.loads(Path(path).read_text())


def rows(run: str, split: str) -> list[dict]:
    return [row for row in log.read(Path(run)) if row["split"] == split]


def test_another_domain_is_logged_written_and_printed(scans: Path, launch: Callable) -> None:
    elsewhere = "elsewhere(source='folder:scans', name='paper', every='2 steps')"  # read as the run's data
    said = launch("train", TINY, "--workdir=run", f"--config.evaluate.also={elsewhere}")
    assert "\npaper: loss " in said.out
    assert said.code == 0
    assert said.err == "warning: folder:scans: it has no splits: all of it is scored as test\n"
    assert [row["step"] for row in rows("run", "validation")] == [4, 6]
    assert [row["step"] for row in rows("run", "paper")] == [2, 4, 6]  # at its own times
    last = rows("run", "paper")[-1]
    results = read("run/results.json")
    validated = rows("run", "validation")[-1]
    for found, row in ((results["also"]["paper"], last), (results["validation"], validated)):
        intervals = found.pop("interval95")
        assert found == row and intervals.keys() == {"top1", "top5", "nll", "brier", "ece"}
        assert all(low <= row[name] <= high for name, (low, high) in intervals.items() if name != "ece")
    logits, labels = (np.load(f"run/outputs/{name}.npy")[:60] for name in ("logits", "label"))
    assert last["top1"] == pytest.approx((logits.argmax(-1) == labels).mean())  # they are the first of the test split

    said = launch("eval", "run")
    assert said.code == 0 and said.err.count("\n") == 1 and "experiment.py' is run" in said.err
    lines = said.out.splitlines()
    begin = lines.index("paper: 60 images of folder:scans")
    assert lines[begin + 2].startswith(f"  top1  {last['top1']:.4f}   95 % interval ")
    said = launch("eval", "run", "--data=folder:scans")  # of other data this alone is wanted
    assert said.code == 0 and "60 images, all of folder:scans" in said.out and "paper" not in said.out


def test_its_own_name_and_times_are_those_of_the_source_and_the_validation(scans: Path, launch: Callable) -> None:
    also = "--config.evaluate.also=elsewhere(source='folder(scans, channels=1)')"
    assert launch("train", TINY, "--workdir=run", also, "--config.data.validation=0").code == 0
    assert [row["step"] for row in rows("run", "folder:scans")] == [4, 6]
    assert read("run/results.json")["validation"] is None
    # A configuration of another evaluation is another configuration.
    said = launch("train", TINY, "--workdir=run", "--config.data.validation=0")
    assert said.code == 2 and "evaluate.also: " in said.err


@pytest.mark.parametrize(
    ("also", "says"),
    [
        (
            "elsewhere(source='folder(scans, size=9)')",
            "evaluate.also: 'folder:scans' has image (9, 9, 1) uint8 for 'image'",
        ),
        ("elsewhere(source='folder:nowhere')", "folder:nowhere is not a folder"),
        ("elsewhere(source='digits', split='validation')", "has no validation split"),
        ("elsewhere(source='folder(scans, channels=1)', every='often')", "'often' is not a duration"),
        (
            "elsewhere",
            "evaluate.also = cnn_jax.evals.also.elsewhere.elsewhere cannot be called as f(task, spec, splits)",
        ),
        ("elsewere(source='folder:scans')", "unknown name 'elsewere': did you mean 'elsewhere'?"),
    ],
)
def test_what_cannot_be_evaluated_is_said_before_training(scans: Path, launch: Callable, also: str, says: str) -> None:
    said = launch("train", TINY, "--workdir=run", f"--config.evaluate.also={also}")
    assert said.code == 2 and said.err.count("\n") == 1 and says in said.err, said.err
    assert not Path("run").exists()


OWN = '''

import numpy as np

from cnn_jax.batch import Batch
from cnn_jax.config import Evaluate
from cnn_jax.evals.also import Evaluation, several
from cnn_jax.evals.evaluator import Evaluator, Score, Scores


def dead(task, spec, splits, *, name="dead"):
    """The share of hidden units that say nothing of the validation split: another prediction, another score."""

    def predict(variables, batch):
        first = next(iter(batch.scaled().of("image").values()))
        layer = variables["params"]["Dense_0"]
        return {"active": first.reshape(len(first), -1) @ layer["kernel"] + layer["bias"] > 0}

    scored = Evaluator(
        start=lambda: np.zeros(16, int),
        add=lambda totals, outputs, batch: totals + outputs["active"].sum(0),
        merge=lambda a, b: a + b,
        finish=lambda totals: Scores({"share": Score(float((totals == 0).mean()))}, {"active": totals}),
    )
    return (Evaluation(name, splits["validation"], scored, predict, every="3 steps"),)
'''


def test_an_evaluator_with_a_prediction_of_its_own(project: Path, launch: Callable) -> None:
    tiny = Path(TINY).read_text()
    Path(TINY).write_text(tiny + OWN)
    also = "--config.evaluate.also=several(dead, experiment.dead(name='again'))"
    said = launch("train", TINY, "--workdir=run", also)
    assert said.code == 0 and said.err == ""
    assert [row["step"] for row in rows("run", "dead")] == [3, 6] == [row["step"] for row in rows("run", "again")]
    found = rows("run", "dead")[-1]
    assert 0 <= found["share"] < 1 and "loss" not in found
    assert read("run/results.json")["also"]["again"]["share"] == found["share"]
    said = launch("eval", "run")
    assert said.code == 0 and f"dead: 90 images of digits\n  share {found['share']:.4f}\n" in said.out


SEALED = '''

class Sealed:
    """A split that nobody may look at."""

    def __init__(self, spec):
        self.spec = spec

    def _looked_at(self, *_):
        raise AssertionError("the test split was looked at")

    __len__ = batch = strata = _looked_at


def sealed():
    splits = digits()
    return {**splits, "test": Sealed(splits["test"].spec)}
'''


@pytest.mark.parametrize("validation", ["0.1", "0"])
def test_a_run_may_leave_the_test_split_alone(project: Path, launch: Callable, validation: str) -> None:
    Path(TINY).write_text(Path(TINY).read_text() + SEALED)
    words = ("train", TINY, "--config.data.source=experiment.sealed", f"--config.data.validation={validation}")
    with pytest.raises(AssertionError, match="was looked at"):
        launch(*words, "--workdir=looks")
    said = launch(*words, NEVER, "--seeds=0,1", "--workdir=runs")
    assert said.code == 0 and "test" not in said.out
    results = [read(f"runs/seed{seed}/results.json") for seed in (0, 1)]
    summary = read("runs/summary.json")
    assert all(result["test"] is None for result in results)
    if validation == "0":
        assert all(result["validation"] is None for result in results)
        assert summary.keys() == {"seconds", "train_seconds"} and not Path("runs/seed0/tables").exists()
    else:
        top1 = [result["validation"]["top1"] for result in results]
        assert summary["top1"]["values"] == top1 and "interval95" in results[0]["validation"]
        assert "validation: loss " in said.out
        assert [path.name for path in Path("runs/seed0/tables").iterdir()] == ["validation.npz"]
        assert len(np.load("runs/seed0/outputs/label.npy")) == 90
    assert "is complete" in launch(*words, NEVER, "--seeds=0,1", "--workdir=runs").out


def test_data_without_a_test_split_serves_a_run_that_does_not_want_one(project: Path, launch: Callable) -> None:
    train = digits()["train"].arrays
    np.savez("only.npz", train_images=train["image"], train_labels=train["label"])
    words = ("train", TINY, "--config.data.source=npz:only.npz", "--workdir=run")
    said = launch(*words)
    assert said.code == 2 and "npz:only.npz has no test split" in said.err and not Path("run").exists()
    said = launch(*words, NEVER)
    assert said.code == 0 and "validation: loss " in said.out and read("run/results.json")["test"] is None
    assert launch("eval", "run", "--split=validation").code == 0


def test_outputs_are_kept_only_where_they_are_asked_for(run: Path, launch: Callable, project: Path) -> None:
    assert launch("train", TINY, "--workdir=new", "--noconfig.evaluate.outputs").code == 0
    assert not Path("new/outputs").exists()
    assert launch("eval", run).code == 0 and not (run / "evaluations" / "test-step6" / "outputs").exists()
    assert launch("eval", run, "--outputs").code == 0
    kept = {path.stem: np.load(path) for path in (run / "evaluations" / "test-step6" / "outputs").iterdir()}
    assert kept.keys() == {"logits", "label", "index"}
    np.testing.assert_array_equal(kept["label"], digits()["test"].arrays["label"])
    np.testing.assert_array_equal(kept["index"], np.arange(899))
    np.testing.assert_allclose(kept["logits"], np.load(run / "outputs" / "logits.npy"), rtol=1e-5, atol=1e-5)
