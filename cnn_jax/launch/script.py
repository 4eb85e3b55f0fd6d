"""How a script of experiments/ that is no experiment runs: with flags, and without the log of libraries."""

from collections.abc import Callable

from absl import app, logging


def run(main: Callable[[list[str]], None]) -> None:
    """`absl.app.run` that says no more than warnings, unless --verbosity asks: jax reports each platform it misses."""
    logging.set_verbosity(logging.WARNING)
    app.run(main)
