"""Sounds from folders to predictions: trained, gone on with, scored, drawn, asked about; with one class and several."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import cnn_jax
from cnn_jax.data.wav import wav
from cnn_jax.evals.evaluator import Scores
from cnn_jax.launch import cli
from cnn_jax.ops.spectrogram import log_mel
from cnn_jax.report import tag
from cnn_jax.report.data import description, sheet
from tests.data.sounds import tone, tones, write

EXPERIMENT = '''"""Tones, low or high.

Reproduces: nothing.
Command: python launch.py train tones.py
Time: no time.
Expected: all right.
"""

from functools import partial

from cnn_jax.augment.compose import compose
from cnn_jax.augment.signal import gain1d, noise1d
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.wav import wav
from cnn_jax.models.panns import PANN
from cnn_jax.models.spectrogram_net import SpecAugment, SpectrogramNet
from cnn_jax.ops.spectrogram import log_mel
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adam
from cnn_jax.train.schedules import constant


def experiment() -> Experiment:
    front = partial(log_mel, rate=8000, window=256, hop=128, mels=16)
    net = partial(PANN, features=(4,), blocks=(1,), hidden=4, dropout=0.0)
    return Experiment(
        name="tones",
        data=Data(source=partial(wav, path="tones", rate=8000, seconds=0.25), validation=0.0, batch_size=8),
        model=Model(build=partial(SpectrogramNet, net=net, front=front, norm=None, masks=SpecAugment), task=classify),
        optim=Optim(build=adam, lr=0.05, schedule=constant),
        augment=compose(gain1d, noise1d),
        duration="4 steps",
        evaluate=Evaluate(every="0%", batch_size=8),
        save_every="2 steps",
        compute=Compute(devices=1),
    )
'''
RUN = "runs/tones"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tones, and a run on them that was made longer."""
    folder = tmp_path_factory.mktemp("sound")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "tones.py").write_text(EXPERIMENT)
        tones(folder / "tones")
        patch.setattr("cnn_jax.report.classify.figures", lambda *_: None)
        assert cli.main(["train", "tones.py", "--config.duration=2 steps"]) == 0
        assert cli.main(["train", RUN, "--config.duration=4 steps"]) == 0
    return folder


@pytest.fixture(autouse=True)
def within(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)


def test_a_run_goes_on_and_is_scored_on_other_sounds(here: Path, launch: Callable) -> None:
    found = json.loads(Path(RUN, "results.json").read_text())
    assert found["step"] == 4 and 0 <= found["test"]["top1"] <= 1
    assert json.loads(Path(RUN, "data.json").read_text())["prepare"]["kind"] == "sound"
    write(here / "other/low/a.flac", tone(320, 0.5, 44100), 44100)
    write(here / "other/high/b.ogg", np.stack([tone(1900, 0.5)] * 2, 1))
    said = launch("eval", RUN, "--data=wav:other", "--split=all")
    assert said.code == 0 and "top1" in said.out
    assert "1 of 2 sounds have another rate and are resampled to 8000 Hz" in said.err  # the model's, not the default


def test_a_long_file_is_the_mean_over_its_windows_and_is_drawn(here: Path, launch: Callable) -> None:
    long = np.concatenate([tone(310, 0.4), tone(2050, 0.4)])
    write(here / "long.wav", long)
    said = launch("predict", RUN, "long.wav", "tones/low/0.wav", "--json=-", "--draw=1", "--out=drawn")
    assert said.code == 0
    assert (
        "2 of 2 sounds are longer than 0.25 s and are read in windows that cover all, as long.wav of 0.8 s" in said.err
    )
    rows = json.loads(said.out)
    assert sum(row["probability"] for row in rows[0]["predictions"]) == pytest.approx(1)
    model = cnn_jax.load(RUN)
    starts = np.linspace(0, len(long) - 2000, 6).round().astype(int)
    parts = model.features([long[start : start + 2000, None] for start in starts], "pooled")
    np.testing.assert_allclose(model.features("long.wav", "pooled"), parts.mean(0), rtol=1e-5, atol=1e-6)
    picture = np.asarray(Image.open(next(Path("drawn").glob("long.wav*.png"))))
    assert picture.ndim == 3 and picture.std() > 10


def test_the_spectrum_of_a_window_is_explained(here: Path, launch: Callable) -> None:
    """The map is one of time and frequency, of the window that is surest of the class, and adds up there."""
    long = np.concatenate([np.zeros(1500, np.float32), tone(310, 0.2), np.zeros(1500, np.float32)])
    write(here / "long.wav", long)
    said = launch("explain", RUN, "long.wav", "--methods=deep_lift,grad_cam", "--target=low", "--out=seen")
    assert said.code == 0, said.err
    model = cnn_jax.load(RUN)
    starts = np.linspace(0, len(long) - 2000, 4).round().astype(int)
    found = [model.predict(long[start : start + 2000, None]) for start in starts]
    surest = int(np.argmax([dict(zip(one.names, one.probabilities, strict=True))["low"] for one in found]))
    start = starts[surest] / 8000
    assert f"window {surest + 1} of 4, {start:.2f} to {start + 0.25:.2f} s, the one that is surest of 'low'" in said.out
    assert "adds up to the change from quiet but for" in said.out and "of 16 from below" in said.out
    (file,) = Path("seen").glob("*.json")
    about, arrays = json.loads(file.read_text()), np.load(file.with_suffix(".npz"))
    assert arrays["input"].shape == arrays["deep_lift"].shape == (16, 16, 1) and arrays["grad_cam"].shape == (16, 16)
    assert arrays["deep_lift"].sum() == pytest.approx(about["score"] - about["score_of_reference"], abs=1e-4)
    front = log_mel(long[None, starts[surest] : starts[surest] + 2000, None], rate=8000, window=256, hop=128, mels=16)
    np.testing.assert_allclose(arrays["input"], front[0], atol=1e-3)
    assert min(Image.open(file.with_suffix(".png")).size) > 200
    said = launch("explain", RUN, "--words")
    assert said.code == 2 and "was trained on sounds, which have no words" in said.err


def test_what_is_no_sound_is_one_line(here: Path, launch: Callable) -> None:
    Path("bad.wav").write_bytes(b"RIFFnothing")
    write(here / "empty.wav", np.zeros(0, np.float32))
    write(here / "nan.wav", np.full(100, np.nan, np.float32))
    for name, message in (
        ("bad.wav", "'bad.wav': cannot decode the sound"),
        ("empty.wav", "'empty.wav': it has no samples"),
        ("nan.wav", "'nan.wav': 100 of its samples are nan or infinite"),
        ("none.wav", "there is no file 'none.wav'"),
        ("drawn", "there are no sounds in the folder 'drawn'"),
    ):
        Path("drawn").mkdir(exist_ok=True)
        said = launch("predict", RUN, name)
        assert said.code == 2 and said.err.count("\n") == 1 and message in said.err, said.err


def test_tags_are_learned_scored_drawn_and_said(launch: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnn_jax.report.tag.learning_curves", lambda *_: None)
    Path("tones/labels.csv").write_text(
        "file,labels,split\n"
        + "".join(
            f"{name}/{n}.wav,{tags},train\n" for n in range(4) for name, tags in (("low", "hum;low"), ("high", "high"))
        )
        + "low/5.wav,hum,test\nhigh/5.wav,high,test\nhigh/4.wav,,test\n"
    )
    said = launch(
        "train",
        "tones.py",
        "--workdir=runs/tags",
        "--config.model.task=tag",
        "--config.data.source=wav(tones, rate=8000, seconds=0.25, labels='labels.csv')",
        "--config.augment=mixup",
        "--config.duration=2 steps",
        "--config.save_every=2 steps",
    )
    assert said.code == 0, said.err
    found = json.loads(Path("runs/tags/results.json").read_text())["test"]
    assert {"map", "auc", "d_prime", "f1", "nll"} <= found.keys() and 0 < found["map"] <= 1
    assert {"classes.png", "mistakes.png"} == {path.name for path in Path("runs/tags/figures").iterdir()}
    said = launch("predict", "runs/tags", "tones/high/4.wav", "--least=0", "--draw=0")
    assert said.code == 0 and all(f"%  {name}" in said.out for name in ("high", "hum", "low"))
    scores = Scores({}, dict(np.load("runs/tags/tables/test.npz")))
    splits = wav("tones", rate=8000, seconds=0.25, labels="labels.csv")
    said_of = "\n".join(tag.lines(scores, splits["test"].spec))
    assert "by class of 3 sounds; average precision" in said_of and "33.33%" in said_of
    assert "12 labels" in description(splits)
    drawn: list[Figure] = []
    monkeypatch.setattr("cnn_jax.report.data.save", lambda figure, _: drawn.append(figure))
    sheet(splits, Path("sheet.png"))
    (picture,) = drawn[0].axes[0].images  # a spectrum, and no curve
    assert np.shape(picture.get_array())[2:] == (3,)
    assert {"1 kHz", "2 kHz"} <= {label.get_text() for label in drawn[0].axes[0].get_yticklabels()}
