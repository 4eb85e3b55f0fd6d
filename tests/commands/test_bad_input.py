"""Whatever a user may get wrong ends in one line that says what and what to do, its exit code, and nothing written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import mnist1d

TINY = "experiments/tiny.py"
TRAIN = f"train {TINY} --workdir=new"


class Bad(NamedTuple):
    """Words of a command (RUN is a run folder) in a project prepared by `files`, and what the error must say."""

    words: str
    says: tuple[str, ...]
    files: Callable[[Path], object] = lambda project: None
    code: int = 2


def image(name: str, shape: tuple[int, ...]) -> Callable[[Path], None]:
    return lambda project: Image.fromarray(np.zeros(shape, np.uint8)).save(project / name)


def text(name: str, words: str) -> Callable[[Path], object]:
    return lambda project: (project / name).write_text(words)


def array(name: str, value: object) -> Callable[[Path], None]:
    return lambda project: np.save(project / name, np.asarray(value))


def archive(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda project: np.savez(project / "data.npz", **arrays)


def experiment(code: str) -> Callable[[Path], object]:
    return text("experiments/mine.py", code)


def folders(*paths: str) -> Callable[[Path], None]:
    """Class folders with an image in those whose path does not end with a slash."""

    def make(project: Path) -> None:
        for path in paths:
            (project / path).mkdir(parents=True)
            if not path.endswith("/"):
                Image.fromarray(np.zeros((8, 8), np.uint8)).save(project / path / "image.png")

    return make


def changed(old: str, new: str) -> Callable[[Path], object]:
    """experiments/mine.py: the tiny experiment with `new` in place of `old`."""
    return lambda project: experiment((project / TINY).read_text().replace(old, new))(project)


def swept(name: str) -> Callable[[Path], object]:
    """new/sweep.json, of an experiment of this name."""
    lists = {"fixed": {}, "space": {}, "seeds": [0], "rungs": []}
    values = {"name": name, "digest": "", "method": "grid", "trials": 0, "eta": 3, **lists}
    return lambda project: (project / "new").mkdir() or text("new/sweep.json", json.dumps(values))(project)


PIXELS, LABELS = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1])

COMMAND_LINE = {
    "unknown command": Bad("trian", ("unknown command 'trian'", "did you mean 'train'")),
    "unknown flag": Bad(f"{TRAIN} --workdri=x", ("unknown flag '--workdri'", "did you mean '--workdir'")),
    "a field without config.": Bad(f"{TRAIN} --lr=1", ("unknown flag '--lr': did you mean '--config.optim.lr'?",)),
    "a field without its config": Bad(f"{TRAIN} --confg.duration=1", ("did you mean '--config.duration'?",)),
    "unknown flag of a command without any": Bad("list --all", ("unknown flag '--all'", "list --help")),
    "unknown flag of eval": Bad("eval RUN --splits=test", ("--splits", "did you mean '--split'")),
    "a word too many": Bad(f"{TRAIN} again", ("leftover words 'again'", "--help")),
    "no such list": Bad("list digits", ("unknown list 'digits'", "models")),
    "a word too many for list": Bad("list models resnet vgg", ("leftover words 'vgg'",)),
    "no experiment": Bad("train", ("say which experiment", "launch.py list")),
    "no run folder": Bad("eval", ("say one run folder",)),
    "no image": Bad("predict RUN", ("at least one image",)),
    "unknown experiment": Bad("train tinny", ("no experiment 'tinny'", "did you mean 'tiny'", "launch.py list")),
    "unknown experiment file": Bad("train experiments/tinny.py", ("did you mean 'tiny'",)),
    "no processes": Bad(f"{TRAIN} --processes=0", ("--processes=0", "positive integer")),
    "an unknown experiment in processes": Bad("train tinny --processes=2", ("did you mean 'tiny'",)),
    "no number among the seeds": Bad(f"{TRAIN} --seeds=0,one", ("--seeds=0,one", "--seeds=0,1,2")),
    "a negative seed": Bad(f"{TRAIN} --seeds=-1", ("--seeds=-1", "--seeds=0,1,2")),
    "a seed twice": Bad(f"{TRAIN} --seeds=1,1", ("different numbers",)),
    "no seeds": Bad(f"{TRAIN} --seeds=", ("--seeds=0,1,2",)),
    "unknown split": Bad("eval RUN --split=tset", ("--split=tset", "train|validation|test")),
}

EXPERIMENT_FILES = {
    "syntax error": Bad("train mine", ("experiments/mine.py', line 2", "expected ':'"), experiment("\nif True\n")),
    "no experiment()": Bad("train mine", ("mine.py' defines no function experiment()",), experiment("x = 1\n")),
    "error in the file": Bad("train mine", ("mine.py', line 2: NameError", "'y'"), experiment("x = 1\nx = y\n")),
    "unknown field in the file": Bad(
        "train mine",
        ("mine.py', line 4: TypeError", "'sorce'"),
        experiment("from cnn_jax.config import Data\n\ndef experiment():\n    return Data(sorce='digits')\n"),
    ),
    "something else returned": Bad(
        "train mine", ("returns int, not",), experiment("def experiment():\n    return 1\n")
    ),
    "a lambda": Bad(
        "train mine",
        ("augment: <function", "define it at the top level"),
        changed("augment=identity", "augment=lambda keys, batch: batch"),
    ),
    "arguments without a name": Bad(
        "train mine",
        ("optim.build", "name the arguments of functools.partial"),
        changed("build=sgd", "build=partial(sgd, 1)"),
    ),
}


def field(setting: str, *says: str, files: Callable[[Path], object] = lambda project: None) -> Bad:
    return Bad(f"{TRAIN} --config.{setting}", says, files)


FIELDS = {
    "unknown field": field("optm.lr=1", "unknown field 'config.optm.lr'", "did you mean 'optim.lr'"),
    "a field that moved": field(
        "data.image_size=64",
        "unknown field 'config.data.image_size': it is now a setting of the source",
        "--config.data.source='folder(PATH, size=64",
    ),
    "another": field("evaluate_every=5epochs", "'config.evaluate_every': it is now evaluate.every"),
    "a third": field("data.eval_batch_size=64", "it is now evaluate.batch_size"),
    "a fourth": field("data.corrupt=error", "it is now a setting of the source"),
    "a group of fields": field("optim=1", "unknown field 'config.optim'"),
    "no number": field("optim.lr=fast", "--config.optim.lr=fast"),
    "no integer": field("seed=1.5", "--config.seed=1.5"),
    "no truth value": field("compute.remat=perhaps", "--config.compute.remat=perhaps"),
    "no value": field("optim.lr", "config.optim.lr"),
    "a share of the target": field("model.task=classify(label_smoothing=2)", "label_smoothing = 2 must be"),
    "no widths": field("model.build=small_cnn(features=32)", "features=32) makes no model: TypeError"),
    "no width": field("model.build=small_cnn(features=(0,))", "makes no model: ZeroDivisionError"),
    "no source": field("data.source=small_cnn", "small_cnn is no source of data: it returns no splits"),
    "nan": field("optim.lr=nan", "optim.lr = nan must be a finite number"),
    "inf": field("optim.clip=inf", "optim.clip = inf must be a finite number"),
    "negative": field("optim.weight_decay=-0.1", "optim.weight_decay = -0.1 must be at least 0"),
    "zero": field("optim.lr=0", "optim.lr = 0.0 must be above 0"),
    "too much": field("data.validation=1", "data.validation = 1.0 must be below 1"),
    "no such choice": field("compute.parallel=jti", "compute.parallel = 'jti'", "did you mean 'jit'"),
    "no such number of channels": field("data.source=digits(channels=2)", "channels must be 1, 3 or 4"),
    "no duration": field("duration=10", "duration = '10'", "'20 epochs'"),
    "no such unit": field("warmup=3parsecs", "unknown field 'config.warmup'", "did you mean 'optim.warmup'"),
    "no such unit of time": field("optim.warmup=3parsecs", "optim.warmup = '3parsecs'", "'5%'"),
    "a percentage of itself": field("duration=5%", "5%"),
    "no training": field("duration=0steps", "at least 1 step"),
    "no folder's name": field("name=a/b", "name = 'a/b'"),
    "unknown function": field("optim.build=adamm", "unknown name 'adamm'", "did you mean 'adam'"),
    "unknown setting": field("optim.build=sgd(momentm=0.9)", "no setting 'momentm'", "did you mean 'momentum'"),
    "unknown setting of a model": field("model.build=resnet20(acct=1)", "no field 'acct'", "did you mean 'act'"),
    "a function of another kind": field("optim.schedule=adamw", "optim.schedule", "f(peak, steps, warmup)"),
    "code": field("optim.build=__import__('os').system('touch\tnew')", "literals or names of functions"),
    "a model too deep for the images": field("model.build=small_cnn(features=(4,4,4,4,4))", "SmallCNN"),
    "accumulation": field("optim.accumulate=3", "batch_size = 16", "optim.accumulate = 3"),
    "devices that do not divide the batch": field("compute.devices=3", "16", "does not divide", "use a multiple of 3"),
    "too many devices": field("compute.devices=9", "compute.devices = 9", "at most 8"),
}

DATA = {
    "unknown source": field("data.source=digit", "unknown name 'digit'", "did you mean 'digits'"),
    "no such folder": field("data.source=folder:nothing", "folder:nothing is not a folder", "give the path"),
    "no class folders": field("data.source=folder:experiments", "no class folders"),
    "an empty class folder": field("data.source=folder:x", "x/b has no images", files=folders("x/a", "x/b/")),
    "a class missing in test": field(
        "data.source=folder:x", "'b' is missing", files=folders("x/train/a", "x/train/b", "x/test/a")
    ),
    "no image that can be decoded": field(
        "data.source=folder:x", "not one of", files=lambda p: folders("x/a/", "x/b/")(p) or broken(p / "x")
    ),
    "no archive": field("data.source=npz:no.npz", "npz:no.npz is not a file"),
    "a damaged archive": field("data.source=npz:data.npz", "not a readable .npz", files=text("data.npz", "PK")),
    "an archive without labels": field(
        "data.source=npz:data.npz", "not the labels to it", files=archive(train_images=PIXELS)
    ),
    "an archive of something else": field(
        "data.source=npz:data.npz", "no train_images and train_labels", "weights", files=archive(weights=PIXELS)
    ),
    "a set that is not prepared": field("data.source=tfds:mnist", "tfds:mnist is not prepared", "tfds build mnist"),
    "a package that is not installed": field("data.source=mnist1d", "pip install mnist1d"),
}

TWO = [f"x/{split}/{name}" for split in ("train", "test") for name in "ab"]
NINE = [f"x/{split}/{name}" for split in ("train", "test") for name in range(9)]

RUN_FOLDERS = {
    "a file in the run folder's place": Bad(f"train {TINY} --workdir=notes", ("'notes' is a file",), text("notes", "")),
    "a file in the way": Bad(f"train {TINY} --workdir=notes/x", ("cannot write", "--workdir"), text("notes", "")),
    "a file system that takes no files": Bad(f"train {TINY} --workdir=/proc/run", ("cannot write", "/proc/run")),
    "a folder of something else": Bad(f"train {TINY} --workdir=experiments", ("no run folder", "--workdir")),
    "the same, afresh": Bad(f"train {TINY} --workdir=experiments --fresh", ("no run folder", "--workdir")),
    "eval of no run": Bad("eval experiments", ("'experiments' is not a run folder", "config.json")),
    "eval of nothing": Bad("eval nothing", ("'nothing' is not a run folder",)),
    "eval of a folder of runs": Bad("eval .", ("not a run folder", "but in run")),
    "no folder": Bad(f"train {TINY} --workdir=", ("a path or name is empty",)),
    "a folder in place of a source": Bad("eval RUN --data=x", ("say --data=folder:x",), folders("x/")),
    "no other data": Bad("eval RUN --data=", ("'' is not a function's name",)),
    "nothing to read or to write to": Bad("predict RUN none.png --out=", ("a path or name is empty",)),
    "a name that is too long": Bad(f"eval {'x' * 5000}", ("File name too long", " ... ")),
    "no such checkpoint": Bad("eval RUN --checkpoint=5", ("no good checkpoint of step 5", "[6, 4]")),
    "no checkpoint's name": Bad(
        "eval RUN --checkpoint=newest", ("error: checkpoint=newest: say last, best or a step",)
    ),
    "damaged config.json": Bad("eval run", ("run/config.json' is damaged",), text("run/config.json", '{"name": ')),
    "config.json of another kind": Bad("eval run", ("run/config.json' is damaged",), text("run/config.json", "[]")),
    "a field in config.json that is none": Bad(
        "eval run", ("run/config.json': unknown field 'nmae'", "'name'"), text("run/config.json", '{"nmae": 1}')
    ),
    "an incomplete config.json": Bad("eval run", ("incomplete", "'source'"), text("run/config.json", '{"name": "a"}')),
    "damaged data.json": Bad("eval run", ("run/data.json' is damaged",), text("run/data.json", "{}")),
    "no checkpoint": Bad(
        "eval run", ("no good checkpoint", "train the run"), lambda project: shutil.rmtree(project / "run/checkpoints")
    ),
    "a damaged checkpoint": Bad(
        "predict run a.png --checkpoint=6",
        ("no good checkpoint of step 6",),
        text("run/checkpoints/6/about/metadata", "{}"),
    ),
    "other classes": Bad("eval RUN --data=folder:x", ("other classes", "unknown: a, b"), folders(*TWO)),
    "examples of another shape": Bad(
        "eval RUN --data=npz:data.npz",
        ("(8, 9, 1)", "(8, 8, 1)"),
        archive(
            **{f"{s}_images": np.zeros((20, 8, 9), np.uint8) for s in ("train", "test")}
            | {f"{s}_labels": np.arange(20) % 10 for s in ("train", "test")}
        ),
    ),
    "a folder without a class": Bad(
        "eval RUN --data=folder:x",
        ("other classes", "missing: 9; unknown: ten"),
        folders(*NINE, "x/train/ten", "x/test/ten"),
    ),
    "no such split": Bad(
        "eval RUN --data=folder:x --split=test",
        ("no test split, but train, validation",),
        folders(*(f"x/{s}/{n}" for s in ("train", "val") for n in "ab")),
    ),
}

INPUTS = {
    "no such image": Bad("predict RUN none.png", ("no file 'none.png'",)),
    "a folder": Bad("predict RUN experiments", ("no images in the folder 'experiments': left out 1 files",)),
    "no image at all": Bad("predict RUN a.png", ("'a.png'", "cannot decode", "PNG or JPEG"), text("a.png", "text")),
    "half an image": Bad(
        "predict RUN a.png",
        ("'a.png'", "cannot decode"),
        lambda p: image("a.png", (8, 8))(p) or (p / "a.png").write_bytes((p / "a.png").read_bytes()[:40]),
    ),
    "another size": Bad("predict RUN a.png", ("(9, 8, 1)", "(8, 8, 1)", "--convert"), image("a.png", (9, 8))),
    "other channels": Bad("predict RUN a.png", ("(8, 8, 3)", "--convert"), image("a.png", (8, 8, 3))),
}  # fmt: skip


def sweep(words: str, *says: str, files: Callable[[Path], object] = lambda project: None) -> Bad:
    return Bad(f"sweep {TINY} --workdir=new {words}".strip(), says, files)


LR = "--config.optim.lr=0.1,0.2"
SWEEPS = {
    "an unknown field of a sweep": sweep("--config.optm.lr=0.1,0.2", "unknown field 'config.optm.lr'", "'optim.lr'"),
    "a swept field without =": sweep("--config.optim.lr 0.1,0.2", "--config.optim.lr: write it as --config.FIELD="),
    "a value that makes no sense": sweep("--config.optim.lr=0.1,-1", "optim.lr = -1.0 must be above 0"),
    "a sweep of nothing": sweep("", "nothing is swept", "--config.optim.lr=0.001,0.003"),
    "trials of a grid": sweep(f"{LR} --trials=2", "--trials is for --method=random"),
    "chance without trials": sweep(f"{LR} --method=random", "--method=random: say how many", "--trials=20"),
    "a sweep of the test split": sweep(f"{LR} --config.evaluate.test=end", "--final scores the best on it"),
    "no validation": sweep(f"{LR} --config.data.validation=0", "keep one, as --config.data.validation=0.1"),
    "rungs that leave none": sweep(f"{LR} --rungs=10%", "of 2 configurations none", "try 3 or more"),
    "a sweep in a folder of something else": Bad(f"sweep {TINY} {LR} --workdir=experiments", ("not empty",)),
    "a sweep of a run": Bad(f"sweep run {LR}", ("'run' is no experiment's file", "run/experiment.py")),
    "a sweep folder of another experiment": sweep(
        LR,
        "'new' holds a sweep of the experiment 'other', not of 'tiny'",
        files=swept("other"),
    ),
    "a sweep folder of the experiment as it was": sweep(
        LR,
        "'experiments/tiny.py' is not what it was",
        "launch.py sweep new",
        files=swept("tiny"),
    ),
    "a damaged sweep": Bad("sweep run", ("run/sweep.json' is damaged",), text("run/sweep.json", "{}")),
}

TABLE = {**COMMAND_LINE, **EXPERIMENT_FILES, **FIELDS, **DATA, **RUN_FOLDERS, **INPUTS, **SWEEPS}


def broken(folder: Path) -> None:
    for name in ("a", "b"):
        for number in range(3):
            (folder / name / f"{number}.png").write_bytes(b"\x89PNG")


@pytest.mark.parametrize("name", TABLE)
def test_one_line_and_nothing_written(name, project, trained, run, launch, contents, monkeypatch):
    case = TABLE[name]
    monkeypatch.setenv("TFDS_DATA_DIR", str(project / "tfds"))
    monkeypatch.setattr(mnist1d, "available", lambda: "pip install mnist1d")
    case.files(project)
    before = contents(project), contents(trained)
    said = launch(*(word.replace("RUN", str(trained)).replace("\t", " ") for word in case.words.split(" ")))
    # The run's model is a class of its own file, whose execution is said.
    lines = [line for line in said.err.splitlines() if "experiment.py' is run, because" not in line]
    assert len(lines) == 1 and lines[0].startswith("error: "), said
    for part in case.says:
        assert part in lines[0]
    assert said.code == case.code
    assert (contents(project), contents(trained)) == before


def test_the_loss_becomes_nan(project, launch):
    said = launch("train", TINY, "--workdir=new", "--config.optim.lr=1e30", "--config.max_skipped=2")
    assert said.code == 3
    assert len(said.err.splitlines()) == 1 and said.err.startswith("error: ")
    assert "nan or inf for 2 steps in a row" in said.err and "lower --config.optim.lr" in said.err
    assert not (project / "new" / "results.json").exists()


def test_corrupt_images_are_skipped_and_counted_or_end_the_run(project, launch, write_images, no_pictures):
    damaged = write_images(project / "images") / "left" / "3.png"
    damaged.write_bytes(damaged.read_bytes()[:50])
    words = [
        "train",
        TINY,
        "--config.duration=1steps",
        "--config.data.validation=0",
    ]
    said = launch(*words, "--workdir=new", "--config.data.source=folder(images, corrupt='error')")
    assert said.code == 2 and said.err.startswith("error: images/left/3.png: cannot decode")
    assert len(said.err.splitlines()) == 1 and not (project / "new").exists()
    said = launch(*words, "--workdir=new", "--config.data.source=folder:images")
    assert said.code == 0
    assert all(line.startswith("warning: ") for line in said.err.splitlines())
    assert said.err.count("1 of 20 images looked at cannot be decoded and are left out, as images/left/3.png: ") == 1
    (reason,) = sum(json.loads((project / "new" / "skipped.json").read_text()).values(), [])
    assert reason.startswith("images/left/3.png: cannot decode")
    sizes = json.loads((project / "new" / "data.json").read_text())["examples"]
    tested = np.load(project / "new" / "outputs" / "label.npy")
    assert sizes + len(tested) == 19


def test_a_bug_keeps_its_traceback(project, launch, monkeypatch):
    monkeypatch.setattr("cnn_jax.commands.list.experiment_files", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        launch("list")


def test_debugging_shows_the_traceback_of_an_error(project, launch, monkeypatch):
    monkeypatch.setenv("CNN_JAX_DEBUG", "1")
    said = launch("eval", "nothing")
    assert said.code == 2 and "Traceback" in said.err
    assert said.err.splitlines()[-1].startswith("error: 'nothing'")
