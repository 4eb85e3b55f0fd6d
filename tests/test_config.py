"""The configuration: what it refuses, and its way through JSON."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import pytest

from cnn_jax import config as configuration
from cnn_jax.augment.compose import compose, identity
from cnn_jax.augment.geometry import flip, shift
from cnn_jax.config import (
    Compute,
    Data,
    Evaluate,
    Experiment,
    Model,
    Optim,
    check,
    completed,
    differences,
    from_json,
    to_json,
)
from cnn_jax.data.digits import digits
from cnn_jax.data.folder import folder
from cnn_jax.evals.also import nothing, several
from cnn_jax.evals.also.elsewhere import elsewhere
from cnn_jax.lookup import load_file
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adamw, sgd
from cnn_jax.train.schedules import cosine
from cnn_jax.train.steps import in_steps

GROUPS = ("data", "model", "optim", "compute", "transfer", "evaluate")
FILES = sorted((Path(__file__).parents[1] / "experiments").glob("*.py"))
EXPERIMENTS = [path for path in FILES if "def experiment(" in path.read_text()]


@pytest.fixture
def config() -> Experiment:
    return Experiment(
        name="a",
        data=Data(source=digits),
        model=Model(build=partial(small_cnn, features=(4,)), task=classify),
        optim=Optim(build=sgd, lr=0.1, schedule=cosine),
        augment=compose(flip, partial(shift, pixels=2)),
    )


def put(config: object, name: str, value: object) -> None:
    *path, last = name.split(".")
    for part in path:
        config = getattr(config, part)
    assert hasattr(config, last)
    setattr(config, last, value)


REFUSED = {
    "name": ["", "a/b", "..", "a b", 3],
    "data.source": [None, 3, "digits", folder, partial(folder, "photos"), lambda: {}, sgd, partial(digits, sise=3)],
    "data.validation": [-0.1, 1, 1.0, float("nan"), "0.1", True],
    "data.batch_size": [0, -8, 1.5, "8", True],
    "data.labels": [0, 0.0, 1.01, -1, "5%"],
    "model.build": ["resnet20", None, lambda classes, dtype: None, sgd, partial(small_cnn, 3)]
    + [partial(small_cnn, act=digits), partial(small_cnn, norm=partial(folder, path="/etc"))],
    "model.task": [lambda model, spec: None, cosine, partial(nothing, splits=())],
    "optim.build": [cosine, None],
    "optim.schedule": [sgd, adamw, compose()],
    "optim.lr": [0, -1.0, float("nan"), float("inf"), "1"],
    "optim.weight_decay": [-1e-9, float("inf")],
    "optim.warmup": ["5", "-1 steps", "five epochs", "5 weeks", ""],
    "optim.clip": [-1.0],
    "optim.accumulate": [0, 3],
    "optim.ema": [-0.1, 1.0, 1.5],
    "optim.ema_warmup": [0.5, 0, float("inf"), "10"],
    "compute.devices": [-1, 0.5],
    "compute.parallel": ["tpu"],
    "compute.convolution": ["quick"],
    "compute.precision": ["float64"],
    "compute.matmul": ["low"],
    "compute.remat": [1, "yes"],
    "transfer.head": ["old"],
    "transfer.layer_decay": [0, 1.1, float("nan")],
    "transfer.frozen": [3, None],
    "augment": [None, cosine, "flip", compose(lambda keys, batch: batch), compose(digits)],
    "duration": ["10", "ten epochs", 10],
    "extend": ["longer", ""],
    "extended": ["longer", "restart", "restart 5,restart 9", 5],
    "evaluate.every": ["often", "10", 5],
    "evaluate.batch_size": [0, -1, 1.5],
    "evaluate.patience": [-1, 1.5],
    "evaluate.test": ["always", ""],
    "evaluate.also": [None, "nothing", sgd, lambda task, spec, splits: (), elsewhere],
    "save_every": ["1 minute"],
    "log_every": ["nan steps"],
    "keep": [0],
    "max_skipped": [0, -1],
    "seed": [-1, 0.5],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused_by_name_in_one_line(config, name):
    check(config)
    for value in REFUSED[name]:
        broken = dataclasses.replace(config, **{group: dataclasses.replace(getattr(config, group)) for group in GROUPS})
        put(broken, name, value)
        with pytest.raises(ValueError) as error:
            check(broken)
        assert name in str(error.value) and "\n" not in str(error.value)


ALLOWED = {
    "data.validation": [0, 0.0, 0.999],
    "data.batch_size": [1],
    "data.source": [digits, partial(folder, path="photos"), partial(folder, path="my photos", size=(64, 48))],
    "optim.lr": [1, 1e-9],
    "optim.ema": [0.0, 0.9999],
    "optim.ema_warmup": [1, 1.0, 2000],
    "evaluate.also": [nothing, partial(elsewhere, source="digits"), several()],
    "evaluate.test": ["end", "never"],
    "optim.accumulate": [1, 128],
    "optim.warmup": ["0 steps", "5%", "2.5 epochs", "1 epoch", "100examples"],
    "augment": [identity, compose()],
    "name": ["a.b-c_1"],
}


@pytest.mark.parametrize("name", ALLOWED)
def test_the_bounds_themselves_are_allowed(config, name):
    for value in ALLOWED[name]:
        put(config, name, value)
        check(config)


def test_every_bound_of_every_field_has_a_case_above():
    for name, field in configuration.fields():
        bounded = any(field.metadata.get(key) is not None for key in ("low", "above", "high", "below"))
        if bounded or field.metadata.get("choices") or field.metadata.get("duration") or field.metadata.get("called"):
            assert name in REFUSED


def test_every_field_explains_itself():
    for name, field in configuration.fields():
        assert len(field.metadata["help"]) > 10, name


def test_every_default_and_duration_is_understood(config):
    for _, field, value in configuration.walk(config):
        if field.metadata.get("duration"):
            assert in_steps(value, examples=100, batch_size=10, total=100) >= 0


def test_json_and_back(config):
    config.compute = Compute(devices=2, remat=True)
    text = json.dumps(to_json(config), allow_nan=False)
    again = from_json(json.loads(text))
    assert to_json(again) == to_json(config)
    assert again.compute == config.compute and again.data == config.data
    assert again.optim == config.optim
    assert again.model.build.func is small_cnn and again.model.build.keywords == {"features": (4,)}
    assert again.data.source is digits and again.evaluate.also is nothing


def test_sources_and_further_evaluations_go_through_json(config):
    config.data.source = partial(folder, path="my photos", size=(64, 48), random_area=(0.08, 1.0))
    config.evaluate = Evaluate(every="2 epochs", test="never", also=several(partial(elsewhere, source="folder:a, b")))
    check(config)
    values = json.loads(json.dumps(to_json(config)))
    assert values["data"]["source"] == (
        "cnn_jax.data.folder.folder(path='my photos', random_area=(0.08, 1.0), size=(64, 48))"
    )
    again = from_json(values)
    assert to_json(again) == values
    assert again.data.source.func is folder and again.data.source.keywords == config.data.source.keywords
    short = {
        **values,
        "data": {**values["data"], "source": "folder(my photos, random_area=(0.08, 1.0), size=(64, 48))"},
    }
    assert to_json(from_json(short)) == values
    with pytest.raises(ValueError, match="folder has no setting 'colour'"):
        from_json({**values, "data": {**values["data"], "source": "folder(photos, colour=3)"}})


def test_an_earlier_configuration_is_completed_by_the_defaults(config):
    full = to_json(config)
    assert completed(full) == full
    early = json.loads(json.dumps(full))
    del early["evaluate"], early["optim"]["ema_warmup"], early["keep"]
    assert completed(early) == full
    assert "evaluate" not in early  # the values themselves are as they were
    early["data"]["colour"] = 3  # what is not known any more stays, to be refused by name
    with pytest.raises(ValueError, match="unknown field 'data.colour'"):
        from_json(completed(early))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_every_experiment_goes_through_json(path, monkeypatch):
    monkeypatch.setitem(configuration.inspect.sys.modules, "experiment", None)
    module = load_file(str(path))
    values = to_json(module.experiment())
    assert to_json(from_json(json.loads(json.dumps(values)))) == values


def test_experiments_are_found():
    assert {"digits.py", "fashion_mnist_fast.py"} <= {path.name for path in EXPERIMENTS}


def test_json_of_another_shape_is_refused(config):
    good = to_json(config)
    for says, change in {
        "unknown field 'optim.lrr': did you mean 'lr'": lambda v: v["optim"].update(lrr=1),
        "unknown field 'colour'": lambda v: v.update(colour=1),
        "incomplete: .*'source'": lambda v: v["data"].pop("source"),
        "incomplete: .*'augment'": lambda v: v.pop("augment"),
        "'data' = 3 must hold fields": lambda v: v.update(data=3),
        "'None' is a value where": lambda v: v.update(augment=None),
        "optim.lr = 'x' must be a number": lambda v: v["optim"].update(lr="x"),
        "seed = -1 must be at least 0": lambda v: v.update(seed=-1),
    }.items():
        values = json.loads(json.dumps(good))
        change(values)
        with pytest.raises(ValueError, match=says):
            from_json(values)


def test_differences_name_each_field(config):
    old = to_json(config)
    assert differences(old, to_json(config)) == []
    config.optim.lr, config.seed, config.augment = 0.2, 3, identity
    assert differences(old, to_json(config)) == [
        "augment: cnn_jax.augment.compose.apply_all("
        "stages=(cnn_jax.augment.geometry.flip, cnn_jax.augment.geometry.shift(pixels=2)))"
        " -> cnn_jax.augment.compose.identity",
        "optim.lr: 0.1 -> 0.2",
        "seed: 0 -> 3",
    ]
    assert differences({"a": {"b": 1}}, {"a": {}, "c": 2}) == ["a.b: 1 -> None", "c: None -> 2"]


def test_walk_and_fields_agree(config):
    walked = [(name, field.name) for name, field, _ in configuration.walk(config)]
    assert walked == [(name, field.name) for name, field in configuration.fields()]
    assert dict.fromkeys(name for name, _ in walked).keys() >= {"optim.lr", "compute.remat", "augment", "seed"}
