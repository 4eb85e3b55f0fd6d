"""A run keeps the revision of the project's own repository, and what was not committed of it."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cnn_jax.train import revision, run_folder

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Git]:
    """Calls git in a repository, `tmp_path`/repo, with this project's code in code/revision.py, once it is there."""
    repository = tmp_path / "repo"
    (repository / "code").mkdir(parents=True)
    (repository / "code" / "revision.py").write_text("1\n")
    monkeypatch.setattr(revision, "__file__", str(repository / "code" / "revision.py"))

    def call(*words: str, into: Path = repository) -> str:
        command = ["git", "-C", str(into), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True)
        return done.stdout.strip()

    call("init", "-q")
    _look_anew()
    yield call
    _look_anew()


def _look_anew() -> None:
    revision.revision.cache_clear()
    revision._patch.cache_clear()


@pytest.mark.parametrize("tracked", [False, True])
def test_the_revision_is_that_of_the_projects_own_repository(
    tracked: bool, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed into a user's repository, as into REPO/.venv, it is not the user's."""
    (tmp_path / "repo" / "mine.txt").write_text("")
    git("add", "." if tracked else "mine.txt")
    git("commit", "-q", "-m", "first")
    head = git("rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(Path(".git").absolute()))  # as a hook of git sets it
    assert run_folder.versions()["git"] == (head if tracked else "unknown")
    assert revision.keep_changes(tmp_path) is None


def test_a_run_is_rebuilt_from_its_revision_and_its_patch(git: Git, tmp_path: Path) -> None:
    """Whatever the user has set, in whatever names, and without touching their index."""
    repository, rebuilt = tmp_path / "repo", tmp_path / "rebuilt"
    for name in ("changed.py", "gone.py"):
        (repository / name).write_text("old\n")
    (repository / ".gitignore").write_text("runs/\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    for name, value in (("diff.noprefix", "true"), ("color.ui", "always"), ("diff.external", "false")):
        git("config", name, value)
    (repository / "changed.py").write_bytes(b"new \xe9\r\n")
    (repository / "gone.py").unlink()
    (repository / "runs").mkdir()
    (repository / "runs" / "log").write_text("ignored")
    new = {"code/a b\u00e9.py": b"fresh\n", "image.png": b"\x89PNG\x00\xff", "empty.py": b"", "staged.py": b"x\n"}
    for path, content in new.items():
        (repository / path).write_bytes(content)
    git("add", "staged.py")
    (repository / "data.bin").write_bytes(os.urandom(revision.LARGEST + 1))
    subprocess.run(["git", "init", "-q", str(repository / "other")], check=True)
    (repository / "other" / "file").write_text("of another repository")
    before = git("status", "--porcelain")

    with pytest.warns(UserWarning, match="2 changed or new files .* too large .* as 'data.bin': commit them"):
        name = revision.keep_changes(tmp_path)
    assert name and git("status", "--porcelain") == before
    assert run_folder.versions()["git"] == f"{git('rev-parse', 'HEAD')} with changes"
    git("worktree", "add", "-q", str(rebuilt), git("rev-parse", "HEAD"))
    git("apply", str(tmp_path / name), into=rebuilt)
    assert (rebuilt / "changed.py").read_bytes() == b"new \xe9\r\n" and not (rebuilt / "gone.py").exists()
    assert {path: (rebuilt / path).read_bytes() for path in new} == new
    assert not (rebuilt / "data.bin").exists() and not (rebuilt / "runs").exists()

    _look_anew()
    (repository / "changed.py").write_text("newer\n")
    with pytest.warns(UserWarning):
        assert revision.keep_changes(tmp_path) not in (None, name)
    assert (tmp_path / name).exists()
