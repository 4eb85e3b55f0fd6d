"""An experiment as a command line changes it: which word is the experiment, and what its flags set."""

from collections.abc import Collection

from absl import flags
from ml_collections import config_flags
from ml_collections.config_flags import config_path

from cnn_jax import config as configuration
from cnn_jax.config import Experiment
from cnn_jax.launch import cli, experiment_file, fields
from cnn_jax.lookup import Function, lookup


class _FunctionParser(flags.ArgumentParser):
    """A flag whose value is the name of a function."""

    def parse(self, argument: object) -> Function:
        return lookup(argument) if isinstance(argument, str) else argument  # type: ignore[return-value]


config_flags.register_flag_parser_for_type(Function, _FunctionParser())


def experiment_word(arguments: list[str]) -> str | None:
    """Which of the words of a command is the experiment, None where there is no word.

    A word may also be the value of the flag before it, so experiments go first, then run folders, then a folder of
    pictures that stands behind no flag that wants a value.
    """
    words = [word for word in arguments if not word.startswith("-")]
    alone = [word for before, word in zip(["", *arguments], arguments, strict=False) if not _wants_value(before)]
    found = [word for is_one in (experiment_file.find, experiment_file.run_of) for word in words if is_one(word)]
    return next(iter([*found, *filter(experiment_file.is_pictures, alone), *words]), None)


def _wants_value(argument: str) -> bool:
    return argument.startswith("-") and "=" not in argument and argument.lstrip("-") not in ("fresh", "nofresh")


def given(arguments: list[str]) -> dict[str, str]:
    """The fields of the configuration that flags set, as text."""
    found, prefix = dict[str, str](), "config."
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name.startswith(prefix):
            found[name.removeprefix(prefix)] = value if equals else following
    return found


def without(names: Collection[str], arguments: list[str], values: flags.FlagValues) -> list[str]:
    """The words of a command but for the flags of these names, and the words that are their values."""
    left, is_value = list[str](), False
    for word in arguments:
        name, equals, _ = word.lstrip("-").partition("=")
        own = word.startswith("-") and name in names
        if not own and not is_value:
            left.append(word)
        is_value = own and not equals and name in values and not values[name].boolean
    return left


def configured(verb: str, word: str, arguments: list[str], values: flags.FlagValues, config: Experiment) -> Experiment:
    """The experiment with the values that flags give its fields, checked; `values` are parsed by it.

    Args:
      verb: the command.
      word: the experiment, the one word of the command that is no flag.
      arguments: of the command.
      values: its flags, but for those of the fields.
      config: what `word` means, which is changed.
    """
    fields.check_names(arguments, values)
    config_flags.DEFINE_config_dataclass("config", config, flag_values=values, sys_argv=[verb, *arguments])
    try:
        left = cli.parse(verb, values, arguments, words=1)
    except flags.IllegalFlagValueError as error:
        raise cli.UsageError(f"{error}{fields.hint(str(error))}") from error
    if left != [word]:
        experiment_file.load(left[0])
        raise cli.UsageError(
            f"'{word}' was taken for the experiment: write a flag's value behind =, as --workdir=FOLDER"
        )
    # Into the original: the flag's value is a deep copy, in which functions are no longer those that have names.
    for name, value in config_flags.get_override_values(values["config"]).items():
        config_path.set_value(name, config, value)
    configuration.check(config)
    return config
