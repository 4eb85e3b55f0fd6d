"""The command line: python launch.py list | train EXPERIMENT | eval RUN | predict RUN INPUT... | doctor."""

import sys

from cnn_jax.devices import ask_for_huge_pages
from cnn_jax.launch.cli import main

if __name__ == "__main__":
    ask_for_huge_pages()
    sys.exit(main())
