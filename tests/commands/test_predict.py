"""predict: classes with probabilities for pictures and signals, and a picture of each."""

import csv
import io
import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import inputs
from cnn_jax.data.digits import digits
from cnn_jax.train.predictor import load


@pytest.fixture
def digit() -> np.ndarray:
    """The first test image, uint8 [8, 8]."""
    return digits()["test"].arrays["image"][0, ..., 0]


def ranking(out: str) -> list[tuple[str, float]]:
    return [(name, float(percent)) for percent, name in re.findall(r"^ +([\d.]+)%  (\S+)$", out, re.MULTILINE)]


def test_a_png_has_the_probabilities_of_the_same_pixels_in_the_test_split(run, tmp_path, digit, launch):
    Image.fromarray(digit).save(tmp_path / "digit.png")
    said = launch("predict", run, tmp_path / "digit.png")
    assert said.code == 0 and said.err.count("\n") == 1 and "experiment.py' is run" in said.err
    logits = np.load(run / "outputs" / "logits.npy")[0].astype(np.float64)
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum() * 100
    found = ranking(said.out)
    assert [name for name, _ in found] == [str(k) for k in np.argsort(-expected)[:5]]
    np.testing.assert_allclose([p for _, p in found], np.sort(expected)[::-1][:5], atol=0.006)
    (picture,) = (run / "predictions").rglob("*.png")
    assert picture == run / "predictions" / Path(*tmp_path.parts[1:], "digit.png.predicted.png")
    assert min(Image.open(picture).size) > 100


def test_each_input_has_a_picture_of_its_own_which_is_replaced(run, tmp_path, digit, launch, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    Image.fromarray(digit).save("digit.png")
    Image.fromarray(255 - digit).save("other/digit.png")
    Image.fromarray(digit).save("digit.bmp")
    words = ("digit.png", "other/digit.png", tmp_path / "digit.bmp")
    together = launch("predict", run, *words)
    drawn = {p.relative_to(run / "predictions").as_posix(): p.read_bytes() for p in run.rglob("*.predicted.png")}
    assert drawn.keys() == {f"{name}.predicted.png" for name in ("digit.png", "other/digit.png", "digit.bmp")}
    assert drawn["digit.png.predicted.png"] != drawn["other/digit.png.predicted.png"]
    alone = launch("predict", run, "other/digit.png")
    assert ranking(together.out)[5:10] == ranking(alone.out) != ranking(together.out)[:5]
    launch("predict", run, *words)
    assert len(list(run.rglob("*.predicted.png"))) == 3


@pytest.mark.parametrize("name", ["colour.png", "large.jpg", "wide.png", "clear.png"])
def test_convert_brings_any_picture_to_the_run(run, tmp_path, digit, launch, name):
    picture = Image.fromarray(digit)
    changed = {
        "colour.png": picture.convert("RGB"),
        "large.jpg": picture.resize((64, 64), Image.Resampling.NEAREST),
        "wide.png": Image.fromarray(np.pad(digit, ((0, 0), (4, 4)))),
        "clear.png": picture.convert("RGBA"),
    }[name]
    changed.save(tmp_path / name)
    picture.save(tmp_path / "digit.png")
    assert launch("predict", run, tmp_path / name).code == 2
    said = launch("predict", run, "--convert", tmp_path / name)
    expected = ranking(launch("predict", run, tmp_path / "digit.png").out)
    assert said.code == 0
    if name == "large.jpg":  # its pixels come back blurred
        assert ranking(said.out)[0] == (expected[0][0], pytest.approx(expected[0][1], abs=5))
    else:
        assert dict(ranking(said.out)) == pytest.approx(dict(expected), abs=0.05)


def but_the_experiment(err: str) -> list[str]:
    """The lines of stderr without the one which says that the run's own experiment.py is run."""
    return [line for line in err.splitlines() if "experiment.py' is run, because" not in line]


def test_inputs_that_cannot_be_read_do_not_stop_the_others(run, tmp_path, digit, launch):
    Image.fromarray(digit).save(tmp_path / "digit.png")
    Image.fromarray(digit[:4]).save(tmp_path / "half.png")
    (tmp_path / "text.png").write_text("text")
    one, two = (
        launch("predict", run, *(tmp_path / f"{name}.png" for name in names))
        for names in (("half", "digit"), ("text", "digit", "half", "digit", "none"))
    )
    alone = ranking(launch("predict", run, tmp_path / "digit.png").out)
    assert (one.code, two.code) == (2, 2)
    assert ranking(one.out) == alone and ranking(two.out) == 2 * alone
    (line,) = but_the_experiment(one.err)
    assert line.startswith("error: ") and "half.png' is (4, 8, 1)" in line
    named = [line.partition("/")[2].partition("'")[0].rpartition("/")[2] for line in but_the_experiment(two.err)]
    assert named[:3] == ["text.png", "half.png", "none.png"]
    assert two.err.splitlines()[-1] == "error: 3 of 5 inputs could not be read"


def test_where_no_picture_can_be_written_the_classes_are_said(run, tmp_path, digit, launch):
    Image.fromarray(digit).save(tmp_path / "digit.png")
    (run / "predictions").write_text("in the way")
    said = launch("predict", run, tmp_path / "digit.png")
    assert said.code == 0 and len(ranking(said.out)) == 5
    (line,) = but_the_experiment(said.err)
    assert line.startswith("warning: not drawn: ") and "--out=FOLDER" in line
    elsewhere = launch("predict", run, tmp_path / "digit.png", f"--out={tmp_path / 'out'}")
    assert not but_the_experiment(elsewhere.err) and list((tmp_path / "out").rglob("digit.png.predicted.png"))
    assert ranking(elsewhere.out) == ranking(said.out)


def test_another_checkpoint(run, tmp_path, digit, launch):
    Image.fromarray(digit).save(tmp_path / "digit.png")
    last = launch("predict", run, tmp_path / "digit.png")
    earlier = launch("predict", run, tmp_path / "digit.png", "--checkpoint=4")
    assert earlier.code == 0 and dict(ranking(earlier.out)) != dict(ranking(last.out))


def test_signals_are_npy_files(project, launch, no_pictures):
    draw = np.random.default_rng(0)
    labels = np.arange(40) % 2
    signals = (draw.normal(size=(40, 12, 1, 1)) + labels[:, None, None, None]).astype(np.float32)
    arrays = {f"{split}_images": signals for split in ("train", "test")}
    np.savez("signals.npz", **arrays, **{f"{split}_labels": labels for split in ("train", "test")})
    words = ["--config.data.source=npz:signals.npz", "--config.data.validation=0", "--config.duration=3steps"]
    assert launch("train", "experiments/tiny.py", "--workdir=signals", *words).code == 0
    np.save("one.npy", signals[0])
    np.save("flat.npy", signals[0, ..., 0])
    assert launch("predict", "signals", "one.npy").code == 0
    said = launch("predict", "signals", "one.npy", "flat.npy")
    assert said.code == 0 and ranking(said.out)[:2] == ranking(said.out)[2:]
    logits = np.load("signals/outputs/logits.npy")[0]
    top = dict(ranking(said.out))["1"]
    assert top == pytest.approx(100 / (1 + np.exp(logits[0] - logits[1])), abs=0.01)
    bad = {"long": np.zeros((13, 1, 1)), "nan": np.full((12, 1, 1), np.nan), "words": np.full((12, 1, 1), "a")}
    for name, value in bad.items():
        np.save(f"{name}.npy", value)
        said = launch("predict", "signals", f"{name}.npy")
        assert said.code == 2 and f"\nerror: '{name}.npy' " in said.err and len(said.err.splitlines()) == 2
    for name, content in {"empty.npy": b"", "text.npy": b"text"}.items():
        (project / name).write_bytes(content)
        said = launch("predict", "signals", name)
        assert said.code == 2 and "no .npy array" in said.err
    assert load(project / "signals").predictor.spec.input.dtype == "float32"


@pytest.fixture
def photos(tmp_path, digit, monkeypatch):
    """The current folder, with photos/a/1.png, photos/b/1.png, photos/b/2.png, and what is none."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a/1", "b/1", "b/2")):
        path = tmp_path / "photos" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(digit, number, 0)).save(path)
    Path("photos/notes.txt").write_text("none")
    Path("photos/b/torn.png").write_text("torn")
    Path("photos/a/1.png.predicted.png").write_bytes(Path("photos/a/1.png").read_bytes())
    Path("empty").mkdir()
    return tmp_path


def files_in(text: str) -> list[str]:
    return list(dict.fromkeys(row["file"] for row in csv.DictReader(io.StringIO(text))))


ALL = ["photos/a/1.png", "photos/b/1.png", "photos/b/2.png"]


def test_folders_patterns_and_lists_stand_for_the_files_in_them(run, photos, launch):
    Path("names.txt").write_bytes(b"\xef\xbb\xbfphotos/b/2.png\r\n\r\nphotos/a\r\n")
    for words, expected in {
        ("photos",): ALL,
        ("photos/b", "photos/a/1.png"): [*ALL[1:], ALL[0]],
        ("photos/*/1.png",): ALL[:2],
        ("photos/**/[12].png",): ALL,
        ("@names.txt",): [ALL[2], ALL[0]],
    }.items():
        said = launch("predict", run, *words, "--csv=-")
        assert files_in(said.out) == expected, words
        assert said.code == (2 if "photos" in words or "photos/b" in words else 0)
    whole = launch("predict", run, "photos", "--csv=-")
    lines = but_the_experiment(whole.err)
    assert "warning: photos: left out 1 files whose names do not end as a picture's, as notes.txt" in lines
    assert "warning: photos: left out 1 pictures that predict has drawn, as a/1.png.predicted.png" in lines
    assert lines[-1].startswith("error: 'photos/b/torn.png': cannot decode")


def test_inputs_that_are_not_there_are_named_and_the_others_go_on(run, photos, launch):
    Path("none.txt").write_text("\n")
    wrong = {
        "nowhere.png": "there is no file 'nowhere.png'",
        "*.jpg": "no file matches '*.jpg'",
        "empty": "there are no images in the folder 'empty'",
        "@nowhere.txt": "there is no list 'nowhere.txt'",
        "@none.txt": "the list 'none.txt' is empty",
        "photos/b/torn.png": "'photos/b/torn.png': cannot decode the image",
    }
    for word, says in wrong.items():
        said = launch("predict", run, word, ALL[0], "--csv=-")
        (line,) = but_the_experiment(said.err)
        assert said.code == 2 and says in line and files_in(said.out) == ALL[:1], word
    said = launch("predict", run, *wrong, ALL[0], "--draw=0")
    lines = but_the_experiment(said.err)
    assert all(says in line for line, says in zip(lines, wrong.values(), strict=False))
    assert lines[-1] == "error: 6 of 7 inputs could not be read" and said.out.startswith(ALL[0])


def test_tables_hold_what_is_printed(run, photos, launch):
    said = launch("predict", run, *ALL, "--top=3")
    printed = ranking(said.out)
    assert len(printed) == 9 and said.out.count("drawn in") == 3
    found = launch("predict", run, *ALL, "--top=3", "--csv=found.csv", "--json=found.json")
    assert found.out == "3 images, written to found.csv and found.json\n" and not but_the_experiment(found.err)
    rows = list(csv.DictReader(Path("found.csv").open()))
    assert [(row["class"], round(100 * float(row["probability"]), 2)) for row in rows] == printed
    assert [row["rank"] for row in rows] == ["1", "2", "3"] * 3
    examples = json.loads(Path("found.json").read_text())
    assert [example["file"] for example in examples] == ALL
    flat = [(row["class"], str(row["probability"])) for example in examples for row in example["predictions"]]
    assert flat == [(row["class"], row["probability"]) for row in rows]
    assert json.loads(launch("predict", run, "nowhere.png", "--json=-").out) == []


def test_so_many_are_drawn_as_is_said(run, photos, launch, monkeypatch):
    def drawn(*words: str) -> tuple[int, str]:
        shutil.rmtree(run / "predictions", ignore_errors=True)
        said = launch("predict", run, *ALL, *words)
        assert said.code == 0
        return len(list(run.rglob("*.predicted.png"))), said.out

    assert drawn("--draw=1")[0] == 1 and drawn("--draw=0")[0] == 0
    assert drawn("--csv=-")[0] == 0 and drawn("--csv=-", "--draw=2")[0] == 2
    monkeypatch.setattr("cnn_jax.commands.predict.DRAW", 2)
    count, out = drawn()
    assert count == 2 and out.endswith("the first 2 of 3 are drawn: --draw=N draws more\n")


def test_what_flags_may_say(run, photos, launch):
    for words, says in {
        ("--csv=-", "--json=-"): "would be mixed",
        ("--top=0",): "--top=0: 0 is not a positive integer",
        ("--draw=-1",): "--draw=-1: -1 is not a non-negative integer",
        ("--csv=nowhere/a.csv",): "'nowhere/a.csv': No such file or directory",
    }.items():
        said = launch("predict", run, ALL[0], *words)
        assert said.code == 2 and says in said.err, said.err


def test_a_few_batches_are_held_however_many_files_there_are(run, photos, monkeypatch):
    held, most = [0], [0]
    read = inputs.example_of

    def counted(found, spec, *, convert=False):
        held[0] += 1
        most[0] = max(most[0], held[0])
        return read(found, spec, convert=convert)

    monkeypatch.setattr(inputs, "example_of", counted)
    monkeypatch.setattr(inputs, "BATCH", 4)
    spec = load(run).predictor.spec
    count = 0
    for part in inputs.read_all([ALL[0]] * 50, spec):
        time.sleep(0.01)
        held[0] -= len(part)
        count += len(part)
    assert count == 50 and most[0] <= 3 * 4
