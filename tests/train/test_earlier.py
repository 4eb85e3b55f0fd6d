"""Runs of version 0.1 are evaluated, asked and, where that is possible, gone on with; else one line says why not.

files/run-0.1 was made by that version: a tiny network on digits for 6 steps, checkpoints after 4 and 6.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnn_jax.config import to_json
from cnn_jax.data import spec as specs
from cnn_jax.data.digits import digits
from cnn_jax.data.source import opened
from cnn_jax.data.spec import Spec
from cnn_jax.launch import cli
from cnn_jax.lookup import describe, lookup
from cnn_jax.report import log
from cnn_jax.train import checkpoint, earlier
from cnn_jax.train.predictor import read_config, read_spec

STORED = Path(__file__).with_name("files") / "run-0.1"
NOW = (
    ("from cnn_jax.config import Compute, Data,", "from cnn_jax.config import Compute, Data, Evaluate,"),
    ('Data(source="digits",', "Data(source=digits, validation=VALIDATION,"),
    ('evaluate_every="4 steps"', 'evaluate=Evaluate(every="4 steps")'),
    ("from cnn_jax.tasks", "from cnn_jax.data.digits import digits\nfrom cnn_jax.tasks"),
)

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def launch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setattr("cnn_jax.report.classify.figures", lambda *_: None)

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        return cli.main([str(word) for word in words]), *capsys.readouterr()

    return call


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STORED, tmp_path / "run"))


@pytest.fixture
def uncarved(run: Path) -> Path:
    """The run as it would be without a validation split."""
    change(run / "config.json", lambda values: values["data"].update(validation=0.0))
    change(run / "data.json", lambda values: values.update(examples=898))
    return run


def change(path: Path, how: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    how(values)
    path.write_text(json.dumps(values))


def today(run: Path, validation: float) -> Path:
    """The experiment of the run, in words of today."""
    text = (run / "experiment.py").read_text()
    for old, new in NOW:
        assert old in text
        text = text.replace(old, new)
    path = run.with_name("tiny.py")
    path.write_text(text.replace("VALIDATION", str(validation)))
    return path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_the_stored_run_is_whole() -> None:
    checkpoints = STORED / "checkpoints"
    assert [checkpoint.is_good(checkpoints, step) for step in (4, 6)] == [True, True]
    assert json.loads((STORED / "versions.json").read_text())["cnn_jax"] == "0.1.0"
    assert earlier.is_earlier(json.loads((STORED / "data.json").read_text()))


def test_eval_finds_the_scores_that_were_reported(run: Path, launch: Call) -> None:
    before = contents(run)
    code, out, err = launch("eval", run)
    assert (
        code == 0
        and err.count("\n") == 1
        and "is run, because" in err
        and "899 images, test split of digits, checkpoint of step 6" in out
    )
    found = json.loads((run / "evaluations" / "test-step6" / "scores.json").read_text())
    expected = json.loads((STORED / "results.json").read_text())["test"]
    for name in ("top1", "top5", "nll", "brier", "ece"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)
    with np.load(run / "evaluations" / "test-step6" / "tables.npz") as tables:
        np.testing.assert_array_equal(tables["confusion"], expected["confusion"])
    assert before.items() <= contents(run).items()  # what was there is as it was
    assert "checkpoint of step 4" in launch("eval", run, "--checkpoint=4")[1]


def test_predict_reads_pictures_as_that_version_did(run: Path, launch: Call, tmp_path: Path) -> None:
    image = digits()["test"].arrays["image"][0]
    Image.fromarray(image[..., 0]).save(tmp_path / "digit.png")
    code, out, err = launch("predict", run, tmp_path / "digit.png")
    assert code == 0 and err.count("\n") == 1 and "is run, because" in err and out.count("%  ") == 5
    Image.fromarray(image[..., 0]).convert("RGB").save(tmp_path / "colour.png")
    code, _, err = launch("predict", run, tmp_path / "colour.png")
    assert code == 2 and "say --convert" in err
    assert launch("predict", run, tmp_path / "colour.png", "--convert")[0] == 0


def test_what_carved_a_validation_split_is_not_gone_on_with(run: Path, launch: Call) -> None:
    before = contents(run)
    code, _, err = launch("train", today(run, 0.1), f"--workdir={run}")
    assert code == 2 and err.count("\n") == 1
    assert err.startswith(f"error: the run in '{run}' was begun by cnn_jax 0.1, which carved its validation split")
    assert contents(run) == before


def test_a_complete_run_is_complete(uncarved: Path, launch: Call) -> None:
    code, out, err = launch("train", today(uncarved, 0), f"--workdir={uncarved}")
    assert code == 0 and err == "" and "is complete (step 6)" in out


def test_another_configuration_is_refused_in_words_of_today(uncarved: Path, launch: Call) -> None:
    words = ("--config.evaluate.every=2 steps", "--config.data.source=digits(size=16)")
    code, _, err = launch("train", today(uncarved, 0), f"--workdir={uncarved}", *words)
    assert code == 2 and "evaluate.every: 4 steps -> 2 steps" in err and err.count(" -> ") == 2
    assert "data.source: cnn_jax.data.digits.digits -> cnn_jax.data.digits.digits(size=16)" in err


def test_a_run_that_was_stopped_goes_on_and_is_of_today_then(uncarved: Path, launch: Call) -> None:
    (uncarved / "results.json").unlink()
    shutil.rmtree(uncarved / "checkpoints" / "6")
    (uncarved / "checkpoints" / "6.sha256").unlink()
    code, out, err = launch("train", today(uncarved, 0), f"--workdir={uncarved}")
    assert code == 0 and err == "" and "going on from step 4" in out
    rows = log.read(uncarved)
    assert [row["step"] for row in rows if row["split"] == "train"] == [2, 4, 6]
    assert rows[1]["loss"] == pytest.approx(2.3256317377090454)  # of the old log
    assert json.loads((uncarved / "results.json").read_text())["steps"] == 6
    assert not earlier.is_earlier(json.loads((uncarved / "data.json").read_text()))
    assert launch("eval", uncarved)[0] == 0


def test_weights_of_a_run_are_taken_over(run: Path, launch: Call) -> None:
    """Another training may begin with them."""
    words = (f"--config.transfer.weights={run}", "--config.transfer.head=keep", "--config.duration=1 steps")
    code, out, err = launch("train", today(run, 0), f"--workdir={run.with_name('new')}", *words)
    assert code == 0 and err == "" and f"with the weights of {run}" in out


def test_imported_weights_of_that_version_are_refused_by_its_name(run: Path, launch: Call, tmp_path: Path) -> None:
    change(run / "config.json", lambda values: values["data"].update(source="imported"))
    np.save(tmp_path / "a.npy", np.zeros((8, 8, 1)))
    for words in (("eval", run), ("predict", run, tmp_path / "a.npy"), ("eval", run, "--data=digits")):
        code, _, err = launch(*words)
        assert code == 2 and err.count("\n") == 1
        assert f"'{run}' holds weights that were imported by cnn_jax 0.1: import them again" in err


@pytest.mark.parametrize("part", ["evaluate_every", "data"])
def test_a_damaged_one_is_one_line(run: Path, launch: Call, part: str) -> None:
    change(run / "config.json", lambda values: values.pop(part))
    code, _, err = launch("eval", run)
    assert code == 2 and err.count("\n") == 1 and f"'{run}' is no run of cnn_jax 0.1, or damaged" in err


OLD = {"image_size": 0, "channels": 0, "corrupt": "skip", "interpolation": "bilinear"}
OLD |= {"validation": 0.1, "batch_size": 16, "shuffle": True, "eval_batch_size": 512, "labels": 1.0}


def config_of(source: str, **settings: Any) -> dict[str, Any]:
    stored = json.loads((STORED / "config.json").read_text())
    return {**stored, "data": {**OLD, "source": source, **settings}}


@pytest.mark.parametrize(
    ("source", "settings", "expected"),
    [
        ("digits", {}, "digits.digits"),
        ("digits", {"image_size": 16}, "digits.digits(size=16)"),
        ("digits", {"channels": 3, "corrupt": "error"}, "digits.digits(channels=3)"),
        ("fashion_mnist", {"image_size": 32, "channels": 1}, "fashion_mnist.fashion_mnist(channels=1, size=32)"),
        ("mnist1d", {}, "mnist1d.mnist1d"),
        ("openclipart", {"image_size": 64}, "openclipart.openclipart(size=64)"),
        ("openclipart", {"interpolation": "bicubic"}, "openclipart.openclipart"),  # which it did not look at
        ("folder:my photos", {}, "folder.folder(path='my photos')"),
        (
            "folder:photos",
            {"image_size": 64, "channels": 1, "corrupt": "error", "interpolation": "bicubic"},
            "folder.folder(channels=1, corrupt='error', interpolation='bicubic', path='photos', size=64)",
        ),
        ("folder:it's here", {"channels": 3}, 'folder.folder(path="it\'s here")'),
        ("npz:a.npz", {"image_size": 8, "channels": 3}, "npz.npz(channels=3, path='a.npz', size=8)"),
        ("tfds:mnist:3.0.1", {"corrupt": "error"}, "tfds.tfds(corrupt='error', name='mnist:3.0.1')"),
    ],
)
def test_settings_of_the_data_are_settings_of_the_source(source: str, settings: dict, expected: str) -> None:
    shape = {"shape": [8, 8, 1], "dtype": "uint8"}
    data = {**json.loads((STORED / "data.json").read_text()), **shape}
    config, _ = earlier.upgraded(config_of(source, **settings), data, Path("run"))
    assert config["data"] == {
        "source": f"cnn_jax.data.{expected}",
        "validation": 0.1,
        "batch_size": 16,
        "shuffle": True,
        "labels": 1.0,
    }
    assert describe(lookup(config["data"]["source"])) == config["data"]["source"]
    assert config["evaluate"]["every"] == "4 steps" and config["evaluate"]["batch_size"] == 512
    assert config["evaluate"]["test"] == "end" and config["optim"]["ema_warmup"] == 10.0


def as_it_was(spec: Spec) -> dict[str, Any]:
    """data.json as version 0.1 wrote it."""
    names = ("name", "licence", "citation", "fingerprint")
    kept = {name: getattr(spec, name) for name in names}
    statistics = {"mean": list(spec.prepare.mean), "std": list(spec.prepare.std)}
    field = {"shape": list(spec.input.shape), "dtype": spec.input.dtype}
    return {"examples": 5, "classes": list(spec.classes), **kept, **field, **statistics}


def as_read_then(spec: Spec) -> Spec:
    """Nothing was noted, and of 16 bits the upper 8 were read."""
    return replace(spec, notes=(), prepare=replace(spec.prepare, white=65535))


@pytest.mark.parametrize("settings", [{}, {"image_size": 12}, {"image_size": 12, "channels": 3}])
@pytest.mark.parametrize("source", ["digits", "folder"])
def test_the_description_of_the_data_is_what_today_says_of_it(source: str, settings: dict, tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9), 60 * number, np.uint8)).save(path)
    text = {"digits": "digits", "folder": f"folder:{tmp_path / 'photos'}"}[source]
    config = earlier.upgraded(config_of(text, **settings), as_it_was(digits()["train"].spec), Path("run"))[0]
    spec = opened(lookup(config["data"]["source"]))["train"].spec
    _, data = earlier.upgraded(config_of(text, **settings), as_it_was(spec), Path("run"))
    assert data.pop("examples") == 5
    assert specs.from_json(data) == as_read_then(spec)


def test_a_signal_is_no_image() -> None:
    data = {**as_it_was(digits()["train"].spec), "shape": [40, 1], "dtype": "float32"}
    _, found = earlier.upgraded(config_of("mnist1d"), data, Path("run"))
    assert found["inputs"] == {"signal": {"role": "signal", "shape": (40, 1), "dtype": "float32", "range": None}}
    assert found["prepare"]["size"] is None and found["prepare"]["channels"] is None


def test_the_stored_run_reads_as_a_spec_and_a_configuration_of_today(run: Path) -> None:
    assert read_spec(run) == as_read_then(digits()["train"].spec)
    config = read_config(run)
    assert config is not None and config.data.source is digits and config.evaluate.every == "4 steps"


def test_sums_had_one_count_for_all() -> None:
    sums = {"loss": 6.0, "top1": 3.0, "count": 12.0, "skipped": 1.0}
    assert earlier.upgraded_sums(sums) == {"loss": [6.0, 12.0], "top1": [3.0, 12.0], "skipped": [1, 1]}
    assert earlier.upgraded_sums({}) == {} and earlier.upgraded_sums({"loss": [1.0, 2.0]}) == {"loss": [1.0, 2.0]}


def test_one_whose_description_of_the_data_is_of_today_already_is_read_too(run: Path) -> None:
    """A resume that was killed between the two files leaves this behind."""
    spec = read_spec(run)
    expected = to_json(read_config(run))  # as text: each reading loads the experiment's functions anew
    (run / "data.json").write_text(json.dumps({"examples": 808, **specs.to_json(spec)}))
    assert read_spec(run) == spec and to_json(read_config(run)) == expected
