"""A function from its name, and the name of a function.

Experiments name functions directly; a flag, a JSON file and an error message need text. This file is the bridge:
`resnet.resnet18(act=gelu)` on the command line is `functools.partial(cnn_jax.models.resnet.resnet18, act=gelu)`.
There is no registry: a name is found by importing the module that the dots lead to.
"""

import ast
import difflib
import functools
import importlib.util
import inspect
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, Protocol

from cnn_jax import parts
from cnn_jax.parts import EXPERIMENT, OTHERS

TEXT, INTEGER = 10_000, 2**31 - 1  # the longest description that is read, in characters, and the largest number in one
NAMED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Function(Protocol):
    """Anything that can be called. A class of its own, so that flags can be parsed by the type of a field."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known word, or all of them where none is near."""
    known = sorted(set(known))
    if not known:
        return "there are none"
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known: {', '.join(known)}" if len(known) <= 40 else f"{len(known)} names are known"


def load_file(path: str) -> ModuleType:
    """Imports an experiment's Python file as the module `experiment`: its functions are then `experiment.NAME`.

    Raises ValueError, with the line, for whatever goes wrong in the file.
    """
    spec = importlib.util.spec_from_file_location(EXPERIMENT, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"'{path}' is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[EXPERIMENT] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ValueError(f"'{os.path.relpath(error.filename or path)}', line {error.lineno}: {error.msg}") from error
    except Exception as error:
        raise in_file(path, error) from error
    return module


def in_file(path: str, error: Exception) -> ValueError:
    """An error raised by the code in the file `path`, as one line that says where."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if os.path.abspath(frame.filename) == os.path.abspath(path)]
    where = f"'{path}', line {lines[-1]}" if lines else f"'{path}'"
    return ValueError(f"{where}: {type(error).__name__}: {error}")


def _find(name: str) -> Function:
    """The part called `name`: in full (cnn_jax.models.lenet.lenet5), or by its last words (lenet5)."""
    module_name, _, function = name.rpartition(".")
    name = name[:200]  # as it is shown
    if module_name == EXPERIMENT and EXPERIMENT not in sys.modules:
        raise ValueError(f"'{name}' is a function of an experiment file, but none is loaded")
    if module_name in (EXPERIMENT, *OTHERS, *parts.modules()):
        if part := parts.offer(module_name, function):
            return part
        raise ValueError(
            f"'{module_name}' offers no part '{function[:200]}': {did_you_mean(function, parts.offered(module_name))}"
        )
    ending = f".{module_name}" if module_name else ""
    searched = [module for module, root in parts.modules().items() if root != "cnn_jax.ops"]
    modules = [m for m in (*searched, *(sys.modules.keys() & {EXPERIMENT})) if m.endswith(ending)]
    if not modules:
        raise ValueError(f"unknown name '{name}': no module ends in '{module_name[:200]}'")
    found = {f"{m}.{function}": part for m in modules if (part := parts.in_short(m, function))}
    if not found:
        if long := next(filter(None, (parts.offer(module, function) for module in (*modules, *OTHERS))), None):
            raise ValueError(f"unknown name '{name}': write it in full, as {describe(long)}")
        known = [key for module in modules for key in parts.functions(module)]
        raise ValueError(f"unknown name '{name}': {did_you_mean(function, known)}")
    if any(value is not next(iter(found.values())) for value in found.values()):
        raise ValueError(f"'{name}' may mean any of {', '.join(found)}: write more of it")
    return next(iter(found.values()))


def lookup(text: str) -> Function:
    """The function that `text` describes: `name`, or `name(key=value)` for a `functools.partial` of it.

    Values are Python literals or again such descriptions; what may be named stands in `cnn_jax.parts`. Nothing is
    called but what composes parts: `compose(flip, cutout)` is the composition. Where a function's first parameter is
    text, as the path of a source, it needs neither name nor quotes: `folder(photos, size=64)`, or `folder:photos` where
    there is nothing else to say.

    Raises ValueError, with a suggestion; also for a text of more than TEXT characters and an integer beyond INTEGER.
    """
    text = text.strip()
    shown = " ".join(text[:200].split()) + "…" * (len(text) > 200)  # on one line
    if len(text) > TEXT:
        raise ValueError(f"'{shown}' has {len(text):,} characters, a description at most {TEXT:,}")
    if short := re.fullmatch(r"(\w+):(.+)", text, re.DOTALL):
        function = _find(short[1])
        if (parameter := _text_parameter(function)) is None:
            raise ValueError(f"'{shown}': {short[1]} takes no text after a colon")
        return functools.partial(function, **{parameter: short[2]})
    try:
        function = _evaluate(_parsed(_quoted(text)), shown)
    except (SyntaxError, RecursionError, MemoryError):  # the last two: nested too deeply
        raise ValueError(f"'{shown}' is not a function's name, nor a call like name(key=value)") from None
    if not callable(function):
        raise ValueError(f"'{shown}' is a value where a function's name is wanted")
    return function


def _parsed(text: str) -> ast.expr:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's own, as of '1(2)': what is wrong is said here
        try:
            return ast.parse(text, mode="eval").body
        except ValueError as error:  # a null character, or too long a number
            raise SyntaxError(str(error)) from None


def _quoted(text: str) -> str:
    """`folder(my photos, size=64)` -> `folder('my photos', size=64)`; anything else as it is."""
    call = re.fullmatch(r"([\w.]+)\(([^'\"=(),]+)(,.*)?\)", text, re.DOTALL)
    if call and call[2].strip() and _text_parameter(_find(call[1])):
        return f"{call[1]}({call[2].strip()!r}{call[3] or ''})"
    return text


def _text_parameter(function: Function) -> str | None:
    """The name of the function's first parameter, if that is text."""
    first = next(iter(_parameters(function).values()), None)
    return first.name if first is not None and first.annotation is str else None


def _parameters(function: Function) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (ValueError, TypeError):  # a type such as jax.numpy.float32
        return {}


def _evaluate(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
        function = _evaluate(node.func, text)
        if any(key.arg is None for key in node.keywords):
            raise ValueError(f"'{text}': write arguments as key=value")
        names = [key.arg for key in node.keywords]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"'{text}': '{twice[0]}' is given twice")
        args = [_evaluate(arg, text) for arg in node.args]
        settings = {str(key.arg): _evaluate(key.value, text) for key in node.keywords}
        if parts.is_composer(function) and not settings:
            return _composed(function, args, text)
        _check_names(ast.unparse(node.func), function, settings)
        if len(args) == 1 and (parameter := _text_parameter(function)):
            if parameter in settings:
                raise ValueError(f"'{text}': '{parameter}' is given twice")
            return functools.partial(function, **{parameter: args[0]}, **settings)
        if args:
            raise ValueError(f"'{text}': write arguments as key=value")
        return functools.partial(function, **settings)
    if isinstance(node, ast.Name) or (
        isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute)
    ):
        return _find(ast.unparse(node))
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_evaluate(item, text) for item in node.elts)
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):  # the latter for {[]: 1}
        raise ValueError(f"'{text}': arguments must be literals or names of functions") from None
    if isinstance(value, int) and abs(value) > INTEGER:
        raise ValueError(f"'{text}': {str(value)[:20]} is too large a number")
    return value


def _composed(function: Function, args: list[Any], text: str) -> Any:
    if not all(map(callable, args)):
        raise ValueError(f"'{text}': only functions are composed")
    return function(*args)


def _check_names(name: str, function: Function, settings: Iterable[str]) -> None:
    """Raises ValueError for a setting that `function` does not take."""
    known = _parameters(function)
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values()):
        return  # a model variant, which checks for itself when it is built
    names = [key for key, parameter in known.items() if parameter.kind in NAMED]
    for setting in settings:
        if setting not in names:
            raise ValueError(f"{name} has no setting '{setting}': {did_you_mean(setting, names)}")


def modules_of(text: str) -> set[str]:
    """The modules in which a description, or that of a `source` in it, names functions; without importing any.

    Empty for text that is no description.
    """
    try:
        nodes = list(ast.walk(_parsed(text))) if len(text) <= TEXT else []
        found = {ast.unparse(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    except (SyntaxError, RecursionError, MemoryError):
        return set()
    settings = [node for node in nodes if isinstance(node, ast.keyword) and node.arg == "source"]
    inside = [node.value.value for node in settings if isinstance(node.value, ast.Constant)]
    return found.union(*(modules_of(inner) for inner in inside if isinstance(inner, str)))


def describe(value: Any) -> str:
    """The text from which `lookup` gets `value` back: a function by its full name, a partial as a call, a literal.

    Raises ValueError for what has no such text (a lambda, a local function, an array).
    """
    if isinstance(value, functools.partial):
        if value.args:
            raise ValueError(f"{value!r} cannot be recorded: name the arguments of functools.partial")
        if isinstance(value.func, functools.partial):  # Python keeps them apart where the inner one has a docstring
            return describe(
                functools.partial(value.func.func, *value.func.args, **value.func.keywords | value.keywords)
            )
        settings = [f"{name}={describe(setting)}" for name, setting in sorted(value.keywords.items())]
        return f"{describe(value.func)}({', '.join(settings)})"
    if isinstance(value, tuple | list):
        items = ", ".join(describe(item) for item in value)
        return f"({items},)" if len(value) == 1 else f"({items})"
    if callable(value):
        return _name(value)
    try:
        ast.literal_eval(repr(value))
        plain = not isinstance(value, int) or abs(value) <= INTEGER
    except (ValueError, SyntaxError):
        plain = False
    if not plain:
        raise ValueError(f"{value!r} cannot be recorded: use finite numbers, strings and functions with a name")
    return repr(value)


def _name(function: Any) -> str:
    """Full dotted name of a part: of a module-level function, or of a module-level value that can be called."""
    qualified, home = getattr(function, "__qualname__", ""), getattr(function, "__module__", "")
    loaded = [name for name in (*sorted(parts.modules()), EXPERIMENT) if name in sys.modules]
    for module in [*(name for name in loaded if name == home), *(name for name in OTHERS if name in sys.modules)]:
        if parts.offer(module, qualified) is function:
            return f"{module}.{qualified}"
    # A variant of a model has the home of its module, whose other importers, as segmenters, come earlier by name.
    made_in = getattr(getattr(getattr(function, "build", None), "func", None), "__module__", "")
    for module in sorted(loaded, key=lambda name: name != made_in):
        for name, value in vars(sys.modules[module]).items():
            if value is function and parts.offer(module, name) is function:
                return f"{module}.{name}"
    raise ValueError(
        f"{function!r} has no name to record: define it at the top level of a module, or a function there that calls it"
    )
