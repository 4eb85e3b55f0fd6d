"""Names of the published variants, read off the models' source: importing them all would take a second."""

import ast
import fnmatch
import functools
from collections import Counter
from pathlib import Path

from cnn_jax import models
from cnn_jax.lookup import did_you_mean


def list_models(pattern: str = "*") -> list[str]:
    """Names of published variants, as `create_model` and --config.model.build= take them: "resnet50".

    pattern: as "mobilenet*" or "*net_b?"; without * ? or [ a part of the name. It may also be of the family that a
      variant belongs to, as "regnet.*". A name that two families have is given with its family, as "resnet.resnet18".

    Raises ValueError, with the nearest name, where there is none.
    """
    found = _variants()
    counts = Counter(name for _, name in found)
    wanted = pattern.lower() if set(pattern) & set("*?[") else f"*{pattern.lower()}*"
    names = [name if counts[name] == 1 else f"{family}.{name}" for family, name in found
             if any(fnmatch.fnmatchcase(text, wanted) for text in (name, f"{family}.{name}"))]  # fmt: skip
    if not names:
        near = did_you_mean(pattern.strip("*").rpartition(".")[2], [name for _, name in found])
        raise ValueError(f"no model's name is like '{pattern}': {near}")
    return names


def _variants() -> list[tuple[str, str]]:
    """(family, name) of the variants in the order of the files."""
    paths = sorted(Path(folder) for folder in models.__path__)
    return [(file.stem, name) for folder in paths for file in sorted(folder.glob("*.py")) for name in _read(file)[1]]


@functools.cache
def _read(file: Path) -> tuple[set[str], list[str]]:
    """What makes variants in a module, and the names that it gives to what it makes so.

    Makers are `Variant` and whatever is made of one by `partial`, here or in another family's module.
    """
    makers, found = {"Variant"}, []
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{models.__name__}."):
            other = file.with_name(f"{node.module.rpartition('.')[2]}.py")
            makers |= _read(other)[0] & {alias.name for alias in node.names}
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name):
            call, name = node.value, node.targets[0].id
            words = [word.id for word in (call.func, *call.args) if isinstance(word, ast.Name)]
            if words[:1] == ["partial"] and words[1:2] and words[1] in makers:
                makers.add(name)
            elif words and words[0] in makers:
                found.append(name)
    return makers, found
