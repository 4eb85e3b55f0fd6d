"""Descriptions of functions: names that there are and names that there are not, put together in any way."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_jax import parts
from cnn_jax.config import refuse_sources
from cnn_jax.lookup import describe, lookup, modules_of

pytestmark = pytest.mark.filterwarnings("ignore")
KNOWN = [f"{m}.{name}" for m in ("cnn_jax.augment.geometry", "jax.nn", "optax") for name in parts.offered(m)]
SHORT = "sgd flip resnet20 folder digits compose several elsewhere classify cosine npz tfds".split()
NEVER = [
    *("open", "exec", "eval", "__import__", "os.system", "sys.exit", "builtins.open", "breakpoint", "pathlib.Path"),
    *("jax.numpy.load", "jax.numpy.save", "jax.numpy.zeros", "jax.nn.__builtins__", "optax.contrib", "flax.linen.jit"),
    *("cnn_jax.lookup.load_file", "cnn_jax.train.run_folder.write_json", "cnn_jax.weights.files.write", "experiment.x"),
    *("sgd.__globals__", "flip.__code__", "resnet20.build.func", "cnn_jax.parts.offer", "cnn_jax.data.folder.Path"),
]
LITERALS = ["1", "-2.5", "1e400", "2**70", str(2**70), "None", "True", "'text'", "b'x'", "(1, 2)", "{}", "{1}", "..."]
KEYS = ["act", "norm", "pixels", "path", "size", "source", "momentum", "stages", "x", "**a", "__class__"]
CODE = ["lambda: 1", "x if y else z", "[a for a in b]", "f'{open}'", "a @ b", "a[0]", "(yield)", "x := 1", "*a", "\0"]
FORMS = ["compose({})", "({},)", "-{}", "{}.a", "[{}]", "sgd(momentum={})", "{}()"]


def calls(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    settings = st.tuples(st.sampled_from(KEYS), inner).map("=".join)
    arguments = st.lists(inner | settings, max_size=3).map(", ".join)
    return (
        st.builds("{}({})".format, st.sampled_from(KNOWN + SHORT + NEVER), arguments)
        | st.builds("{}.{}".format, inner, st.sampled_from(["x", "func", "__class__", "system"]))
        | st.builds("({},)".format, inner)
        | st.builds("{}:{}".format, st.sampled_from(SHORT), inner)
    )


WORDS = st.sampled_from(KNOWN + SHORT + NEVER + LITERALS + CODE)
TEXTS = st.recursive(WORDS, calls, max_leaves=8) | st.text(max_size=30)


def functions_in(value: object) -> list[object]:
    """Every function of which a partial is made, down to its settings."""
    if isinstance(value, functools.partial):
        return [value.func, *(found for inner in value.keywords.values() for found in functions_in(inner))]
    if isinstance(value, tuple):
        return [found for inner in value for found in functions_in(inner)]
    return [value] if callable(value) else []


@given(text=TEXTS)
def test_a_description_is_a_part_or_refused(text, answered, deeds):
    with deeds() as seen:
        function = answered(lookup, text)
        modules = modules_of(text)
    assert not seen.done and isinstance(modules, set)
    for found in functions_in(function):
        module = getattr(found, "__module__", "cnn_jax") or ""
        assert module.startswith(("cnn_jax.", "jax.", "flax.", "optax.", "functools"))
    described = function and answered(describe, function)  # None for what cannot be recorded, as an infinite number
    if described:
        assert describe(lookup(described)) == described
        answered(refuse_sources, described)


@given(name=st.sampled_from(NEVER), around=st.lists(st.sampled_from(FORMS), max_size=3))
def test_what_is_no_part_is_never_reached(name, around, answered):
    for form in around:
        name = form.format(name)
    assert answered(lookup, name) is None


@given(depth=st.integers(1, 3000), form=st.sampled_from(FORMS))
def test_any_depth_is_answered(depth, form, answered):
    before, after = form.split("{}")
    text = (before * depth + "flip" + after * depth)[:20_000]
    answered(lookup, text)
    answered(modules_of, text)
