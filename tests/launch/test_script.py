"""Scripts of experiments/: their errors are those of the command line."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnn_jax.data import fashion_mnist

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / "experiments" / folder for folder in ("benchmarks", "studies")]
SCRIPTS = [path for folder in FOLDERS for path in sorted(folder.glob("*.py"))]
HEAD = """
from absl import flags
from cnn_jax.launch import cli, script
COUNT = flags.DEFINE_integer("count", 1, "a number", lower_bound=1)
def main(words=()):
    {body}
script.run(main{more})
"""


def run(tmp_path: Path, body: str, *words: str, more: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "mine.py").write_text(HEAD.format(body=body, more=more))
    command = [sys.executable, "mine.py", *words]
    paths = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | paths | environment)


@pytest.mark.parametrize(
    ("body", "words", "code", "says"),
    [
        ("raise FileNotFoundError('no data: get it')", (), 2, "no data: get it"),
        ("raise ValueError('two\\nlines')", (), 2, "two lines"),
        ("import nowhere", (), 2, "No module named 'nowhere'"),
        ("open('nowhere.txt')", (), 2, "'nowhere.txt': No such file or directory"),
        ("raise OSError(28, 'No space left on device', 'out')", (), 74, "'out': No space left on device"),
        ("raise script.Failed('a and b disagree')", (), 1, "a and b disagree"),
        ("raise KeyboardInterrupt", (), 130, "interrupted"),
        ("pass", ("--count=0",), 2, "flag --count=0: 0 is not a positive integer"),
        ("pass", ("--cuont=1",), 2, "Unknown command line flag 'cuont'. Did you mean: count ?"),
        ("pass", ("a", "b"), 2, "leftover words 'a b': see mine.py --help"),
    ],
)
def test_an_expected_error_is_one_line_and_its_code(tmp_path, body, words, code, says):
    done = run(tmp_path, body, *words)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (code, "", 1)
    assert done.stderr.startswith(says if code == 130 else f"error: {says}")


def test_words_are_passed_on_where_they_are_wanted(tmp_path):
    done = run(tmp_path, "print(words, COUNT.value)", "a", "--count=3", "b", more=", words=True")
    assert (done.returncode, done.stdout, done.stderr) == (0, "['a', 'b'] 3\n", "")


def test_a_bug_and_a_debugged_error_show_where_they_come_from(tmp_path):
    done = run(tmp_path, "raise KeyError('x')")
    assert done.returncode == 1 and "Traceback" in done.stderr
    done = run(tmp_path, "raise ValueError('x')", CNN_JAX_DEBUG="1")
    assert done.returncode == 2 and "Traceback" in done.stderr and done.stderr.endswith("error: x\n")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_runs_in_this_frame(path):
    """Or in that of a benchmark's child; and none ends the process by itself."""
    *_, last = ast.parse(path.read_text()).body
    if isinstance(last, ast.If):
        assert ast.unparse(last.body[-1]) in (
            "script.run(main)",
            "script.run(main, words=True)",
            "script.run(main, keep_programs=False)",
            "serve(prepare)",
        )
        assert "sys.exit" not in path.read_text()


def test_a_damaged_data_set_is_one_line(tmp_path):
    """The benchmark of the loop trains on Fashion-MNIST, which is looked for here first."""
    for name in fashion_mnist.SHA256:
        (tmp_path / name).write_bytes(b"damaged")
    command = [sys.executable, ROOT / "experiments" / "benchmarks" / "loop.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CNN_JAX_DATA": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert done.stderr.startswith(f"error: {tmp_path}/train-images-idx3-ubyte")
