"""List the experiments: what each reproduces, its expected score and time; or the published models.

python launch.py list
python launch.py list models [FILTER]

FILTER is a part of the names to show, as resnet, or a pattern, as 'mobilenet*'.
"""

from absl import flags

from cnn_jax.inspect.table import sizes, table
from cnn_jax.launch import cli
from cnn_jax.launch.experiment_file import described, experiment_files
from cnn_jax.lookup import did_you_mean


def run(arguments: list[str]) -> int:
    """Prints a paragraph per experiment, or a line per model."""
    values = flags.FlagValues()
    if cli.wants_help(arguments):
        print(__doc__)
        return 0
    words = cli.parse("list", values, arguments)
    if words and words[0] != "models":
        raise cli.UsageError(f"unknown list '{words[0]}': {did_you_mean(words[0], ['models'])}")
    if len(words) > 2:
        raise cli.UsageError(f"leftover words '{' '.join(words[2:])}': see launch.py list --help")
    if words:
        _models(words[1] if len(words) == 2 else "*")
    else:
        _experiments()
    return 0


def _experiments() -> None:
    for path in experiment_files():
        print(path)
        try:
            about = described(path)
        except ValueError as error:
            print(f"    cannot be read: {error}\n")
            continue
        print(f"    {about.pop('title')}")
        for name, text in about.items():
            print(f"    {name + ':':12}{text}")
        print()
    print("Train one with: python launch.py train EXPERIMENT")


def _models(pattern: str) -> None:
    from cnn_jax.inspect.models import published  # JAX starts here, not for the experiments
    from cnn_jax.inspect.variants import list_models

    names, variants = list_models(pattern), published()
    known = {**variants, **{name.partition(".")[2]: variant for name, variant in variants.items()}}
    found = [(name, known[name]) for name in names]
    rows = [(name, sizes(one.input_shape), one.params, one.macs, one.source) for name, one in found]
    print(table(("model", "input", "parameters", "multiply-adds", "source"), rows))
    print("\nMore about one with: python launch.py describe MODEL")
