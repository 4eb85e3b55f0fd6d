"""How a script of experiments/ that is no experiment runs: with flags, and without the log of libraries."""

from collections.abc import Callable

from absl import app, logging

from cnn_jax import compilation_cache


def run(main: Callable[[list[str]], None], *, keep_programs: bool = True) -> None:
    """`absl.app.run` that says no more than warnings, unless --verbosity asks: jax reports each platform it misses.

    Compiled programs are kept for the next start, unless compilation is what the script measures.
    """
    logging.set_verbosity(logging.WARNING)
    if keep_programs:
        compilation_cache.turn_on()
    app.run(main)
