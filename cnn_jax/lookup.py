"""A function from its name, and the name of a function.

Experiments name functions directly; a flag, a JSON file and an error message need text. This file is the bridge:
`resnet.resnet18(act=gelu)` on the command line is `functools.partial(cnn_jax.models.resnet.resnet18, act=gelu)`.
There is no registry: a name is found by importing the module that the dots lead to.
"""

import ast
import difflib
import functools
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Iterable
from types import GenericAlias, ModuleType
from typing import Any, Protocol

# Where a short name such as `flip` or `resnet.resnet20` is looked for.
SEARCHED = (
    "cnn_jax.models",
    "cnn_jax.data",
    "cnn_jax.augment",
    "cnn_jax.tasks",
    "cnn_jax.evals.also",
    "cnn_jax.train.optim",
    "cnn_jax.train.schedules",
)
# What may be named in full: parts of this project, and activations and types of other packages, as jax.nn.gelu.
OWN = (
    "cnn_jax.models",
    "cnn_jax.ops",
    "cnn_jax.data",
    "cnn_jax.augment",
    "cnn_jax.tasks",
    "cnn_jax.evals.also",
    "cnn_jax.train",
)
OTHERS = ("jax.nn", "jax.numpy", "flax.linen", "optax")
EXPERIMENT = "experiment"  # the module that an experiment file is loaded as


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


def public_functions(module: ModuleType) -> dict[str, Function]:
    """The callables that `module` itself defines, by name; no classes and no types such as Callable[..., int]."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and not isinstance(value, type | GenericAlias)
        and getattr(value, "__module__", module.__name__) in (module.__name__, type(value).__module__, "functools")
    }


def _offered(module: ModuleType) -> dict[str, Function]:
    """The functions that a short name may mean: of a module of data only the source, which is called like it."""
    found, (package, _, name) = public_functions(module), module.__name__.rpartition(".")
    return {key: value for key, value in found.items() if package != "cnn_jax.data" or key == name}


@functools.cache
def _modules() -> tuple[str, ...]:
    """Full names of all modules in which short names are looked for."""
    names: list[str] = []
    for root in SEARCHED:
        module = importlib.import_module(root)
        names.append(root)
        names += [f"{root}.{info.name}" for info in pkgutil.iter_modules(getattr(module, "__path__", []))]
    return tuple(names)


def _find(name: str) -> Function:
    """The function called `name`: in full (cnn_jax.models.lenet.lenet5), or by its last parts (lenet5)."""
    module_name, _, function = name.rpartition(".")
    if module_name in (EXPERIMENT, *OTHERS) or f"{module_name}.".startswith(tuple(f"{root}." for root in OWN)):
        return _find_in(module_name, function)
    ending = f".{module_name}" if module_name else ""
    names = [*_modules(), *(sys.modules.keys() & {EXPERIMENT})]
    modules = [importlib.import_module(module) for module in names if module.endswith(ending)]
    if not modules:
        raise ValueError(f"unknown name '{name}': no module ends in '{ending[1:]}'")
    found = {f"{m.__name__}.{function}": _offered(m)[function] for m in modules if function in _offered(m)}
    if not found:
        known = [k for m in modules for k in _offered(m)]
        raise ValueError(f"unknown name '{name}': {did_you_mean(function, known)}")
    if any(value is not next(iter(found.values())) for value in found.values()):
        raise ValueError(f"'{name}' may mean any of {', '.join(found)}: write more of it")
    return next(iter(found.values()))


def _find_in(module: str, function: str) -> Function:
    if module == EXPERIMENT and EXPERIMENT not in sys.modules:
        raise ValueError(f"'{module}.{function}' is a function of an experiment file, but none is loaded")
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ValueError(f"there is no module '{module}' to find '{module}.{function}' in") from None
    if not callable(getattr(imported, function, None)):
        known = [name for name, value in vars(imported).items() if callable(value) and not name.startswith("_")]
        raise ValueError(f"'{module}' has no function '{function}': {did_you_mean(function, known)}")
    return getattr(imported, function)


def lookup(text: str) -> Function:
    """The function that `text` describes: `name`, or `name(key=value)` for a `functools.partial` of it.

    Values are Python literals or again such descriptions. A call with arguments that are not named is made at once:
    `compose(flip, cutout)` is the composition. Where a function's first parameter is text, as the path of a source, it
    needs neither name nor quotes: `folder(photos, size=64)`, or `folder:photos` where there is nothing else to say.
    Raises ValueError with a suggestion.
    """
    text = text.strip()
    if short := re.fullmatch(r"(\w+):(.+)", text, re.DOTALL):
        function = _find(short[1])
        if (parameter := _text_parameter(function)) is None:
            raise ValueError(f"'{text}': {short[1]} takes no text after a colon")
        return functools.partial(function, **{parameter: short[2]})
    try:
        tree = ast.parse(_quoted(text), mode="eval").body
    except SyntaxError:
        raise ValueError(f"'{text}' is not a function's name, nor a call like name(key=value)") from None
    function = _evaluate(tree, text)
    if not callable(function):
        raise ValueError(f"'{text}' is a value where a function's name is wanted")
    return function


def _quoted(text: str) -> str:
    """`folder(my photos, size=64)` -> `folder('my photos', size=64)`; anything else as it is."""
    call = re.fullmatch(r"([\w.]+)\(\s*([^'\"=(),]+?)\s*(,.*)?\)", text, re.DOTALL)
    if call and _text_parameter(_find(call[1])):
        return f"{call[1]}({call[2]!r}{call[3] or ''})"
    return text


def _text_parameter(function: Function) -> str | None:
    """The name of the function's first parameter, if that is text."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return first.name if first is not None and first.annotation is str else None


def _evaluate(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
        function = _evaluate(node.func, text)
        if any(key.arg is None for key in node.keywords):
            raise ValueError(f"'{text}': write arguments as key=value")
        args = [_evaluate(arg, text) for arg in node.args]
        settings = {str(key.arg): _evaluate(key.value, text) for key in node.keywords}
        _check_names(ast.unparse(node.func), function, settings)
        if len(args) == 1 and (parameter := _text_parameter(function)):
            if parameter in settings:
                raise ValueError(f"'{text}': '{parameter}' is given twice")
            return functools.partial(function, **{parameter: args[0]}, **settings)
        return _call(function, args, settings, text) if args else functools.partial(function, **settings)
    if isinstance(node, ast.Name) or (
        isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute)
    ):
        return _find(ast.unparse(node))
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_evaluate(item, text) for item in node.elts)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"'{text}': arguments must be literals or names of functions") from None


def modules_of(text: str) -> set[str]:
    """The modules in which `describe`'s text names functions, without importing any; none for other text."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except SyntaxError:
        return set()
    return {ast.unparse(node.value) for node in nodes if isinstance(node, ast.Attribute)}


def _call(function: Function, args: list[Any], settings: dict[str, Any], text: str) -> Any:
    if getattr(function, "__module__", "").split(".")[0] not in ("cnn_jax", EXPERIMENT):
        raise ValueError(f"'{text}': write arguments as key=value")
    try:
        return function(*args, **settings)
    except TypeError as error:
        raise ValueError(f"'{text}': {error}") from error


def _check_names(name: str, function: Function, settings: Iterable[str]) -> None:
    """Raises ValueError for a setting that `function` does not take."""
    known = inspect.signature(function).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values()):
        return  # a model variant, which checks for itself when it is built
    for setting in settings:
        if setting not in known:
            raise ValueError(f"{name} has no setting '{setting}': {did_you_mean(setting, known)}")


def describe(value: Any) -> str:
    """The text from which `lookup` gets `value` back: a function by its full name, a partial as a call, a literal.

    Raises ValueError for what has no such text (a lambda, a local function, an array).
    """
    if isinstance(value, functools.partial):
        if value.args:
            raise ValueError(f"{value!r} cannot be recorded: name the arguments of functools.partial")
        settings = [f"{name}={describe(setting)}" for name, setting in sorted(value.keywords.items())]
        return f"{describe(value.func)}({', '.join(settings)})"
    if isinstance(value, tuple | list):
        items = ", ".join(describe(item) for item in value)
        return f"({items},)" if len(value) == 1 else f"({items})"
    if callable(value):
        return _name(value)
    try:
        ast.literal_eval(repr(value))
    except (ValueError, SyntaxError):
        raise ValueError(
            f"{value!r} cannot be recorded: use finite numbers, strings and functions with a name"
        ) from None
    return repr(value)


def _name(function: Any) -> str:
    """Full dotted name of a module-level function, or of a module-level value that can be called."""
    own = [name for name in sorted(sys.modules) if name == EXPERIMENT or name.split(".")[0] == "cnn_jax"]
    qualified, home = getattr(function, "__qualname__", None), getattr(function, "__module__", "")
    for module in ([home] if home in own else []) + [name for name in OTHERS if name in sys.modules]:
        if qualified and getattr(sys.modules[module], qualified, None) is function:
            return f"{module}.{qualified}"
    for module in own:
        for name, value in vars(sys.modules[module]).items():
            if value is function:
                return f"{module}.{name}"
    raise ValueError(f"{function!r} has no name to record: define it at the top level of a module")
