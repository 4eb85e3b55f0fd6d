"""doctor and list, and the page of all commands."""

from cnn_jax.data import fashion_mnist, mnist1d
from cnn_jax.launch import cli
from cnn_jax.lookup import lookup
from cnn_jax.models.lenet import lenet5_28


def test_list_shows_what_stands_in_the_docstrings(project, launch):
    (project / "experiments" / "helper.py").write_text("x = 1\n")
    (project / "experiments" / "torn.py").write_text("def experiment(:\n")
    said = launch("list")
    assert said.code == 0 and said.err == ""
    assert "experiments/tiny.py\n    Digits, but tiny.\n    reproduces: nothing." in said.out
    assert "expected:   little." in said.out and "helper.py" not in said.out
    assert "experiments/torn.py\n    cannot be read: 'experiments/torn.py', line 1: invalid syntax" in said.out


def test_list_elsewhere_says_where_to_go(tmp_path, monkeypatch, launch):
    monkeypatch.chdir(tmp_path)
    said = launch("list")
    assert said.code == 2 and "come with the repository" in said.err


def test_list_models_shows_the_published_ones(launch):
    said = launch("list", "models", "LeNet5_")
    assert said.code == 0 and said.err == ""
    assert [line.split() for line in said.out.splitlines()[:2]] == [
        ["model", "input", "parameters", "multiply-adds", "source"],
        ["lenet5_28", "28x28x1", "61,706", "416,520", *lenet5_28.source.split()],
    ]
    everything = launch("list", "models").out
    assert all(f"\n{name} " in everything for name in ("resnet50", "lenet5", "conv_base"))
    assert all(lookup(line.split()[0]) for line in everything.splitlines()[1:-2])


def test_list_says_what_it_does_not_know(launch):
    for words, text in (
        (("model",), "unknown list 'model': did you mean 'models'?"),
        (("models", "lenet.lenet6"), "no model's name is like 'lenet.lenet6': did you mean 'lenet5'?"),
        (("models", "a", "b"), "leftover words 'b'"),
    ):
        said = launch("list", *words)
        assert said.code == cli.BAD_INPUT and said.out == "" and text in said.err


def test_doctor_says_what_is_there_and_how_to_get_the_rest(launch, monkeypatch):
    monkeypatch.setattr(mnist1d, "available", lambda: None)
    monkeypatch.setattr(fashion_mnist, "available", lambda: "apt install dataset-fashion-mnist")
    said = launch("doctor")
    assert said.code == 0 and said.err == ""
    lines = [line.split(maxsplit=1) for line in said.out.splitlines()]
    assert ["digits", "present"] in lines and ["mnist1d", "present"] in lines
    assert ["fashion_mnist", "apt install dataset-fashion-mnist"] in lines
    names = [line[0] for line in lines]
    assert {"python", "jax", "flax", "optax", "orbax-checkpoint", "git"} <= set(names)
    assert sum(name.startswith("cpu:") or name.startswith("TFRT_CPU") for name in names) == 8


def test_every_command_has_help_and_a_line_in_the_page(launch):
    page = launch("--help")
    assert page.code == 0 and launch().code == cli.BAD_INPUT
    assert cli.verbs() == ["describe", "doctor", "eval", "import", "list", "predict", "train"]
    for verb in cli.verbs():
        said = launch(verb, "--help")
        assert said.code == 0 and f"python launch.py {verb}" in said.out
        assert f"{verb:10} {said.out.splitlines()[0]}" in page.out
