"""How long is fuzzed: each property a second in a run of all tests, together an hour with --hypothesis-profile=hour."""

import time
from collections.abc import Callable
from typing import Any

import pytest

SECOND, HOUR = 1.0, 3600.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Calls a test of Hypothesis again and again, with other examples, until its time is over."""
    if not getattr(pyfuncitem.obj, "is_hypothesis_test", False):
        return None
    hour = pyfuncitem.config.getoption("hypothesis_profile", None) == "hour"
    end = time.monotonic() + (HOUR / len(pyfuncitem.session.items) if hour else SECOND)
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    while True:
        pyfuncitem.obj(**arguments)
        if time.monotonic() >= end:
            return True


@pytest.fixture
def answered(tmp_path: Any) -> Callable[..., Any]:
    """answered(function, *args): what it returns, or None for a ValueError of one line; anything else is raised."""

    def call(function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except (ValueError, FileNotFoundError) as error:
            assert str(error) and len(" ".join(str(error).split())) < 2000
            assert "\n" not in str(error), str(error)
            return None

    return call
