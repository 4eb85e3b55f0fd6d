"""Names to functions and back."""

import ast
import functools
import importlib
import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

from cnn_jax import lookup as module
from cnn_jax import parts
from cnn_jax.augment.compose import compose
from cnn_jax.augment.geometry import flip, shift
from cnn_jax.data.digits import digits
from cnn_jax.data.folder import folder
from cnn_jax.data.npz import npz
from cnn_jax.data.tfds import tfds
from cnn_jax.evals.also import nothing, several
from cnn_jax.evals.also.elsewhere import elsewhere
from cnn_jax.lookup import describe, did_you_mean, load_file, lookup
from cnn_jax.models.cifar_resnet import resnet20
from cnn_jax.models.layers import BatchNorm
from cnn_jax.models.resnet import resnet18
from cnn_jax.models.small_cnn import SmallCNN
from cnn_jax.ops.segmentation_losses import dice, focal, total
from cnn_jax.tasks.segment import segment
from cnn_jax.train.optim import adamw, sgd
from cnn_jax.train.schedules import cosine


def same(a: object, b: object) -> bool:
    """Whether two functions are equal down to the settings of their partials."""
    if isinstance(a, functools.partial) and isinstance(b, functools.partial):
        equal = a.keywords.keys() == b.keywords.keys() and all(same(a.keywords[k], b.keywords[k]) for k in a.keywords)
        return equal and a.func is b.func and a.args == b.args
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a is b or (not callable(a) and a == b)


@pytest.mark.parametrize("text", ["sgd", "optim.sgd", "train.optim.sgd", "cnn_jax.train.optim.sgd", " sgd "])
def test_a_name_in_every_length(text):
    assert lookup(text) is sgd


def test_a_variant_and_a_class_have_names_too():
    assert lookup("resnet20") is resnet20
    assert lookup("cnn_jax.models.small_cnn.SmallCNN") is SmallCNN
    assert lookup("jax.nn.gelu") is jax.nn.gelu


def test_a_variant_is_named_by_its_family_whoever_imports_it():
    """The folder of an import names its model so, and the names of published weights are those of the family."""
    importlib.import_module("cnn_jax.models.backbone_unet")  # earlier by name
    assert describe(resnet18) == "cnn_jax.models.resnet.resnet18"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sgd(momentum=0.8, nesterov=False)", functools.partial(sgd, momentum=0.8, nesterov=False)),
        ("shift(pixels=2)", functools.partial(shift, pixels=2)),
        ("sgd()", functools.partial(sgd)),
        ("segment(loss=total(focal, dice))", functools.partial(segment, loss=total(focal, dice))),
        ("cosine(final=-1e-3)", functools.partial(cosine, final=-1e-3)),
        ("resnet20(act=jax.nn.gelu)", functools.partial(resnet20, act=jax.nn.gelu)),
        ("resnet20(blocks=[1, 2])", functools.partial(resnet20, blocks=(1, 2))),
        ("compose(flip, shift(pixels=2))", compose(flip, functools.partial(shift, pixels=2))),
        ("resnet20(norm=layers.BatchNorm(a=1))", None),
        ("digits", digits),
        ("digits(size=(8, 6))", functools.partial(digits, size=(8, 6))),
        ("folder:my photos (2), new", functools.partial(folder, path="my photos (2), new")),
        ("folder(my photos, size=(64, 48))", functools.partial(folder, path="my photos", size=(64, 48))),
        ("folder('photos, old', size=64)", functools.partial(folder, path="photos, old", size=64)),
        ("npz:a=b.npz", functools.partial(npz, path="a=b.npz")),
        ("tfds:cifar10:3.0.2", functools.partial(tfds, name="cifar10:3.0.2")),
        ("tfds(cifar10/config:3.0.2)", functools.partial(tfds, name="cifar10/config:3.0.2")),
        ("elsewhere(source='folder:a b')", functools.partial(elsewhere, source="folder:a b")),
        ("several(elsewhere(source='npz:a'), nothing)", several(functools.partial(elsewhere, source="npz:a"), nothing)),
    ],
)
def test_calls(text, expected):
    if expected is None:  # classes are named in full only
        with pytest.raises(ValueError, match="unknown name 'layers.BatchNorm'"):
            lookup(text)
    else:
        assert same(lookup(text), expected)


@pytest.mark.parametrize("name", parts.modules())
def test_every_part_comes_back_by_its_description(name):
    for short, function in parts.offered(name).items():
        assert same(lookup(describe(function)), function)
        assert lookup(f"{name}.{short}") is function
        keywords = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for keyword in keywords:
            partial = functools.partial(function, **{keyword: (1, "a", None)})
            assert same(lookup(describe(partial)), partial)


@pytest.mark.parametrize(
    "value",
    [
        nn.relu,
        nn.gelu,
        jax.nn.silu,
        jnp.tanh,
        jnp.bfloat16,
        optax.sgd,
        nn.GroupNorm,
        functools.partial(nn.GroupNorm, num_groups=4),
        functools.partial(resnet20, act=nn.leaky_relu, norm=functools.partial(BatchNorm, momentum=0.9)),
        compose(),
        compose(flip),
        compose(flip, compose(functools.partial(shift, pixels=1), flip)),
        functools.partial(adamw, b1=0.5, eps=1e-12),
        functools.partial(folder, path='it\'s "here", (2)\n', size=(64, 48), random_area=(0.08, 1.0), corrupt="error"),
        functools.partial(digits, size=None, channels=3),
        several(functools.partial(elsewhere, source="folder(a b, size=3)", every="5 epochs"), nothing),
    ],
)
def test_describe_and_lookup_are_inverse(value):
    assert same(lookup(describe(value)), value)


def test_a_partial_of_a_partial_is_described_as_one():
    """optax.nadam is one, with a docstring, so that Python does not make one of the two."""
    assert describe(lookup("optax.nadam(b1=0.5)")) == "optax.adam(b1=0.5, nesterov=True)"


def test_descriptions_read_well():
    assert describe(compose(flip, functools.partial(shift, pixels=1))) == (
        "cnn_jax.augment.compose.apply_all("
        "stages=(cnn_jax.augment.geometry.flip, cnn_jax.augment.geometry.shift(pixels=1)))"
    )
    assert describe((1,)) == "(1,)" and describe(()) == "()" and describe("a") == "'a'"


@pytest.mark.parametrize(
    "value",
    [
        lambda x: x,
        functools.partial(sgd, 0.1),
        functools.partial(cosine, final=float("inf")),
        functools.partial(cosine, final=jnp.ones(2)),
        pytest.raises,
        open,
    ],
)
def test_what_has_no_name_is_refused(value):
    with pytest.raises(ValueError, match="recorded|no name to record"):
        describe(value)


ERRORS = {
    "sgdd": "unknown name 'sgdd': did you mean 'sgd'",
    "gelu": "unknown name 'gelu': write it in full, as jax.nn.gelu",
    "GroupNorm": "unknown name 'GroupNorm': write it in full, as cnn_jax.models.layers.GroupNorm",
    "optim.sdg": "unknown name 'optim.sdg': did you mean 'sgd'",
    "optm.sgd": "no module ends in 'optm'",
    "cnn_jax.train.optim.sdg": "'cnn_jax.train.optim' offers no part 'sdg': did you mean 'sgd'",
    "cnn_jax.train.optm.sgd": "no module ends in 'cnn_jax.train.optm'",
    "jax.nn.rellu": "'jax.nn' offers no part 'rellu': did you mean 'relu'",
    "sgd(momentm=0.9)": "sgd has no setting 'momentm': did you mean 'momentum'",
    "flip(1, 2, 3)": "write arguments as key=value",
    "sgd(**{})": "write arguments as key=value",
    "sgd(": "not a function's name",
    "lambda: 1": "unknown name 'lambda'",
    "compose(lambda: 1)": "literals or names of functions",
    "sgd:0.1": "'sgd:0.1': sgd takes no text after a colon",
    "foldr:photos": "unknown name 'foldr': did you mean 'folder'",
    "folder(photos, colour=3)": "folder has no setting 'colour': known: ",
    "folder(photos, path='x')": "'path' is given twice",
    "folder(path='x', path='y')": "'path' is given twice",
    "folder('a', 'b')": "write arguments as key=value",
    "elsewhere(sorce='folder:a')": "elsewhere has no setting 'sorce': did you mean 'source'",
    "sgd(momentum=1 + 1j * x)": "literals or names of functions",
    "compose(3)": "only functions are composed",
    "compose(augmentations=flip)": "compose has no setting 'augmentations'",
    "jax.numpy.load": "'jax.numpy' offers no part 'load'",
    "sgd(momentum=4294967296)": "too large a number",
    "digits" + " " * 9999 + "(": "a description at most 10,000",
    "(" * 5000: "not a function's name",
    "sgd(momentum=" + "-" * 9000 + "1)": "not a function's name",
    "sgd" + ".sgd" * 2000: "not a function's name",
    "sgd(momentum={[]: 1})": "literals or names",
    "sgd\n1": "'sgd 1' is not a function's name",
    "sgd\0": "not a function's name",
    "3": "a value where a function's name is wanted",
    "": "not a function's name",
    "experiment.net": "none is loaded",
}


@pytest.mark.parametrize("text", ERRORS)
def test_errors_say_what_and_suggest(text, monkeypatch):
    monkeypatch.delitem(module.sys.modules, "experiment", raising=False)
    with pytest.raises(ValueError) as error:
        lookup(text)
    assert ERRORS[text] in str(error.value) and len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch PATH')",
        "open('PATH', 'w')",
        "os.system('touch PATH')",
        "pathlib.Path('PATH').touch()",
        "(lambda: open('PATH', 'w'))()",
        "[open('PATH', 'w')]",
        "sgd(momentum=open('PATH', 'w'))",
        "sgd.__globals__['__builtins__']['open']('PATH', 'w')",
        "cnn_jax.lookup.load_file('PATH')",
        "cnn_jax.lookup.importlib.import_module('this')",
        "jax.numpy.save('PATH', (1, 2))",
        'exec(\'open("PATH", "w")\')',
        "folder(open('PATH', 'w'))",
        "folder(PATH, size=open('PATH', 'w'))",
        "cnn_jax.data.tfds.os.mkdir('PATH')",
        "several(open('PATH', 'w'))",
    ],
)
def test_code_is_not_run(text, tmp_path):
    with pytest.raises(ValueError):
        lookup(text.replace("PATH", str(tmp_path / "made")))
    assert not list(tmp_path.iterdir())


# What may be named: counted, so that a part more or less is seen.
def test_what_may_be_named_is_known():
    counts = {root: 0 for root in parts.CALLED_WITH}
    for module_name, root in parts.modules().items():
        counts[root] += len(parts.functions(module_name))
    assert counts["cnn_jax.data"] >= 7 and counts["cnn_jax.models"] > 150 and counts["cnn_jax.ops"] > 15
    everything = {name for module_name in parts.modules() for name in parts.functions(module_name)}
    assert {"resnet20", "small_cnn", "flip", "cutmix", "classify", "muon", "one_cycle", "rand_augment"} <= everything
    assert {"folder", "npz", "tfds", "digits", "elsewhere", "nothing", "compose", "several"} <= everything
    helpers = {"Layer", "Activation", "Augmentation", "partial", "decayed", "features_of", "opened", "read_image"}
    assert not helpers & everything
    assert {module_name: len(parts.offered(module_name)) for module_name in parts.OTHERS} == {
        name: len(names) for name, names in parts.OTHERS.items()
    }


TOUCHING = {"os", "io", "pathlib", "shutil", "subprocess", "socket", "importlib", "tempfile", "pickle", "ctypes", "sys"}


@pytest.mark.parametrize("name", parts.modules())
def test_modules_of_parts_reach_no_file(name):
    """Those of this project, but for the sources and what opens one: they import and call nothing that could."""
    if parts.modules()[name] == "cnn_jax.data":
        return
    nodes = list(ast.walk(ast.parse(inspect.getsource(importlib.import_module(name)))))
    imported = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {(node.module or "").split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    assert not imported & TOUCHING
    assert not {f.id for f in calls if isinstance(f, ast.Name)} & {"open", "exec", "eval", "compile", "__import__"}
    assert not {f.attr for f in calls if isinstance(f, ast.Attribute)} & {"load", "save", "savez", "fromfile", "tofile"}


def test_parts_of_other_packages_compute_and_touch_nothing(deeds):
    """Each is a type, a layer, or a function of an array; an optimizer or loss of optax is pure by its contract."""
    x = jax.ShapeDtypeStruct((1, 4, 2), jnp.float32)
    key = jax.ShapeDtypeStruct((), jax.random.key(0).dtype)
    with deeds() as seen:
        for package in ("jax.nn", "jax.numpy", "flax.linen"):
            for name, part in parts.offered(package).items():
                if name.endswith("_pool"):
                    part = functools.partial(part, window_shape=(2,))
                if not (isinstance(part, type) and issubclass(part, nn.Module)):
                    assert jax.eval_shape(part, x).size <= 8, name
        for part in parts.offered("jax.nn.initializers").values():
            assert jax.eval_shape(functools.partial(part, shape=(3,)), key).shape == (3,)
    assert not seen.done and not seen.read


@pytest.mark.parametrize(
    "text",
    [
        *("jax.numpy.load", "jax.numpy.save", "jax.numpy.fromfile", "jax.numpy.zeros", "jax.numpy.array"),
        *("flax.linen.Module", "flax.linen.jit", "flax.linen.tabulate", "flax.linen.scan", "jax.nn.initializers"),
        *("optax.contrib", "optax.tree_utils", "jax.nn.one_hot", "jax.numpy.linalg.inv", "jax.numpy.tile"),
        *("cnn_jax.train.run_folder.write_json", "cnn_jax.train.run_folder.set_aside", "cnn_jax.train.transfer.apply"),
        *("cnn_jax.train.checkpoint.Checkpoints", "cnn_jax.train.predictor.load", "cnn_jax.weights.files.read"),
        *("cnn_jax.weights.files.write", "cnn_jax.data.files.read_example", "cnn_jax.data.npz.Path"),
        *("cnn_jax.data.folder.Path", "cnn_jax.data.images.decode_image", "cnn_jax.launch.cli.main", "cnn_jax.lookup"),
        *("cnn_jax.models.variant.Variant", "cnn_jax.models.resnet.partial", "cnn_jax.models.layers.jnp"),
        *("cnn_jax.augment.compose.partial", "cnn_jax.evals.also.elsewhere.lookup", "cnn_jax.evals.also.partial"),
        *("cnn_jax.evals.also.elsewhere.opened", "cnn_jax.ops.chunks.map_chunks", "cnn_jax.parts.offer"),
        *("numpy.load", "functools.partial", "builtins.open", "os.system", "jax.nn.__builtins__", "jax.numpy.np.load"),
    ],
)
def test_what_is_no_part_has_no_name(text):
    for form in (text, f"{text}()", f"resnet20(act={text})", f"compose({text})", f"{text}('a')"):
        with pytest.raises(ValueError):
            lookup(form)


def test_an_ambiguous_name_lists_what_it_may_mean(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def sgd():\n    pass\n\ndef net():\n    pass\n")
    monkeypatch.setitem(module.sys.modules, "experiment", None)
    loaded = load_file(str(tmp_path / "mine.py"))
    with pytest.raises(ValueError, match="'sgd' may mean any of cnn_jax.train.optim.sgd, experiment.sgd: write more"):
        lookup("sgd")
    assert lookup("optim.sgd") is sgd
    assert lookup("experiment.sgd") is loaded.sgd
    assert lookup("net") is lookup("experiment.net") is loaded.net
    assert describe(loaded.net) == "experiment.net"


def test_a_file_that_cannot_be_loaded_is_named_with_its_line(tmp_path, monkeypatch):
    monkeypatch.setitem(module.sys.modules, "experiment", None)
    (tmp_path / "helper.py").write_text("")
    for text, says in {
        "x = (": "line 1: '\\(' was never closed",
        "\n\nimport no_such": "line 3: ModuleNotFoundError",
    }.items():
        (tmp_path / "mine.py").write_text(text)
        with pytest.raises(ValueError, match=f"mine.py', {says}"):
            load_file(str(tmp_path / "mine.py"))
    with pytest.raises(ValueError, match="no Python file|not a Python file"):
        load_file(str(tmp_path / "mine.txt"))


def test_did_you_mean():
    assert did_you_mean("resnet2", ["resnet20", "lenet5"]) == "did you mean 'resnet20'?"
    assert did_you_mean("x", ["b", "a", "a"]) == "known: a, b"
    assert did_you_mean("x", map(str, range(41))) == "41 names are known"
    assert did_you_mean("x", []) == "there are none"
