"""Say what a model is: its layers, parameters, multiply-adds, memory, and what its feature maps see.

python launch.py describe resnet50
python launch.py describe 'resnet18(act=jax.nn.gelu)' --input=64,64,3 --classes=10 --batch=32

MODEL is written as in --config.model.build=: resnet18, or 'resnet18(act=jax.nn.gelu, stem=fitting_stem)'. The command
launch.py list models shows the published ones; where input and classes are not given, they are those of the
publication. Nothing is computed or compiled: the model is only traced.
"""

import sys

from absl import flags

from cnn_jax.devices import without_collection
from cnn_jax.launch import cli


def run(arguments: list[str]) -> int:
    """Prints the description."""
    values = flags.FlagValues()
    flags.DEFINE_list("input", None, "shape of one example: 224,224,3 for images, 40,1 for signals", flag_values=values)
    flags.DEFINE_integer("classes", None, "number of classes", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("batch", 1, "examples at once", lower_bound=1, flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    words = cli.parse("describe", values, arguments)
    if len(words) != 1:
        raise cli.UsageError("say one model: launch.py describe MODEL (launch.py list models shows the published ones)")
    shape = None if values.input is None else _shape(values.input)
    with without_collection():
        from cnn_jax.inspect.description import description  # JAX starts here, not for --help

        print(description(words[0], shape, values.classes, values.batch))
    return 0


def _shape(words: list[str]) -> tuple[int, ...]:
    if len(words) not in (2, 3) or not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise cli.UsageError(f"--input={','.join(words)}: write the shape of one example, as --input=224,224,3")
    return tuple(int(word) for word in words)
