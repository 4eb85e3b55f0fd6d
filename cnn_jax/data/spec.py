"""What a source holds: named fields with roles, from which everything else is decided.

No code outside a source and its task names a field. Scaling, augmentation, the zeros that a model is initialised with
and the pictures of a report all go by the roles, so a new kind of target needs no change in them.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from cnn_jax.data.images import DEEP
from cnn_jax.data.prepare import ImagePrepare, Prepare
from cnn_jax.data.sound import SoundPrepare
from cnn_jax.data.text import TextPrepare

# Inputs:
#   image          [H, W, C]; bytes are scaled to [0, 1] on the device, floats are left as they are
#   signal         [L, C]
#   tokens         [L] whole numbers: words, characters or bytes of a text; 0 is padding, as `text` has it
# Targets:
#   label          [] class of the example, -1 where it is not known
#   labels         [K] 1 for each class that the example belongs to, else 0
#   value          [...] numbers to be predicted
#   class_map      [H, W] class of each pixel, IGNORED where it does not count
#   instance_map   [H, W] number of the object that a pixel belongs to, 0 for none; n for row n - 1 of the boxes
#   boxes          [N, 4] left, top, right, bottom in pixels of the example; rows beyond the objects are 0
#   box_labels     [N] class of each box, -1 for rows without an object
#   box_ignored    [N] 1 for a box whose object need not be found (difficult, hardly visible), 2 for one around a crowd
#                  of objects, 0 else: neither counts as an object, or as background
#   box_areas      [N] area of each object in pixels of the original picture, by which small and large are told apart
#   points         [N, 2] x, y in pixels of the example
# Beside an image, among the inputs:
#   placement      [6] where the original picture lies in the example, as `placement.placed` reads it
Role = Literal[
    "image",
    "signal",
    "tokens",
    "label",
    "labels",
    "value",
    "class_map",
    "instance_map",
    "boxes",
    "box_labels",
    "box_ignored",
    "box_areas",
    "points",
    "placement",
]

OF_PIXELS: tuple[Role, ...] = ("image", "class_map", "instance_map")  # [H, W, ...] of the example
# What a source says of the objects in its pictures: "boxes"; "instances", these and an instance_map; or a "class_map".
Targets = Literal["boxes", "instances", "class_map"]

PADDED: tuple[Role, ...] = ("boxes", "box_labels", "box_ignored", "box_areas", "points")  # a row for each object

# What every batch has beside its fields: whether an example [B] is real (1) or padding, or could not be decoded (0), as
# float32; and its place [B] in its split, -1 for padding, which stays on the host.
VALID, INDEX = "valid", "index"
BACKGROUND = "background"  # the class of a class_map of what is no object, where a set has it
IGNORED = 255  # of a class_map: pixels of no known class, and those that an augmentation moves in from outside
DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float16", "float32", "float64")
# By what run folders call them.
RECORDS: dict[str, type[Prepare]] = {
    "array": Prepare,
    "image": ImagePrepare,
    "sound": SoundPrepare,
    "text": TextPrepare,
}
UNITS = {"image": "images", "signal": "signals", "tokens": "texts"}  # what examples are called, by their input's role


class Field(NamedTuple):
    """One array of a batch. shape: of one example, the padded maximum where sizes vary; dtype: as stored.

    range: least and greatest value that the source promises, for floats; None where it promises nothing.
    """

    role: Role
    shape: tuple[int, ...]
    dtype: str
    range: tuple[float, float] | None = None


Fields = Mapping[str, Field]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a source holds; the same for all its splits.

    inputs: what a model reads; targets: what it is to say of it.
    prepare: how a file becomes an example, with the channel statistics of the whole train split.
    unit: what examples are called, as "clips"; "" for the usual word of the input's role.
    class_ids: the numbers that classes have in the annotations, as COCO's 1 to 90 with gaps; () where they have none.
    fingerprint: sha256 over the content of all splits as stored; over the sorted (relative path, size) list for files
        of more than 256 MiB.
    notes: one line for each thing that was left out, changed or guessed while the source was opened: how much of it,
        one example, and the setting that changes it. `opened` warns of each once.
    """

    name: str
    classes: tuple[str, ...]
    inputs: Fields
    targets: Fields
    prepare: Prepare
    licence: str
    citation: str
    fingerprint: str
    unit: str = ""
    class_ids: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def fields(self) -> dict[str, Field]:
        """All fields of a batch."""
        return {**self.inputs, **self.targets}

    @property
    def input(self) -> Field:
        """The first input, which most models read alone."""
        return next(iter(self.inputs.values()))

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Those that the first input of an example may have: one, but where they are brought to several sizes."""
        return self.prepare.shapes(self.input.shape)

    @property
    def units(self) -> str:
        """What examples are called, as "images"."""
        return self.unit or UNITS.get(self.input.role, "examples")


def named(fields: Fields, role: Role) -> str:
    """The name of the one field of a role. Raises ValueError, in one line, where there is none or more than one."""
    names = [name for name, field in fields.items() if field.role == role]
    if len(names) != 1:
        found = ", ".join(f"{name} ({field.role})" for name, field in fields.items()) or "none"
        raise ValueError(f"one field of the role '{role}' is needed, the data has {len(names)}: its fields are {found}")
    return names[0]


def kinds(fields: Fields) -> dict[str, Field]:
    """The fields as two sources must share them to serve one model.

    That is without the ranges of their values, and without the number of rows that objects are padded to.
    """
    plain = {name: field._replace(range=None) for name, field in fields.items()}
    return {n: f._replace(shape=(0, *f.shape[1:])) if f.role in PADDED else f for n, f in plain.items()}


def to_json(spec: Spec) -> dict[str, Any]:
    """The spec as nested dictionaries, lists, numbers and strings."""
    fields = {
        part: {name: field._asdict() for name, field in getattr(spec, part).items()} for part in ("inputs", "targets")
    }
    plain = {name: value for name, value in vars(spec).items() if name not in (*fields, "prepare")}
    kind = next(name for name, record in RECORDS.items() if type(spec.prepare) is record)
    return {**plain, **fields, "prepare": {"kind": kind, **asdict(spec.prepare)}}


def from_json(values: Mapping[str, Any]) -> Spec:
    """The inverse of `to_json`, which reads what earlier versions wrote too.

    Raises ValueError for what is missing, unknown or of another kind.
    """
    try:
        inputs, targets = ({n: _field(f) for n, f in values[part].items()} for part in ("inputs", "targets"))
        prepare = _prepare({n: _tuple(value) for n, value in values["prepare"].items()}, inputs)
        rest = {n: _tuple(value) for n, value in values.items() if n not in ("inputs", "targets", "prepare")}
        spec = Spec(**rest, inputs=inputs, targets=targets, prepare=prepare)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"no description of data: {type(error).__name__} {error}") from None
    if not spec.inputs:
        raise ValueError("no description of data: it has no inputs")
    _check_types(spec)
    return spec


def example_bytes(spec: Spec) -> int:
    """Bytes of one example."""
    return sum(math.prod(field.shape) * np.dtype(field.dtype).itemsize for field in spec.fields.values())


def with_statistics(spec: Spec, mean: tuple[float, ...], std: tuple[float, ...]) -> Spec:
    """The spec with other statistics of the channels."""
    return replace(spec, prepare=replace(spec.prepare, mean=tuple(mean), std=tuple(std)))


def _check_types(spec: Spec) -> None:
    """Raises ValueError for what a file may hold in place of texts, shapes and statistics."""
    texts = {name: getattr(spec, name) for name in ("name", "licence", "citation", "fingerprint", "unit")}
    lists = {name: getattr(spec, name) for name in ("classes", "notes")}
    for name, value in texts.items():
        _require(isinstance(value, str), name, value)
    for name, value in lists.items():
        _require(isinstance(value, tuple) and all(isinstance(item, str) for item in value), name, value)
    ids = spec.class_ids
    _require(isinstance(ids, tuple) and all(type(i) is int and abs(i) < 2**63 for i in ids), "class_ids", ids)
    _require(len(ids) in (0, len(spec.classes)), "class_ids", ids)
    for name, field in spec.fields.items():
        shape, dtype, promised = field.shape, field.dtype, field.range
        whole = isinstance(shape, tuple) and all(type(size) is int and 0 < size < 2**31 for size in shape)
        _require(whole, f"shape of {name}", shape)
        _require(isinstance(dtype, str) and dtype in DTYPES, f"dtype of {name}", dtype)
        pair = isinstance(promised, tuple) and len(promised) == 2 and all(map(_is_number, promised))
        _require(promised is None or pair, f"range of {name}", promised)
    for name, values in (("mean", spec.prepare.mean), ("std", spec.prepare.std)):
        _require(isinstance(values, tuple) and all(map(_is_number, values)), name, values)
    channels = (0, spec.input.shape[-1]) if spec.input.shape else (0,)
    same = len(spec.prepare.mean) == len(spec.prepare.std) in channels
    _require(same and all(value > 0 for value in spec.prepare.std), "std", spec.prepare.std)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e38


def _require(holds: bool, name: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"no description of data: {name} = {str(value)[:100]}")


def _prepare(values: dict[str, Any], inputs: Fields) -> Prepare:
    if "kind" in values:
        return RECORDS[values.pop("kind")](**values)
    # Runs that say no kind have the fields of images, whatever their data is.
    if inputs and next(iter(inputs.values())).role != "image":
        return Prepare(**{n: values[n] for n in ("gamma", "mean", "std") if n in values})
    return ImagePrepare(
        **{"white": DEEP, **values}
    )  # which value is white was not said when the upper 8 bits were read


def _field(values: Mapping[str, Any]) -> Field:
    field = Field(**{name: _tuple(value) for name, value in values.items()})
    if field.role not in get_args(Role):
        raise ValueError(f"no description of data: '{field.role}' is no role")
    shape = field.shape
    if not isinstance(shape, tuple) or not all(type(length) is int and 0 <= length < 2**31 for length in shape):
        raise ValueError(f"no description of data: {str(shape):.80} is no shape")
    if not isinstance(field.dtype, str) or np.dtype(field.dtype).kind not in "biuf":
        raise ValueError(f"no description of data: {str(field.dtype):.80} is no type of numbers")
    return field


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
