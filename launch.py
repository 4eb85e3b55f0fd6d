"""The command line: python launch.py list | train EXPERIMENT | eval RUN | predict RUN INPUT... | doctor."""

import sys

from cnn_jax.launch.cli import console

if __name__ == "__main__":
    sys.exit(console())
