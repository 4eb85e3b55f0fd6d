"""Values of flags for the fields of an experiment, read as the command line reads them, up to the training itself."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_jax import config as configuration
from cnn_jax.commands import train
from cnn_jax.launch import cli
from cnn_jax.lookup import describe

FIELDS = dict(configuration.fields())
WORDS = [
    "",
    " ",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "0x10",
    "1_000",
    "½",
    "None",
    "null",
    "true",
    "False",
    "~",
    "-",
    "=",
    "a,b",
]
NUMBERS = st.integers(-3, 300).map(str) | st.integers().map(str) | st.floats().map(str)
LARGE = st.sampled_from([str(2**31), str(2**70), "9" * 5000])
UNITS = st.sampled_from(["steps", " epochs", "examples", "%", " weeks", ""])
FUNCTIONS = st.sampled_from(
    [
        "digits",
        "folder:x",
        "npz:x",
        "resnet20",
        "wrn_16_4(dropout=0.3)",
        "small_cnn(act=jax.nn.gelu)",
        "classify",
        "sgd",
    ]
    + ["sgd", "adamw(b1=2)", "cosine(final=0.1)", "compose(flip, shift(pixels=4))", "identity", "nothing", "os.system"]
    + ["elsewhere(source='digits')", "resnet20(classes=3)", "compose(compose)", "jax.numpy.load(file='x')", "digits()"]
)
DURATIONS = st.builds("{}{}".format, NUMBERS, UNITS)
VALUES = st.sampled_from(WORDS) | NUMBERS | LARGE | DURATIONS | FUNCTIONS | st.text(max_size=12)

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "digits.py"


@pytest.fixture
def parsed(monkeypatch, capsys):
    """parsed(*flags): the exit code, the configuration that would be trained, if any, and what was said."""
    found = []
    monkeypatch.setattr(train, "_train", lambda config, *_, **__: found.append(config) or {})

    def call(*flags):
        found.clear()
        capsys.readouterr()
        code = cli.main(["train", str(EXPERIMENT), *flags])
        return code, found[0] if found else None, capsys.readouterr().err

    return call


@given(flags=st.dictionaries(st.sampled_from(sorted(FIELDS)), VALUES, min_size=1, max_size=3))
def test_any_value_of_any_field_makes_an_experiment_or_one_line(flags, parsed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, config, err = parsed(*(f"--config.{name}={value}" for name, value in flags.items()))
    if code:
        assert code == 2 and config is None and err.startswith("error: ") and err.count("\n") == 1
    else:
        configuration.check(config)
        again = configuration.from_json(configuration.to_json(config))
        assert configuration.to_json(again) == configuration.to_json(config)
    assert not list(tmp_path.iterdir())


PIECES = ["--config.", "--noconfig.", "--conf", "-", "--seeds=", "--workdir=", "=", "1", "--fresh", "--"]


@given(words=st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=4))
def test_any_words_are_answered(words, parsed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "_train_seeds", lambda *_: 0)
    code, _, err = parsed("".join(words[:2]), *words[2:])
    assert code in (0, 2) and (code == 0 or err.count("\n") == 1)


@pytest.mark.parametrize(("name", "value"), [("augment", "identity"), ("evaluate.also", "nothing")])
def test_what_the_help_of_a_field_offers_may_be_written_so(name, value, parsed):
    assert value in FIELDS[name].metadata["help"] or describe(FIELDS[name].default).endswith(value)
    code, config, err = parsed(f"--config.{name}={value}")
    assert (code, err) == (0, "") and config is not None
