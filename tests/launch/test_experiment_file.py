"""Experiment files: found by name or path, described without being run."""

import pytest

from cnn_jax.launch import experiment_file

TEXT = '''"""A title: with a colon.

Reproduces: a table of a paper,
    which takes two lines.
Command: python launch.py train experiments/a.py
Time: 5 s
Expected: 0.9
"""

raise RuntimeError("run")


def experiment():
    pass
'''


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "a.py").write_text(TEXT)
    (tmp_path / "experiments" / "benchmark.py").write_text("def main():\n    pass\n")
    (tmp_path / "b.py").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_docstring_is_taken_apart():
    path, *_ = experiment_file.experiment_files()
    assert experiment_file.described(path) == {
        "title": "A title: with a colon.",
        "reproduces": "a table of a paper, which takes two lines.",
        "command": "python launch.py train experiments/a.py",
        "time": "5 s",
        "expected": "0.9",
    }


def test_a_file_is_found_by_name_and_by_path(folder):
    assert str(experiment_file.find("a")) == "experiments/a.py" == str(experiment_file.find("experiments/a.py"))
    assert experiment_file.find(str(folder / "b.py")) == folder / "b.py"
    assert experiment_file.find("b") is None and experiment_file.find("c.py") is None


def test_those_of_the_project_are_found_by_name_from_anywhere(folder):
    path = experiment_file.find("digits")
    assert path == experiment_file.OWN / "digits.py" and experiment_file.load("digits")[1].name == "digits"
    words = [experiment_file.word_for(path) for path in experiment_file.experiment_files()]
    assert words[0] == "experiments/a.py" and {"digits", "mnist1d"} <= set(words)
    (folder / "experiments" / "digits.py").write_text(TEXT)  # one's own goes first
    assert str(experiment_file.find("digits")) == "experiments/digits.py"
    words = [experiment_file.word_for(path) for path in experiment_file.experiment_files()]
    assert "experiments/digits.py" in words and "digits" not in words


TABLE = """'Rows.'
from cnn_jax.launch.paper import Reproduction
from mine import _hidden


def first() -> Reproduction:
    ...


def _made() -> Reproduction:
    ...


def second() -> Reproduction:
    ...
"""


def test_a_row_is_meant_by_its_name_behind_that_of_its_file(folder):
    (folder / "experiments" / "table.py").write_text(TABLE)
    (folder / "old").mkdir()
    (folder / "old" / "table.py").write_text(TABLE)
    (folder / "old.pictures").mkdir()
    path = experiment_file.find("table.second")
    assert str(path) == "experiments/table.py" and experiment_file.rows_in(path) == ["first", "second"]
    assert experiment_file.word_for_row(path, "second") == "table.second"
    assert experiment_file.row_of("table.second") == "second" and not experiment_file.row_of("experiments/table.py")
    assert str(experiment_file.find("old/table.first")) == "old/table.py" != str(experiment_file.find("old/table"))
    assert experiment_file.is_pictures("old.pictures")
    assert [path.name for path in experiment_file.experiment_files()][:2] == ["a.py", "table.py"]
    (folder / "experiments" / "table.py").write_text(TABLE.replace("from mine import _hidden", ""))
    with pytest.raises(ValueError, match=r"has 2 experiments, of which one is meant: table.first, table.second"):
        experiment_file.load("table")
    with pytest.raises(ValueError, match=r"first\(\) of 'experiments/table.py' returns NoneType, not a .*Reproduction"):
        experiment_file.load("table.first")


def test_what_the_file_raises_is_said_with_its_line():
    with pytest.raises(ValueError, match="experiments/a.py', line 10: RuntimeError: run"):
        experiment_file.load("a")
