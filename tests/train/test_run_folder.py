"""The run folder: locked, moved aside, read back whole or not at all."""

import subprocess
import sys

import pytest

from cnn_jax.train import run_folder


def test_only_one_process_holds_a_folder(tmp_path):
    attempt = (
        "import sys; from pathlib import Path; from cnn_jax.train.run_folder import opened\n"
        "with opened(Path(sys.argv[1])): print('held')"
    )
    with run_folder.opened(tmp_path / "a" / "run"):
        words = [sys.executable, "-c", attempt, str(tmp_path / "a" / "run")]
        other = subprocess.run(words, capture_output=True, text=True)
        assert other.returncode != 0 and "another process is training in" in other.stderr
    with run_folder.opened(tmp_path / "a" / "run"):
        pass


def test_an_error_inside_frees_the_folder(tmp_path):
    with pytest.raises(KeyError), run_folder.opened(tmp_path):
        raise KeyError
    with run_folder.opened(tmp_path):
        pass


def test_runs_are_moved_aside_under_new_names(tmp_path, capsys):
    run = tmp_path / "run"
    assert run_folder.set_aside(run) is None
    for number in (1, 2):
        with run_folder.opened(run):
            (run / "note").write_text(str(number))
        aside = run_folder.set_aside(run)
        assert aside == tmp_path / f"run.old-{number}" and (aside / "note").read_text() == str(number)
        assert not run.exists()
    run.mkdir()
    assert run_folder.set_aside(run) is None  # nothing in it
    (run / "note").write_text("")
    with pytest.raises(ValueError, match="no run folder"):
        run_folder.set_aside(run)


def test_a_write_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "a.json"
    run_folder.write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        run_folder.write_json(path, {"a": float("nan")})
    with pytest.raises(TypeError):
        run_folder.write_json(path, {"a": object()})
    assert run_folder.read_json(path) == {"a": 1}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe{}", b'"text"'])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match="a.json' is damaged"):
        run_folder.read_json(tmp_path / "a.json")


def test_versions_name_the_packages_and_the_revision():
    versions = run_folder.versions()
    assert versions["python"].startswith("3.") and versions["jax"][0].isdigit()
    assert versions["git"]


@pytest.mark.parametrize("name", [".lock", "experiment.py", "metrics.jsonl", "figures", "figures/curves.png"])
def test_training_writes_through_no_link_of_a_run_folder(name, tmp_path):
    """As experiment.py -> ~/.profile in a run folder from a stranger."""
    (tmp_path / "mine").write_text("precious")
    run = tmp_path / "run"
    (run / name).parent.mkdir(parents=True)
    (run / name).symlink_to(tmp_path / "mine")
    with pytest.raises(ValueError, match=f"'{run / name}' is a link, through which nothing is written: remove it"):
        with run_folder.opened(run):
            pass
    (run / "config.json.tmp").symlink_to(tmp_path / "mine")
    run_folder.write_json(run / "config.json", {})
    assert (tmp_path / "mine").read_text() == "precious" and run_folder.read_json(run / "config.json") == {}


@pytest.mark.parametrize(("name", "kind"), [("checkpoints", "file"), ("figures", "file"), ("metrics.jsonl", "folder")])
def test_what_is_in_the_way_is_said_before_the_training(name, kind, tmp_path):
    (tmp_path / name).mkdir() if kind == "folder" else (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=f"{name}' is a {kind}, which a run cannot use: remove it"):
        with run_folder.opened(tmp_path):
            pass
