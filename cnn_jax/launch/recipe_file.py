"""A recipe as the text of an experiment file, which a person can read, copy and change."""

import ast
import dataclasses
import inspect
import shlex
import textwrap
from typing import Any

from cnn_jax.config import Experiment
from cnn_jax.launch.recipe import Recipe
from cnn_jax.lookup import Function, describe, lookup
from cnn_jax.parts import is_composer
from cnn_jax.paths import printable

WIDTH = 120  # of a line at most, where its words allow
Imports = dict[str, set[str]]  # module -> the names taken from it


def text(recipe: Recipe, name: str, path: str) -> str:
    """The experiment file of a recipe for the pictures in `path`: each choice, with its reason as a comment before it.

    name: of the run's default folder.
    """
    imports: Imports = {"functools": {"partial"}, "cnn_jax.config": set(), "cnn_jax.launch": {"experiment_file"}}
    values = {"name": name} | {field: value for topic in recipe.topics for field, value in topic.fields.items()}
    reasons = {next(iter(topic.fields)): topic.why for topic in recipe.topics}
    body = _call(Experiment, "", values, reasons, imports, indent=4)
    taken = [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(imports.items())]
    standard = [line for line in taken if line.startswith("from functools")]
    shown = shlex.quote(printable(path).replace("\\", "/")).replace('"""', "'")
    about = (
        f'"""Pictures of {shown}: {recipe.what}.\n\n'
        f"Written by `launch.py train {shown}` for what it found there. To change it, copy it, give the copy another\n"
        f"name below, and train it: launch.py train my_{name}.py\n"
        f"Command: python launch.py train {shown}\n"
        f'Time: {recipe.time}\n"""\n'
    )
    rest = [line for line in taken if line not in standard]
    lines = [about, *standard, "", *rest, "", "", "def experiment() -> Experiment:"]
    end = ["", "", 'if __name__ == "__main__":', "    experiment_file.main()", ""]
    return "\n".join([*lines, f"    return {body[0].lstrip()}", *body[1:-1], body[-1].rstrip(","), *end])


def _call(
    kind: Any, path: str, values: dict[str, str], reasons: dict[str, str], imports: Imports, indent: int
) -> list[str]:
    """The lines of a call of a dataclass of the configuration whose fields begin with `path`: of those with values."""
    imports["cnn_jax.config"].add(kind.__name__)
    lines, inner = [f"{' ' * indent}{kind.__name__}("], " " * (indent + 4)
    for field in dataclasses.fields(kind):
        name = f"{path}{field.name}"
        if dataclasses.is_dataclass(field.type):
            if any(known.startswith(f"{name}.") for known in values):
                made = _call(field.type, f"{name}.", values, reasons, imports, indent + 4)
                lines += [f"{inner}{field.name}={made[0].lstrip()}", *made[1:]]
        elif name in values:
            if name in reasons:
                lines += textwrap.wrap(
                    reasons[name], WIDTH, initial_indent=f"{inner}# ", subsequent_indent=f"{inner}# "
                )
            value = values[name]
            code = python(value, imports) if field.type is Function else repr(value) if field.type is str else value
            lines += _lines(f"{field.name}=", ast.parse(code, mode="eval").body, inner)
    return [*lines, f"{' ' * indent}),"]


def _lines(begin: str, node: ast.expr, indent: str) -> list[str]:
    """A value, with what stands before it, on one line or, where that is too long, its parts on lines of their own."""
    line = f"{indent}{begin}{_unparsed(node)},"
    if len(line) <= WIDTH or not isinstance(node, ast.Call | ast.Tuple):
        return [line]
    inner = indent + "    "
    if isinstance(node, ast.Tuple):
        items = ", ".join(_unparsed(item) for item in node.elts)
        return [
            f"{indent}{begin}(",
            *textwrap.wrap(f"{items},", WIDTH, initial_indent=inner, subsequent_indent=inner, break_long_words=False),
            f"{indent}),",
        ]
    parts = [("", arg) for arg in node.args] + [(f"{key.arg}=", key.value) for key in node.keywords]
    made = [line for start, value in parts for line in _lines(start, value, inner)]
    return [f"{indent}{begin}{_unparsed(node.func)}(", *made, f"{indent}),"]


def _unparsed(node: ast.expr) -> str:
    """Source text in double quotes, as this project is written."""
    code = ast.unparse(node)
    return code if '"' in code or "\\" in code else code.replace("'", '"')


def python(description: str, imports: Imports) -> str:
    """What a function's description on the command line is in Python; what has to be imported goes to `imports`.

    'compose(flip, shift(pixels=4))' -> 'compose(flip, partial(shift, pixels=4))'
    """
    return _python(ast.parse(description, mode="eval").body, imports)


def _python(node: ast.expr, imports: Imports) -> str:
    if isinstance(node, ast.Name | ast.Attribute):
        module, _, name = describe(lookup(ast.unparse(node))).rpartition(".")
        imports.setdefault(module, set()).add(name)
        return name
    if isinstance(node, ast.Call):
        name, function = _python(node.func, imports), lookup(ast.unparse(node.func))
        if is_composer(function):
            return f"{name}({', '.join(_python(arg, imports) for arg in node.args)})"
        settings = [*zip(inspect.signature(function).parameters, node.args, strict=False)]
        settings += [(str(key.arg), key.value) for key in node.keywords]
        return f"partial({', '.join([name, *(f'{key}={_python(value, imports)}' for key, value in settings)])})"
    if isinstance(node, ast.Tuple):
        items = [_python(item, imports) for item in node.elts]
        return f"({', '.join(items)}{',' * (len(items) == 1)})"
    return ast.unparse(node)
