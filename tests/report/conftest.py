"""Figures as they are saved, and warnings as errors."""

import warnings
from collections.abc import Iterator

import pytest
from matplotlib.figure import Figure


@pytest.fixture(autouse=True)
def strict() -> Iterator[None]:
    """A warning of matplotlib (a layout that collapses, an axis without extent) fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures as they are saved."""
    saved: list[Figure] = []
    keep = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: (saved.append(figure), keep(figure, *a, **k))[1])
    return saved
