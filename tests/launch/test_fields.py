"""What --help says of fields and flags: what they mean, how a value is written, and where names are listed."""

import pytest

from cnn_jax import config as configuration
from cnn_jax.launch import fields
from cnn_jax.parts import KINDS


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("data.source", "a function, see launch.py list sources"),
        ("data.validation", "a number, at least 0, below 1"),
        ("data.labels", "a number, above 0, at most 1"),
        ("data.shuffle", "true or false"),
        ("optim.warmup", "a duration, as 20 epochs, 500 steps, 60000 examples or 5%"),
        ("duration", "a duration, as 20 epochs, 500 steps or 60000 examples"),
        ("compute.parallel", "jit, fsdp or pmap"),
        ("keep", "a whole number, at least 1"),
        ("transfer.weights", "text"),
    ],
)
def test_the_form_of_a_value(name, form, launch):
    field = dict(configuration.fields())[name]
    assert fields.form(field.type, field.metadata) == form
    assert f"  --config.{name}\n        {field.metadata['help']} ({form})\n" in f"{fields.help_of(None)}\n"


def test_every_function_is_of_a_kind_that_is_listed():
    kinds = [field.metadata["kind"] for _, field in configuration.fields() if field.metadata.get("called") is not None]
    assert sorted([*kinds, "losses"]) == sorted(KINDS)  # a loss is a setting of a task


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("augment=flp", "did you mean 'flip'? (a function, see launch.py list augmentations)"),
        ("optim.schedule=adamw", "(launch.py list schedules shows what can)"),
        ("seed=x", "(a whole number, at least 0)"),
        ("data.shufle=true", "did you mean 'data.shuffle'? (launch.py train --help lists them)"),
    ],
)
def test_an_error_says_what_lists_the_right_values(flag, says, launch):
    said = launch("train", "digits", f"--config.{flag}")
    assert said.code == 2 and said.err.count("\n") == 1 and said.err.endswith(f"{says}\n")


def test_flags_say_what_they_take(launch):
    said = launch("eval", "--help").out
    assert "--split: <train|validation|test|all>: " in said
    assert "--classes: number of classes (a positive integer)" in launch("describe", "--help").out
