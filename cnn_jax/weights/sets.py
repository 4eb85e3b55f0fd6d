"""Which of the tensors in a file are the weights: sets of them within larger dictionaries, and wrappers around names.

Training scripts keep a state dict beside other things, often a second one that is an average or a teacher, and what
runs a model in parallel or compiles it puts a word before every name. All formats go through here.
"""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cnn_jax.lookup import did_you_mean

T = TypeVar("T")

# Under which words a set of weights is kept, in the order in which one is taken: the trained ones before averages.
SETS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "student"),
    *("state_dict_ema", "model_ema", "model_ema_state_dict", "ema_state_dict", "ema_model", "ema", "teacher"),
)
DEPTH = 4  # of dictionaries within dictionaries that are looked into
# What may stand before every name: of DataParallel, torch.compile, and of classes around a model.
WRAPPERS = ("module", "_orig_mod", "model", "network", "net", "backbone", "encoder", *SETS[6:])
ANYWHERE = ("module", "_orig_mod")  # those of them that no model has in its own names
BESIDE = ("n_averaged", "module.n_averaged")  # a counter that torch's AveragedModel keeps beside its module


def chosen(path: Path, value: Any, is_tensor: Callable[[Any], bool], part: str = "") -> dict[str, Any]:
    """The named tensors of the state dict in `value`, without wrappers around their names; what is guessed is said.

    Args:
      path: of the file, for messages.
      value: a dictionary of tensors, or of such dictionaries and other things.
      part: which set is taken where there are several, as "state_dict_ema"; "" for the first of SETS.

    Raises ValueError, the end of a sentence, where there is none, or none of that name.
    """
    found = _flat_sets(_sets(value, is_tensor, DEPTH))
    if not found:
        raise ValueError("there are no named tensors in it: save model.state_dict()")
    fitting = [name for name in found if not part or name == part or part in name.split(".")]
    if not fitting:
        known = [name for name in found if name] or ["only one set of weights"]
        raise ValueError(f"there are no weights '{part}' in it: {did_you_mean(part, known)}")
    taken = fitting[0]
    if len(found) > 1 and not part:
        names = ", ".join(f"'{name}'" for name in found)
        warnings.warn(
            f"'{path}' holds {len(found)} sets of weights ({names}): '{taken}' is taken; "
            "import --weights=NAME takes another",
            stacklevel=3,
        )
    for name, tensor in found[taken].items():
        if not isinstance(name, str) or not is_tensor(tensor):
            raise ValueError(f"'{str(name)[:80]}' is no tensor: save model.state_dict() alone")
    return _unwrapped(path, found[taken])


def _sets(value: Any, is_tensor: Callable[[Any], bool], depth: int) -> dict[str, dict[Any, Any]]:
    """{dotted name: state dict} of those in nested dictionaries, in the order of SETS; "" for `value` itself."""
    if not isinstance(value, dict) or not depth:
        return {}
    inner = {
        f"{key}.{name}".rstrip("."): tensors
        for key in SETS
        for name, tensors in _sets(value.get(key), is_tensor, depth - 1).items()
    }
    return inner or ({"": value} if any(map(is_tensor, value.values())) else {})


def _flat_sets(found: dict[str, dict[Any, Any]]) -> dict[str, dict[Any, Any]]:
    """The same where one dictionary holds several sets, each under a word of SETS before every name."""
    if list(found) != [""]:
        return found
    (tensors,) = found.values()
    named = [str(name) for name in tensors if name not in BESIDE]
    words = {name.partition(".")[0] for name in named}
    if len(words) < 2 or not words <= set(SETS) or not all("." in name for name in named):
        return found
    return {word: _below(tensors, word) for word in SETS if word in words}


def _below(tensors: Mapping[str, T], word: str) -> dict[str, T]:
    return {name.removeprefix(f"{word}."): value for name, value in tensors.items() if name.startswith(f"{word}.")}


def _unwrapped(path: Path, tensors: Mapping[str, T]) -> dict[str, T]:
    taken, left = "", dict(tensors)
    while True:
        named = {name: value for name, value in left.items() if name not in BESIDE}
        word = next(iter(named), "").partition(".")[0]
        if word not in WRAPPERS or not all(name.startswith(f"{word}.") for name in named):
            break
        taken, left = f"{taken}{word}.", _below(named, word)
    if taken:
        warnings.warn(f"'{path}': '{taken}' before every name is taken off", stacklevel=4)
    bare = {name: _bare(name) for name in left}
    changed = [name for name in left if bare[name] != name and name not in BESIDE]
    if not changed or len(set(bare.values())) < len(left):
        return left
    what = f"{' and '.join(map(repr, ANYWHERE))} in {len(changed)} of {len(left)} names are taken off"
    warnings.warn(f"'{path}': {what}, as in '{changed[0]}'", stacklevel=4)
    return _unwrapped(path, {bare[name]: value for name, value in left.items()})


def _bare(name: str) -> str:
    """A name without the words of what was around a part of the model alone."""
    words = [word for word in name.split(".") if word not in ANYWHERE]
    return ".".join(words) or name
