"""List the experiments, or the parts that an experiment is made of, with their settings.

python launch.py list                      # experiments: what each reproduces, its expected score and time
python launch.py list augmentations        # for --config.augment=
python launch.py list models resnet        # published models whose name contains resnet
python launch.py list models --task=detect # those that find objects

The lists are experiments, models, sources, augmentations, tasks, losses (of segmentation), optimizers, schedules and
evaluations; a second word is a part of the names to show, or for models a pattern, as 'mobilenet*'. What they name is
written in flags of train, as --config.optim.schedule='cosine(final=0.01)'.
"""

import inspect
import sys
from collections.abc import Iterable

from absl import flags

from cnn_jax import config as configuration
from cnn_jax.inspect.table import sizes, table
from cnn_jax.launch import cli
from cnn_jax.launch.experiment_file import described, experiment_files, word_for
from cnn_jax.lookup import did_you_mean
from cnn_jax.parts import KINDS, of_kind, settings

SETTING = {"losses": "model.task='segment(loss=NAME)'"}  # of parts that are settings of others, not fields
EXPERIMENTS = "experiments"


def run(arguments: list[str]) -> int:
    """Prints a paragraph per experiment, or what there is of a kind of parts."""
    values = flags.FlagValues()
    tasks = ["classify", "tag", "detect", "segment", "segment_instances"]
    flags.DEFINE_enum("task", None, tasks, "of the models that are shown", flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    words = cli.parse("list", values, arguments)
    if words and words[0] not in (EXPERIMENTS, *KINDS):
        raise cli.UsageError(f"unknown list '{words[0]}': {did_you_mean(words[0], (EXPERIMENTS, *KINDS))}")
    if len(words) > 2:
        raise cli.UsageError(f"leftover words '{' '.join(words[2:])}': see launch.py list --help")
    kind, part = (*(words or [EXPERIMENTS]), "")[:2]
    if values.task and kind != "models":
        raise cli.UsageError(f"--task is of models: launch.py list models --task={values.task}")
    if kind == EXPERIMENTS:
        _experiments(part)
    elif kind == "models":
        _models(part or "*", values.task)
    else:
        _parts(kind, part)
    return 0


def _experiments(part: str) -> None:
    known = experiment_files()
    found = [path for path in known if part.lower() in path.stem]
    if not found:
        raise ValueError(_none(EXPERIMENTS, part, [path.stem for path in known]))
    for path in found:
        print(word_for(path))
        try:
            about = described(path)
        except ValueError as error:
            print(f"    cannot be read: {error}\n")
            continue
        print(f"    {about.pop('title')}")
        for name, text in about.items():
            print(f"    {name + ':':12}{cli.as_called(text).replace(f'experiments/{path.name}', word_for(path))}")
        print()
    print(cli.as_called("Train one with: python launch.py train EXPERIMENT"))


def _none(kind: str, part: str, known: Iterable[str]) -> str:
    return f"no name of {kind} contains '{part}': {did_you_mean(part, known)}"


def _parts(kind: str, part: str) -> None:
    known = of_kind(kind)
    found = {name: value for name, value in known.items() if part.lower() in name}
    if not found:
        raise ValueError(_none(kind, part, known))
    for name, value in found.items():
        text = inspect.getdoc(value) or ""
        print(f"{name}({settings(value)})\n    {' '.join(text.partition(chr(10) * 2)[0].split())}")
    fields = [name for name, field in configuration.fields() if field.metadata.get("kind") == kind]
    use = f"{fields[0]}=NAME" if fields else SETTING[kind]
    print(cli.as_called(f"\nUse one with: python launch.py train EXPERIMENT --config.{use}"))


def _models(pattern: str, task: str | None) -> None:
    from cnn_jax.inspect.models import published  # JAX starts here, not for the experiments
    from cnn_jax.inspect.variants import list_models

    names, variants = list_models(pattern), published()
    known = {**variants, **{name.partition(".")[2]: variant for name, variant in variants.items()}}
    found = [(name, known[name]) for name in names if task in (None, known[name].task)]
    if not found:
        raise ValueError(f"no model whose name is like '{pattern}' is for the task {task}")
    rows = [(name, one.task, sizes(one.input_shape), one.params, one.macs, one.source) for name, one in found]
    print(table(("model", "task", "input", "parameters", "multiply-adds", "source"), rows))
    print(cli.as_called("\nMore about one with: python launch.py describe MODEL"))
