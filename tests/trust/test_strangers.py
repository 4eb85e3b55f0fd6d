"""What a stranger's file can make the commands do: answer in one line.

Each of the files below is given to a command within this process, while an audit hook of Python listens. No code of the
file may run, no program start, nothing be connected to, nothing be written outside the run folder; the answer is right
or one line; the memory and the time it takes are bounded.
"""

import base64
import json
import os
import resource
import shutil
import struct
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cnn_jax.train import mesh
from tests.trust.hostile import (
    CONFIGS,
    DATA,
    EXPLAINED,
    FOLDERS,
    FUNCTIONS,
    IMAGES,
    TOUCH,
    WEIGHTS,
    changed,
    put,
)

MEMORY = 700 * 2**20  # bytes by which the process may grow over all of them
SECONDS = 20.0  # of one command
COUNT = len(WEIGHTS) + len(IMAGES) + len(CONFIGS) + len(DATA) + len(FOLDERS)


def test_there_are_enough():
    assert COUNT >= 170


@pytest.fixture(scope="module", autouse=True)
def bounded_memory():
    """The most memory that the process ever had grows by little."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


@pytest.fixture
def answers(launch, deeds, tmp_path, monkeypatch):
    """answers(words, inside): runs a command and checks all that is said above; returns what it said."""
    monkeypatch.chdir(tmp_path)

    def call(words: list[object], inside: Path, *, refused: bool) -> Any:
        began = time.monotonic()
        with deeds() as seen:
            said = launch(*words)
        assert time.monotonic() - began < SECONDS
        cache = os.environ["JAX_COMPILATION_CACHE_DIR"]
        done = [(event, what) for event, what in seen.outside(inside) if not what.startswith((cache, os.devnull))]
        assert done == []
        assert not [path for path in tmp_path.rglob("canary*") if path != tmp_path / "stranger"]
        assert said.code == (2 if refused else said.code) and said.code in (0, 2)
        if said.code:
            assert said.err.count("\n") == 1 and said.err.startswith("error: ") and len(said.err) < 1500
        return said

    return call


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(name, answers, tmp_path):
    WEIGHTS[name](tmp_path / "weights")
    answers(["import", "squeezenet1_1", tmp_path / "weights", f"--workdir={tmp_path / 'made'}"], tmp_path, refused=True)
    assert not (tmp_path / "made").exists()


@pytest.fixture(scope="module")
def shared(trained, tmp_path_factory):
    """A copy of the run in which predictions are written, and which is otherwise not changed."""
    return Path(shutil.copytree(trained, tmp_path_factory.mktemp("shared") / "run"))


@pytest.mark.parametrize("name", IMAGES)
def test_images(name, answers, shared, tmp_path):
    path = tmp_path / "image.png"
    IMAGES[name](path)
    answers(["predict", shared, path, "--convert"], shared, refused=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations(name, answers, run):
    changed(run / "config.json", CONFIGS[name])
    refused = not name.startswith(("augment = ", "optim.build = ", "evaluate.also = "))
    said = answers(["predict", run, run.parent / "picture.png"], run, refused=refused)
    assert said.code == 2


@pytest.mark.parametrize("name", DATA)
def test_descriptions_of_data(name, answers, run):
    changed(run / "data.json", DATA[name])
    answers(["predict", run, run.parent / "picture.png"], run, refused=True)


@pytest.mark.parametrize("name", FOLDERS)
def test_run_folders(name, answers, run):
    (run.parent / "elsewhere").mkdir()
    (run.parent / "mine").write_text("precious")
    FOLDERS[name](run)
    answers(["predict", run, run.parent / "picture.png"], run, refused=True)
    assert (run.parent / "mine").read_text() == "precious" and not list((run.parent / "elsewhere").iterdir())
    assert not (run.parent / "new").exists()


@pytest.mark.parametrize("name", EXPLAINED)
def test_folders_of_explanations(name, answers, run):
    """And nothing is run but what `predict` runs."""
    (run.parent / "elsewhere").mkdir()
    (run.parent / "mine").write_text("precious")
    EXPLAINED[name](run)
    answers(["explain", run, run.parent / "picture.png", "--methods=gradient"], run, refused=True)
    assert (run.parent / "mine").read_text() == "precious" and not list((run.parent / "elsewhere").iterdir())


def test_eval_opens_the_source_and_nothing_else_does(answers, run, tmp_path):
    """`eval` reads the data that the configuration names; `predict` does not look at it."""
    changed(run / "config.json", put("data.source", "folder:/nowhere"))
    assert answers(["predict", run, run.parent / "picture.png"], run, refused=False).code == 0
    assert "/nowhere" in answers(["eval", run], run, refused=True).err


def test_a_network_that_takes_too_much_memory_is_not_run(answers, run, monkeypatch):
    monkeypatch.setattr(mesh, "memory", lambda: 1000)
    said = answers(["predict", run, run.parent / "picture.png"], run, refused=True)
    assert "to compute the model takes 0.0 GB, at most 75% of the memory" in said.err


@pytest.mark.parametrize(
    "features",
    [
        {"pythonClassName": "antigravity.Text", "featuresDict": {"features": {}}},
        {"type": "antigravity.Text", "content": {}},
        {
            "pythonClassName": "tensorflow_datasets.a.B",
            "features": [{"image": {"pythonClassName": "antigravity.Text"}}],
        },
    ],
)
def test_a_prepared_set_imports_no_module(features, answers, run, tmp_path):
    """TFDS would import what features.json names; this module of Python's would open a browser."""
    folder = tmp_path / "set" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    (folder / "features.json").write_text(json.dumps(features))
    said = answers(["eval", run, f"--data=tfds:{tmp_path / 'set'}"], run, refused=True)
    assert "not of TFDS: their code is not imported" in said.err and "antigravity" not in sys.modules


def test_report_of_all_that_strangers_send(answers, run, tmp_path):
    """It reads JSON, logs and outputs, and looks up no name; what it cannot read is one line each."""
    runs = tmp_path / "stranger" / "runs"
    changes = {f"c{i}": ("config.json", change) for i, change in enumerate(CONFIGS.values())}
    changes |= {f"d{i}": ("data.json", change) for i, change in enumerate(DATA.values())}
    changes |= {
        "deep": ("results.json", "[" * 100_000),
        "large": ("results.json", '{"seed": ' + "9" * 5000 + "}"),
        "log": ("metrics.jsonl", '{"step": 1e999, "split": "train"}\n' * 2),
        "split": ("results.json", put("also", {"\x1b[2J\n": {"loss": 1e308}, "<script>x": {"loss": 1}})),
        "notes": ("data.json", put("notes", ["<script>x", {"<script>x": "</script><script>x"}])),
        "name": ("config.json", lambda values: values.update(name="</script><script>x", keep=8)),
    }
    for name, (file, change) in changes.items():
        folder = shutil.copytree(run, runs / name, ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
        changed(folder / file, change)
        (folder / "outputs").mkdir()
        with (folder / "outputs" / "logits.npy").open("wb") as array:
            array.truncate(2**40)
    changed(runs / "notes" / "config.json", put("keep", 9))  # or it would repeat another one, and be left out
    (tmp_path / "precious.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">IIII", 0, 0, 8, 8) + b"precious" * 3)
    (runs / "notes" / "figures").mkdir(exist_ok=True)
    (runs / "notes" / "figures" / "gallery.png").unlink(missing_ok=True)
    (runs / "notes" / "figures" / "gallery.png").symlink_to(tmp_path / "precious.png")
    (runs / "log" / "data.json").unlink()
    os.mkfifo(runs / "log" / "data.json")
    said = answers(["report", runs], runs, refused=False)
    assert said.code == 0 and "page in" in said.out and "\x1b" not in said.out + said.err
    page = (runs / "report.html").read_text()
    assert "\x1b" not in page and "<script>x" not in page and page.count("&lt;script&gt;x") > 4
    assert base64.b64encode(b"precious").decode()[:-4] not in page and "gallery.png" not in page
    assert said.err.count("\n") < len(changes) + 2
    (runs / "c0" / "figures" / "report.html").symlink_to(tmp_path / "canary")
    assert "is a link" in answers(["report", runs / "c0"], runs, refused=True).err


def test_list_and_doctor_and_describe(answers, tmp_path):
    """They run no experiment: list reads what the files say of themselves."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    evil = f'"""An experiment."""\n{TOUCH.format(str(tmp_path / "canary"))}\ndef experiment():\n    pass\n'
    for name, content in {
        "evil": evil.encode(),
        "bom": b"\xef\xbb\xbf" + evil.encode(),
        "nul": evil.encode() + b"\0",
        "deep": b"def experiment(): pass\nx = " + b"(" * 100_000,
        "latin": b'"""\xe9"""\ndef experiment(): pass\n',
        "large": evil.encode() + b"#" * 2**21,
    }.items():
        (folder / f"{name}.py").write_bytes(content)
    os.mkfifo(folder / "pipe.py")
    (folder / "folder.py").mkdir()
    (folder / "device.py").symlink_to("/dev/zero")
    said = answers(["list"], tmp_path, refused=False)
    assert said.code == 0 and said.out.count("An experiment.") == 2 and "cannot be read" in said.out
    assert answers(["list", "models", "lenet"], tmp_path, refused=False).code == 0
    for model in (*FUNCTIONS["model.build"][:14], "experiment.net", str(folder / "evil.py")):
        answers(["describe", model], tmp_path, refused=True)
