"""What is installed: all of the package, and the experiments in it; and the installed command."""

import subprocess
import sys
from pathlib import Path

import pytest

from cnn_jax.launch import cli

ROOT = Path(__file__).parents[1]


def test_what_a_wheel_holds(tmp_path):
    """Built as far as the folder from which a wheel is packed; nothing is written to the repository."""
    pytest.importorskip("setuptools", reason="packages are built by setuptools, which is not installed")
    build = [sys.executable, "-W", "ignore", "setup.py", "-q", "build_py", f"--build-lib={tmp_path}"]
    subprocess.run(build, cwd=ROOT, check=True)
    built = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    own = [path for path in (ROOT / "cnn_jax").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    wanted = {str(path.relative_to(ROOT)) for path in own}
    experiments = [path for glob in ("*.py", "full_scale/*.py") for path in (ROOT / "experiments").glob(glob)]
    assert built == wanted | {f"cnn_jax/{path.relative_to(ROOT)}" for path in experiments}


@pytest.mark.parametrize(
    ("program", "called"),
    [
        ("launch.py", "see python launch.py list"),
        ("/opt/bin/cnn_jax", "see cnn_jax list"),
        ("C:/cnn_jax.exe", "see cnn_jax list"),
    ],
)
def test_commands_are_named_as_they_were_called(program, called, monkeypatch):
    monkeypatch.setattr("sys.argv", [program])
    assert cli.as_called("see python launch.py list") == called


def test_the_installed_command_asks_for_huge_pages_too(monkeypatch):
    done = []
    monkeypatch.setattr(cli, "ask_for_huge_pages", lambda: done.append("pages"))
    monkeypatch.setattr(cli, "main", lambda: done.append("main") or 0)
    assert cli.console() == 0 and done == ["pages", "main"]
    assert "cnn_jax = cnn_jax.launch.cli:console" in (ROOT / "setup.cfg").read_text()
