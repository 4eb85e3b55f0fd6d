"""A model described in text: its layers, its feature maps, what it costs and who published it."""

import warnings
from collections.abc import Sequence

from cnn_jax.inspect import anatomy, models
from cnn_jax.inspect.program import Program, trace, xla_flops
from cnn_jax.inspect.receptive_field import Field, fields_of
from cnn_jax.inspect.table import sizes, table
from cnn_jax.models.small_images import stem_warning, takes_fitting_stem
from cnn_jax.models.variant import Preprocessing, Variant


def description(text: str, shape: tuple[int, ...] | None, classes: int | None, batch: int) -> str:
    """What `launch.py describe` says of the model that `text` describes, for `batch` examples of `shape`.

    Without shape or classes those of the published variant are used. Warns of a stem that does not fit the shape.
    Raises ValueError for text that is no model, and for what the model does not read.
    """
    function, variant = models.find(text)
    if variant:
        if shape and len(shape) != len(variant.input_shape):
            raise ValueError(f"'{text}' reads examples such as {sizes(variant.input_shape)}, not {sizes(shape)}")
        shape, classes = shape or variant.input_shape, classes or variant.classes
    if not shape or not classes:
        raise ValueError(f"'{text}' is no published variant: say --input=H,W,C and --classes=N")
    model = models.build(text, function, classes)
    try:
        program = trace(model, shape, batch)
    except TypeError as error:
        raise ValueError(f"'{text}' does not work on examples of {sizes(shape)}: {error}") from error
    detects = hasattr(model, "detections")  # what it says is no map of features
    fields = {} if detects else fields_of(program)
    maps = {name: program.outputs[name].shape[1:] for name in fields}
    spatial = {name: size[:-1] for name, size in maps.items()}
    if warning := stem_warning(spatial, shape[:-1], replaceable=takes_fitting_stem(model)):
        warnings.warn(warning, stacklevel=2)
    features = [(name, sizes(maps[name]), *_sight(axes)) for name, axes in fields.items()]
    layers = anatomy.layers(program)
    parts = [
        f"{text}: batch {batch} of {sizes(shape)}, {classes} classes",
        table(
            ("layer", "kind", "output", "parameters", "multiply-adds"),
            [(layer.path or "(model)", layer.kind, sizes(layer.shape[1:]), *layer[3:]) for layer in layers],
        ),
        table(("output", "shape"), [(name, sizes(value.shape)) for name, value in program.outputs.items()])
        if detects
        else table(("feature", "output", "stride", "sees", "from"), features),
        "\n".join([*_totals(program, layers), *_publication(variant)]),
    ]
    return "\n\n".join(parts)


def _totals(program: Program, layers: list[anatomy.Layer]) -> list[str]:
    params, macs = sum(layer.params for layer in layers), sum(layer.macs for layer in layers)
    flops, memory = xla_flops(program), anatomy.activation_memory(program)
    return [
        f"parameters     {params:,} ({4 * params / 1e6:,.1f} MB in float32)",
        f"multiply-adds  {macs:,} in convolutions and matrix products",
        f"operations     {flops:,.0f} by XLA's count of all but padding, {flops / max(macs, 1):.2f} per multiply-add",
        f"activations    {memory.forward / 1e6:,.1f} MB at most in a forward pass, "
        f"{memory.training / 1e6:,.1f} MB kept in training",
    ]


def _sight(axes: tuple[Field, ...]) -> tuple[str, str, str]:
    """Stride, size and start of a receptive field, as text."""
    if not any(axis.size for axis in axes):
        return "", "everything", ""
    size = sizes([axis.size for axis in axes])
    if any(axis.everything for axis in axes):
        size += ", and everything pooled"
    return _once([axis.stride for axis in axes]), size, _once([axis.start for axis in axes])


def _once(values: Sequence[object]) -> str:
    return ", ".join(map(str, values[:1] if len(set(values)) == 1 else values))


def _publication(variant: Variant | None) -> list[str]:
    lines = [f"published in   {variant.source}"] if variant else []
    if variant and variant.reference:
        lines.append(f"weights        {variant.reference}")
    if variant and (how := variant.preprocessing):
        lines.append(f"preprocessing  {how}{',' if isinstance(how, Preprocessing) else ''}")
    if variant and isinstance(how, Preprocessing):
        lines.append(f"               mean {how.mean}, standard deviation {how.std} of pixels in [0, 1]")
    return lines
