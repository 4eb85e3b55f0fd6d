"""How a script of experiments/ that is no experiment runs: with flags, and with the errors of the command line.

Exit codes are those of `cnn_jax.launch.cli`, and 1 where the work was done and its outcome is a failure.
"""

import sys
from collections.abc import Callable

from absl import app, flags, logging

from cnn_jax import compilation_cache
from cnn_jax.launch import cli


class Failed(Exception):
    """The work was done, and what came of it is a failure: two things that should agree do not."""

    exit_code = 1


def run(main: Callable[..., None], *, words: bool = False, keep_programs: bool = True) -> None:
    """Parses the flags, calls main(), or main(words) with what is left on the command line, and exits.

    Every expected error is one line on stderr. Libraries log no more than errors, unless --verbosity asks: jax reports
    each platform that it misses, and Orbax its housekeeping. Compiled programs are kept for the next start, unless
    compilation is what the script measures.
    """
    logging.set_verbosity(logging.ERROR)

    def work(left: list[str]) -> int:
        if left and not words:
            raise cli.UsageError(f"leftover words '{' '.join(left)}': see {sys.argv[0]} --help")
        if keep_programs:
            compilation_cache.turn_on()
        main(left) if words else main()
        return 0

    app.run(lambda argv: cli.one_line_errors(lambda: work(argv[1:])), flags_parser=_parsed)


def _parsed(argv: list[str]) -> list[str]:
    """What of the command line is no flag. A mistake in the flags ends the process with one line."""
    left: list[str] = []

    def parse() -> int:
        left.extend(flags.FLAGS(argv))
        return 0

    code = cli.one_line_errors(parse)
    return left if code == 0 else sys.exit(code)
