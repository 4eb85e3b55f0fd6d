"""doctor and list, and the page of all commands."""

import pytest

from cnn_jax import config as configuration
from cnn_jax import parts
from cnn_jax.data import fashion_mnist, mnist1d
from cnn_jax.launch import cli
from cnn_jax.lookup import lookup
from cnn_jax.models.lenet import lenet5_28
from cnn_jax.train import revision


def test_list_shows_what_stands_in_the_docstrings(project, launch):
    (project / "experiments" / "helper.py").write_text("x = 1\n")
    (project / "experiments" / "torn.py").write_text("def experiment(:\n")
    said = launch("list")
    assert said.code == 0 and said.err == ""
    assert "experiments/tiny.py\n    Digits, but tiny.\n    reproduces: nothing." in said.out
    assert "expected:   little." in said.out and "helper.py" not in said.out
    assert "experiments/torn.py\n    cannot be read: 'experiments/torn.py', line 1: invalid syntax" in said.out


def test_list_elsewhere_names_those_that_come_along(tmp_path, monkeypatch, launch):
    monkeypatch.chdir(tmp_path)
    said = launch("list")
    assert said.code == 0 and said.err == ""
    assert "\ndigits\n" in f"\n{said.out}" and "command:    python launch.py train digits\n" in said.out
    monkeypatch.setattr("sys.argv", ["/usr/bin/cnn_jax"])
    said = launch("list")
    assert "command:    cnn_jax train digits\n" in said.out and "launch.py" not in said.out


def test_list_shows_the_experiments_of_a_name(launch):
    said = launch("list", "experiments", "Fashion")
    assert said.code == 0 and said.out.splitlines()[0].endswith("fashion_mnist_fast.py") and "digits" not in said.out
    assert launch("list", "experiments").out == launch("list").out


def test_list_models_shows_the_published_ones(launch):
    said = launch("list", "models", "LeNet5_")
    assert said.code == 0 and said.err == ""
    assert [line.split() for line in said.out.splitlines()[:2]] == [
        ["model", "task", "input", "parameters", "multiply-adds", "source"],
        ["lenet5_28", "classify", "28x28x1", "61,706", "416,520", *lenet5_28.source.split()],
    ]
    detectors = launch("list", "models", "--task=detect").out.splitlines()[1:-2]
    names = {line.split()[0] for line in detectors}
    assert {"retinanet_resnet50_fpn", "point_detector"} <= names and not {"resnet50", "vgg16"} & names
    assert "for the task detect" in launch("list", "models", "alexnet", "--task=detect").err
    assert launch("list", "sources", "--task=detect").code == 2
    everything = launch("list", "models").out
    assert all(f"\n{name} " in everything for name in ("resnet50", "lenet5", "conv_base"))
    assert all(lookup(line.split()[0]) for line in everything.splitlines()[1:-2])


@pytest.mark.parametrize("kind", [kind for kind in parts.KINDS if kind != "models"])
def test_list_shows_what_a_field_may_name(kind, launch):
    said = launch("list", kind)
    *paragraphs, last = said.out.split("\n\n")
    lines = paragraphs[0].splitlines()
    assert said.code == 0 and len(paragraphs) == 1 and all(line.startswith("    ") for line in lines[1::2])
    assert all(lookup(line.partition("(")[0]) for line in lines[::2])
    assert lines[::2] == sorted(lines[::2]) and all(text.strip() for text in lines[1::2])
    fields = [name for name, field in configuration.fields() if field.metadata.get("kind") == kind]
    use = f"{fields[0]}=NAME" if kind != "losses" else "model.task='segment(loss=NAME)'"
    assert last == f"Use one with: python launch.py train EXPERIMENT --config.{use}\n"


def test_list_says_settings_and_finds_a_part_of_a_name(launch):
    assert launch("list", "augmentations", "Flip").out.splitlines()[:2] == [
        "flip(probability=0.5, vertical=0.0)",
        "    Mirror left and right with `probability`, and top and bottom with the probability `vertical`.",
    ]
    assert "compose(A, B, ...)\n" in launch("list", "augmentations", "comp").out
    assert launch("list", "sources", "npz").out.startswith("npz(PATH, size=None, ")
    assert launch("list", "evaluations", "else").out.startswith("elsewhere(source=SOURCE, split='test', ")


def test_list_says_what_it_does_not_know(launch):
    for words, text in (
        (("model",), "unknown list 'model': did you mean 'models'?"),
        (("models", "lenet.lenet6"), "no model's name is like 'lenet.lenet6': did you mean 'lenet5'?"),
        (("models", "a", "b"), "leftover words 'b'"),
        (("schedules", "cosinus"), "no name of schedules contains 'cosinus': did you mean 'cosine'?"),
    ):
        said = launch("list", *words)
        assert said.code == cli.BAD_INPUT and said.out == "" and text in said.err


def test_doctor_says_what_is_there_and_how_to_get_the_rest(launch, monkeypatch):
    monkeypatch.setattr(mnist1d, "available", lambda: None)
    monkeypatch.setattr(fashion_mnist, "available", lambda: "apt install dataset-fashion-mnist")
    monkeypatch.setattr(revision, "revision", lambda: revision.Revision("abc"))
    said = launch("doctor")
    assert said.code == 0 and said.err == ""
    lines = [line.split(maxsplit=1) for line in said.out.splitlines()]
    assert ["digits", "present"] in lines and ["mnist1d", "present"] in lines
    assert ["fashion_mnist", "apt install dataset-fashion-mnist"] in lines
    names = [line[0] for line in lines]
    assert {"python", "jax", "flax", "optax", "orbax-checkpoint", "git"} <= set(names)
    assert ["git", "abc"] in lines
    assert sum(name.startswith("cpu:") or name.startswith("TFRT_CPU") for name in names) == 8


def test_doctor_warns_of_changes_that_are_not_committed(launch, monkeypatch):
    monkeypatch.setattr(revision, "revision", lambda: revision.Revision("abc", ("cnn_jax/new.py", "README.md")))
    said = launch("doctor")
    assert said.code == 0 and "abc with changes" in said.out
    assert said.err.startswith("warning: 2 files of the project are changed or new since its last commit, as 'cnn_jax")
    assert said.err.count("\n") == 1


def test_every_command_has_help_and_a_line_in_the_page(launch):
    page = launch("--help")
    assert page.code == 0 and launch().code == cli.BAD_INPUT
    verbs = "describe doctor eval explain import list look manifest plan predict report reproduce submit sweep train"
    assert cli.verbs() == verbs.split()
    for verb in cli.verbs():
        said = launch(verb, "--help")
        assert said.code == 0 and said.out.splitlines()[2].startswith(f"python launch.py {verb}")
        assert f"{verb:10} {said.out.splitlines()[0]}" in page.out
