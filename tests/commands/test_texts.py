"""The verbs on texts: a table is described and trained on, its run is asked, scored on another, and gone on with."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax.launch import cli

EXPERIMENT = '''"""Reviews, but few.

Reproduces: nothing.
Command: python launch.py train reviews.py
Time: no time.
Expected: little.
"""

from functools import partial

from cnn_jax.augment.compose import compose
from cnn_jax.augment.mix import mixup
from cnn_jax.augment.text import token_dropout
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.csv import csv
from cnn_jax.models.textcnn import textcnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adam
from cnn_jax.train.schedules import constant


def experiment() -> Experiment:
    return Experiment(
        name="reviews",
        data=Data(source=partial(csv, path="reviews.csv", lengths=(4, 8)), validation=0.0, batch_size=8),
        model=Model(build=partial(textcnn, dim=8, features=8, widths=(1,), limit=0.3, dropout=0.0), task=classify),
        optim=Optim(build=adam, lr=0.05, schedule=constant),
        augment=compose(partial(token_dropout, probability=0.05), mixup),
        duration="16 steps",
        evaluate=Evaluate(every="0%", outputs=True),
        save_every="8 steps",
        compute=Compute(devices=1),
    )
'''
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, its experiment, and a run of half the steps in `run`."""
    folder = tmp_path_factory.mktemp("reviews")
    rest = ["the film", "a plot of the film", "it is", "all in all a film that is"]
    rows = [f"{rest[n % 4]} {'good' if n // 4 % 2 else 'bad'},{'fresh' if n // 4 % 2 else 'rotten'}" for n in range(64)]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]))
    (folder / "reviews.py").write_text(EXPERIMENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main(["train", "reviews.py", "--workdir=run"]) == 0
    return folder


@pytest.fixture
def launch(reviews: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(reviews)

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        return cli.main([str(word) for word in words]), *capsys.readouterr()

    return call


def test_a_run_on_texts_learns_and_keeps_how_they_are_read(reviews: Path) -> None:
    results = json.loads((reviews / "run" / "results.json").read_text())
    assert results["test"]["top1"] >= 0.9
    prepare = json.loads((reviews / "run" / "data.json").read_text())["prepare"]
    assert prepare["kind"] == "text" and prepare["lengths"] == [4, 8] and "good" in prepare["vocabulary"]
    files = (reviews / "run" / "outputs" / "files.txt").read_text().splitlines()
    assert len(files) == results["test"].get("examples", len(files)) and any("good" in line for line in files)
    assert (reviews / "run" / "figures" / "mistakes.png").is_file()


def test_texts_are_asked_about(launch: Call, reviews: Path) -> None:
    (reviews / "more.txt").write_text("a bad plot\ngood\n")
    code, out, err = launch("predict", "run", "a good film that is good", "@more.txt", "--top=1", "--json=found.json")
    assert code == 0, err
    found = json.loads((reviews / "found.json").read_text())
    assert [row["text"] for row in found] == ["a good film that is good", "a bad plot", "good"]
    assert [row["predictions"][0]["class"] for row in found] == ["fresh", "rotten", "fresh"]
    code, out, err = launch("predict", "run", "qwert", "good")
    assert (
        code == 0 and "the model knows no word of 'qwert'" in err and out.startswith("qwert\n") and "drawn" not in out
    )
    (reviews / "void.txt").write_text("\n")
    code, _, err = launch("predict", "run", "void.txt")
    assert code == 2 and err.splitlines()[-1] == "error: 'void.txt' is empty: give a text"
    (reviews / "gap.txt").write_bytes(b"good\n\nd\xe9j\xe0\n")
    code, out, err = launch("predict", "run", "@gap.txt", "", "--top=1")
    assert code == 2 and out.startswith("good\n") and err.splitlines()[-1] == "error: 3 of 4 inputs could not be read"
    for said in ("'gap.txt', line 2, is empty", "'gap.txt', line 3, has bytes that are no UTF-8", "'' is empty"):
        assert said in err


def test_the_words_that_mattered_are_said(launch: Call, reviews: Path) -> None:
    """The class is said by one word of each text, which must stand first: in predict, in explain and over a split."""
    (reviews / "two.txt").write_text("all in all a good film\nit is a film that is bad\n")
    code, out, err = launch("predict", "run", "@two.txt", "--top=1", "--draw=1")
    assert code == 0 and "  fresh: for good +" in out and "rotten: for" not in out and "drawn" not in err, (out, err)
    code, out, err = launch("explain", "run", "@two.txt", "--methods=deep_lift,occlusion", "--out=seen")
    assert code == 0, err
    assert out.count("adds up to the change from padding but for") == 2 and out.count(" for good +") == 2
    files = {path.name.partition(".")[0]: path for path in (reviews / "seen").glob("*.json")}
    assert [*sorted(files)] == ["all_in_all_a_good_film", "it_is_a_film_that_is_bad"]
    for name, word in {"all_in_all_a_good_film": "good", "it_is_a_film_that_is_bad": "bad"}.items():
        about = json.loads(files[name].read_text())
        assert " ".join(about["words"]) == name.replace("_", " ") and about["reference"] == "padding"
        for found in about["methods"].values():
            assert about["words"][max(range(len(about["words"])), key=found["of_words"].__getitem__)] == word
        arrays = np.load(files[name].with_suffix(".npz"))
        assert arrays["deep_lift"].shape == arrays["input"].shape == (len(about["words"]), 8)
        assert arrays["deep_lift"].sum() == pytest.approx(about["score"] - about["score_of_reference"], abs=1e-4)
        assert min(Image.open(files[name].with_suffix(".png")).size) > 200
    code, out, err = launch("explain", "run", "--words", "--split=train", "--out=seen")
    assert code == 0 and "rotten, said of 26: bad +" in out and "fresh, said of 26: good +" in out, (out, err)
    rows = (reviews / "seen" / "words.csv").read_text().splitlines()
    assert rows[0] == "class,word,mean,count"
    assert {"fresh,good", "rotten,bad"} <= {row.rsplit(",", 2)[0] for row in rows}
    for words, said in (
        (["good", "--target=frsh"], "no class 'frsh' to explain: did you mean 'fresh'?"),
        (["good", "--reference=black"], "no reference 'black' for what this model reads: known: padding, unknown"),
        (["good", "--methods=grad_cam", "--layer=pooled"], "one position"),
        ([" "], "' ' is empty: give a text"),
        (["--words", "--methods=deep_lift,lime"], "--words counts by one method"),
    ):
        code, _, err = launch("explain", "run", *words)
        assert code == 2 and said in err.splitlines()[-1] and "Traceback" not in err, err


def test_a_run_goes_on_and_other_texts_are_scored(launch: Call, reviews: Path) -> None:
    code, out, err = launch("train", "run", "--config.duration=24 steps")
    assert code == 0, err
    (reviews / "later.csv").write_text("text,label\ngood new words,fresh\nbad plot,rotten\nbad,rotten\n")
    code, out, err = launch("eval", "run", "--data=csv:later.csv")
    assert code == 0 and "3 texts" in out, (out, err)
    (reviews / "later.csv").write_text("text,label\ngood,fresh\nbad,stale\n")
    code, _, err = launch("eval", "run", "--data=csv:later.csv")
    assert code == 2 and "has other classes than the run was trained on (missing: rotten; unknown: stale)" in err


def test_a_table_is_described(launch: Call, reviews: Path) -> None:
    code, out, _ = launch("describe", "csv:reviews.csv", "--out=seen")
    assert code == 0 and (reviews / "seen" / "samples.png").is_file()
    assert "64 texts" in out and "the vocabulary of" in out and "words that are read" in out


def test_what_does_not_fit_is_one_line(launch: Call) -> None:
    for setting, said in (
        ("--config.model.build=lenet5", "has texts, which cnn_jax.models.lenet.lenet5 does not read"),
        ("--config.model.build=char_cnn_small", "CharCNN reads frames of 1014 characters, not 8: say lengths=(1014,)"),
        ("--config.augment=flip", "flip needs a field of the role image; the batch has text (tokens)"),
        ("--config.transfer.weights=vectors:nowhere.txt", "there is no file 'nowhere.txt'"),
    ):
        code, _, err = launch("train", "reviews.py", "--workdir=other", setting)
        assert code == 2 and said in err.splitlines()[-1] and "Traceback" not in err, err
