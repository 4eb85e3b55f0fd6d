"""List the experiments: what each reproduces, its expected score and time.

python launch.py list
"""

from absl import flags

from cnn_jax.launch import cli
from cnn_jax.launch.experiment_file import described, experiment_files


def run(arguments: list[str]) -> int:
    """Prints a paragraph per experiment."""
    values = flags.FlagValues()
    if cli.wants_help(arguments):
        print(__doc__)
        return 0
    cli.parse("list", values, arguments, words=0)
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
    return 0
