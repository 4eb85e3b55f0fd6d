"""What a sweep tries, and what each configuration is called."""

import math

import pytest

from cnn_jax.launch import cli, fields
from cnn_jax.sweep import space
from cnn_jax.sweep.space import Range


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0.1", ["0.1"]),
        ("0.1, 0.2,0.3", ["0.1", "0.2", "0.3"]),
        ("resnet20,small_cnn(features=(8, 16), hidden=4)", ["resnet20", "small_cnn(features=(8, 16), hidden=4)"]),
        ("compose(flip, shift(pixels=4)),identity", ["compose(flip, shift(pixels=4))", "identity"]),
        ("folder('a,b'),folder:c", ["folder('a,b')", "folder:c"]),
        ("'stretch 1, restart 2',''", ["'stretch 1, restart 2'", "''"]),
        ("0.1,", ["0.1", ""]),
        ("a),b", ["a)", "b"]),
    ],
)
def test_commas_within_brackets_and_quotes_belong_to_a_value(text, parts):
    assert space.split(text) == parts


def test_what_a_field_is_given_has_its_type():
    assert space.axis("optim.lr", "1e-3,0.01") == (0.001, 0.01)
    assert space.axis("data.batch_size", "16,32") == (16, 32)
    assert space.axis("data.shuffle", "true,false") == (True, False)
    assert space.axis("duration", "1 epochs,2 epochs") == ("1 epochs", "2 epochs")
    assert space.axis("transfer.weights", "'a,b',../c..d") == ("a,b", "../c..d")
    assert space.axis("optim.build", "sgd(momentum=0.9),adamw") == ("sgd(momentum=0.9)", "adamw")
    assert space.axis("optim.lr", "log 1e-4..1e-1") == Range(1e-4, 1e-1, log=True, whole=False)
    assert space.axis("optim.weight_decay", "0..0.1") == Range(0.0, 0.1, log=False, whole=False)
    assert space.axis("data.batch_size", "16..64") == Range(16, 64, log=False, whole=True)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("optim.lr", "0.1,fast", "--config.optim.lr=fast: (a number)"),
        ("optim.lr", "0.1,", "--config.optim.lr=: (a number)"),
        ("data.batch_size", "1.5", "(a whole number, at least 1)"),
        ("data.batch_size", "1.5..3", "(a whole number, at least 1)"),
        ("data.shuffle", "true,perhaps", "(true or false)"),
        ("optim.build", "sgd,adamm", "--config.optim.build=adamm: unknown name 'adamm': did you mean 'adam'?"),
        ("optim.lr", "0.1,0.10", "a value is given twice"),
        ("optim.lr", "0.1..0.1", "from a lower number to a higher one"),
        ("optim.lr", "log 0..1", "begins above 0"),
        ("optim.lr", "1..1e999", "from a lower number"),
    ],
)
def test_what_is_no_value_is_refused_in_one_line(name, text, says):
    with pytest.raises(cli.UsageError) as error:
        space.axis(name, text)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_grid_is_all_combinations_and_no_range():
    found = space.grid({"optim.lr": (0.1, 0.2), "data.shuffle": (True, False)})
    assert [tuple(values.values()) for values in found] == [(0.1, True), (0.1, False), (0.2, True), (0.2, False)]
    assert space.grid({}) == [{}]
    with pytest.raises(ValueError, match="--config.optim.lr is a range.*--method=random"):
        space.grid({"optim.lr": Range(0.1, 1.0, log=False, whole=False)})
    with pytest.raises(ValueError, match="10,201 configurations is too large"):
        space.grid({"a": tuple(range(101)), "b": tuple(range(101))})


def test_chance_draws_the_same_again_and_only_adds():
    axes = {
        "optim.lr": Range(1e-4, 1e-1, log=True, whole=False),
        "data.batch_size": Range(2, 4, log=False, whole=True),
        "optim.build": ("sgd", "adamw"),
    }
    many = space.drawn(axes, 300)
    assert space.drawn(axes, 7) == many[:7]
    assert len({space.digest(values) for values in many}) == 300
    rates = sorted(values["optim.lr"] for values in many)
    assert 1e-4 <= rates[0] < 1.2e-4 and 0.08 < rates[-1] <= 1e-1
    assert abs(math.log10(rates[150]) + 2.5) < 0.3  # evenly in the logarithm
    assert all(float(f"{rate:.4g}") == rate for rate in rates)
    sizes = [values["data.batch_size"] for values in many]
    assert all(70 < sizes.count(size) < 130 for size in (2, 3, 4)) and set(map(type, sizes)) == {int}
    assert {values["optim.build"] for values in many} == {"sgd", "adamw"}
    with pytest.raises(ValueError, match="--trials=7: there are hardly more than 6 different"):
        space.drawn({name: axes[name] for name in ("data.batch_size", "optim.build")}, 7)


def test_a_name_is_of_the_values_alone_and_a_folders():
    values = {"optim.lr": 0.1, "model.build": "small_cnn(features=(8, 16))", "data.shuffle": True}
    name = space.name_of(values)
    assert name == f"lr=0.1,build=small_cnn-features-8-16,shuffle=true-{space.digest(values)}"
    assert space.name_of(values) != space.name_of({**values, "model.build": "small_cnn(features=(8,), hidden=16)"})
    assert space.name_of({"model.build": "a", "optim.build": "b"}).startswith("model.build=a,optim.build=b-")
    assert space.name_of({}).startswith("all-")
    assert "/" not in space.name_of({"transfer.weights": "../../etc"}) and len(space.name_of({"a": "x" * 500})) < 100


@pytest.mark.parametrize(
    ("text", "found"), [("0,1,2", [0, 1, 2]), ("3", [3]), ("0:3", [0, 1, 2]), ("7,0:2", [7, 0, 1])]
)
def test_seeds(text, found):
    assert fields.seeds(text) == found


@pytest.mark.parametrize(
    "text", ["", "a", "-1", "1,1", "0:2,1", "2:2", "3:1", "0:", "0:1:2", "0:99999999", "4294967295"]
)
def test_what_are_no_seeds(text):
    with pytest.raises(cli.UsageError, match="write different numbers, as --seeds=0,1,2 or --seeds=0:3"):
        fields.seeds(text)
