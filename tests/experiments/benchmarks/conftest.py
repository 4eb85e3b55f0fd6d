"""Files of experiments/benchmarks as modules."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from absl import flags

BENCHMARKS = Path(__file__).parents[3] / "experiments" / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a file of the benchmarks. Their folder stands last: their names are short.

    A script's flags go again after the test, as others have such names, and the script with them.
    """
    monkeypatch.setattr(sys, "path", [*sys.path, str(BENCHMARKS)])
    scripts: dict[str, set[str]] = {}

    def imported(name: str) -> Any:
        before = set(flags.FLAGS)
        module = importlib.import_module(name)
        if own := set(flags.FLAGS) - before:
            scripts[name] = own
        return module

    yield imported
    for name, own in scripts.items():
        for flag in own:
            delattr(flags.FLAGS, flag)
        sys.modules.pop(name)
