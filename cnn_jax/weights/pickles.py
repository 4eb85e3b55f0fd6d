"""An interpreter for the pickles of `torch.save` that can describe tensors and do nothing else.

A pickle is a program for a small stack machine, whose instructions GLOBAL and REDUCE import and call anything. Here
GLOBAL knows the names of DTYPES and CALLS, and REDUCE calls what is in CALLS: nothing else of Python can be reached.
"""

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

DTYPES = {
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
NUMBERS = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BINSTRING", "SHORT_BINSTRING", "STRING"}
BYTES = {"BINBYTES", "SHORT_BINBYTES"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
PUT, GET = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}


NUMBER, DIMENSIONS = 2**48, 32  # sizes, offsets and strides are smaller than this; a tensor has at most so many of each
COPIED = 10_000_000  # items that calls may copy in all: a short pickle could ask for one list any number of times


class BadPickle(ValueError):
    """A pickle that is not run to its end."""


class Global(NamedTuple):
    """A name that a pickle has imported."""

    name: str


class Storage(NamedTuple):
    """Memory that tensors look into: `size` numbers."""

    key: str
    dtype: np.dtype
    size: int


class Tensor(NamedTuple):
    """A window on a storage; offset and stride count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def run(stream: BinaryIO) -> tuple[Any, dict[str, Storage]]:
    """The value that the pickle at the start of `stream` builds, and the storages it names, by key.

    Raises BadPickle for one that is damaged, or wants anything but tensors in dictionaries and lists.
    """
    storages: dict[str, Storage] = {}
    try:
        return _run(stream, storages), storages
    except BadPickle:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BadPickle(f"damaged or truncated pickle ({error or type(error).__name__})") from None


def _run(stream: BinaryIO, storages: dict[str, Storage]) -> Any:
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    copied = 0

    def since(mark: int) -> list[Any]:
        items = stack[mark:]
        del stack[mark:]
        return items

    arg: Any
    for opcode, arg, _ in pickletools.genops(stream):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case name if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            case name if name in NUMBERS or name in TEXTS or name in BYTES:
                stack.append(arg)
            case name if name in EMPTY:
                stack.append(EMPTY[name]())
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(since(marks.pop())))
            case name if name in TUPLES:
                stack.append(tuple(since(len(stack) - TUPLES[name])))
            case "LIST":
                stack.append(since(marks.pop()))
            case "DICT":
                stack.append(_filled({}, since(marks.pop())))
            case "APPEND":
                _extend(stack[-2], since(len(stack) - 1))
            case "APPENDS":
                items = since(marks.pop())
                _extend(stack[-1], items)
            case "SETITEM":
                _filled(stack[-3], since(len(stack) - 2))
            case "SETITEMS":
                items = since(marks.pop())
                _filled(stack[-1], items)
            case name if name in PUT:
                memo[int(arg)] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case name if name in GET:
                stack.append(memo[int(arg)])
            case "GLOBAL":
                stack.append(_global(*arg.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(_global(*since(len(stack) - 2)))
            case "BINPERSID":
                storage = _storage(*stack.pop())
                if storages.setdefault(storage.key, storage) != storage:
                    raise BadPickle(f"damaged: the storage {storage.key} is described in two ways")
                stack.append(storage)
            case "NEWOBJ":
                function, _ = since(len(stack) - 2)
                stack.append(BESIDE[function.name]())
            case "REDUCE":
                function, arguments = since(len(stack) - 2)
                copied += sum(len(item) for item in arguments if isinstance(item, list | tuple | dict))
                if copied > COPIED:
                    raise BadPickle(f"refused: its calls copy more than {COPIED:,} items")
                stack.append(CALLS[function.name](*arguments))
            case "BUILD":  # attributes, such as the format's version that a state dict carries
                stack.pop()
            case name:
                raise BadPickle(f"refused: its pickle holds the instruction {name}, and only tensors are read")
    raise AssertionError("genops yields STOP or raises")


def _global(module: str, name: str) -> Global:
    full = f"{module}.{name}"
    if full not in DTYPES and full not in CALLS:
        raise BadPickle(f"refused: it asks for {full[:80]!r}, and only tensors are read: save model.state_dict() alone")
    return Global(full)


def _storage(tag: str, kind: Global, key: str, location: str, size: int, view: None = None) -> Storage:
    if tag != "storage" or not isinstance(key, str) or not _is_size(size) or view is not None:
        raise BadPickle("damaged, or older than PyTorch 0.4: a storage is described in another way")
    return Storage(key, DTYPES[kind.name], size)


def _tensor(storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    if not isinstance(storage, Storage) or type(shape) is not tuple or type(stride) is not tuple:
        raise TypeError
    if len(shape) != len(stride) or len(shape) > DIMENSIONS or not all(map(_is_size, (offset, *shape, *stride))):
        raise BadPickle("damaged: a tensor's shape is no shape")
    return Tensor(storage, offset, shape, stride)


def _is_size(number: Any) -> bool:
    return type(number) is int and 0 <= number < NUMBER


def _parameter(tensor: Tensor, *_: Any) -> Tensor:
    return tensor


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    return _filled({}, [item for key, value in pairs for item in (key, value)])


def _size(numbers: list[int] | tuple[int, ...] = ()) -> tuple[int, ...]:
    return tuple(numbers)


def _nothing(*_: Any) -> None:
    return None


# What training scripts keep beside the weights, as the best score and their arguments: it is passed over.
BESIDE: dict[str, Callable[..., Any]] = dict.fromkeys(
    (
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        "_codecs.encode",
        "argparse.Namespace",
    ),
    _nothing,
)
CALLS: dict[str, Callable[..., Any]] = BESIDE | {
    "collections.OrderedDict": _ordered,
    "torch.Size": _size,
    "torch.device": _nothing,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}


def _extend(target: list[Any], items: list[Any]) -> None:
    if type(target) is not list:
        raise TypeError
    target += items


def _filled(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    """`target` with key, value, key, value, ... set in it. Nested tuples as keys could exhaust the stack of Python."""
    if type(target) is not dict or len(items) % 2:
        raise TypeError
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int | float | None):
            raise TypeError
        target[key] = value
    return target
