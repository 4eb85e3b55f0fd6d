"""What becomes of the work when its output cannot be written: nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
from cnn_jax.launch import cli
def work():
    for _ in range(3):
        print("\\u732b" * 10_000, flush=True)
    print("\\u732b", file=sys.stderr)
    Path(sys.argv[1]).write_text("done")
    return 0
sys.exit(cli.one_line_errors(work))
"""


def run(tmp_path: Path, **streams: object) -> subprocess.CompletedProcess:
    done = tmp_path / "done"
    settings: dict = {"stderr": subprocess.PIPE, "cwd": ROOT, **streams}
    found = subprocess.run([sys.executable, "-c", SCRIPT, str(done)], **settings)
    assert done.read_text() == "done"
    return found


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    found = run(tmp_path, stdout=writer)
    os.close(writer)
    assert (found.returncode, found.stderr.decode()) == (0, "\u732b\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_is_an_error_of_work_that_was_done(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        found = run(tmp_path, stdout=full)
    assert found.returncode == 74
    assert found.stderr.decode() == "\u732b\nerror: the output could not be written: No space left on device\n"


def test_a_closed_output_is_no_error(tmp_path: Path) -> None:
    found = run(tmp_path, preexec_fn=lambda: (os.close(1), os.close(2)))
    assert found.returncode == 0


C_LOCALE = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize("given", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, C_LOCALE], ids=str)
def test_letters_that_the_output_has_not_are_replaced(tmp_path: Path, given: dict[str, str]) -> None:
    found = run(tmp_path, stdout=subprocess.PIPE, env={**os.environ, **given})
    assert found.returncode == 0 and found.stdout == b"".join([b"?" * 10_000 + b"\n"] * 3)


def test_the_streams_are_put_back() -> None:
    from cnn_jax.launch.output import unbroken_output

    before = sys.stdout, sys.stderr
    with unbroken_output():
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before
