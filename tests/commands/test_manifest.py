"""launch.py manifest: a JobSet that Kubernetes takes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cnn_jax.launch import cli
from cnn_jax.processes import cluster
from cnn_jax.processes.roll_call import Place

TINY = "experiments/tiny.py"
WORDS = ("manifest", TINY, "--image=a/b:1", "--claim=disk")


def test_each_pod_is_a_process_and_all_begin_again_together(
    project: Path, launch: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = launch(*WORDS, "--pods=2", "--gpus=4", "--config.optim.lr=0.1", "--restarts=7")
    assert said.code == 0
    assert said.err == f"warning: '{TINY}' does not come along with the project: the image must have it there\n"
    found = yaml.safe_load(said.out)
    assert (found["apiVersion"], found["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert found["spec"]["failurePolicy"]["maxRestarts"] == 7
    (replicated,) = found["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    assert (job["completions"], job["parallelism"], job["completionMode"]) == (2, 2, "Indexed")
    (container,) = job["template"]["spec"]["containers"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 4}}
    assert container["command"] == ["cnn_jax", "train", TINY, "--config.optim.lr=0.1", "--workdir=/runs/tiny"]
    # As Kubernetes puts the number of a pod in.
    (place,) = (value["value"] for value in container["env"] if value["name"] == cluster.PROCESS)
    monkeypatch.setenv(cluster.PROCESS, place.replace("$(RANK)", "1"))
    assert cluster.place() == Place(1, 2, "tiny-worker-0-0.tiny:5871")


def test_one_pod_is_no_process_of_several(project: Path, launch: Callable) -> None:
    (replicated,) = yaml.safe_load(launch(*WORDS).out)["spec"]["replicatedJobs"]
    (container,) = replicated["template"]["spec"]["template"]["spec"]["containers"]
    assert "env" not in container
    words = ("--image", "a/b:1", TINY, "--claim", "disk", "--config.optim.lr", "0.1", "--pods", "1")  # without =
    (replicated,) = yaml.safe_load(launch("manifest", *words).out)["spec"]["replicatedJobs"]
    (container,) = replicated["template"]["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["cnn_jax", "train", TINY, "--config.optim.lr", "0.1", "--workdir=/runs/tiny"]


@pytest.mark.parametrize(
    ("word", "warned"), [("digits", False), ("cifar10_resnet20", False), ("experiments/digits.py", True)]
)
def test_what_the_image_has_is_not_warned_of(
    word: str, warned: bool, launch: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])  # where the names of the project's experiments mean files below here
    said = launch("manifest", word, *WORDS[2:])
    assert said.code == 0 and ("does not come along with the project" in said.err) == warned


def test_the_job_fits_the_schema_of_kubernetes(project: Path, launch: Callable) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    found = yaml.safe_load(launch(*WORDS, "--pods=2", "--gpus=1").out)
    (replicated,) = found["spec"]["replicatedJobs"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, **replicated["template"]}
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((TINY, "--claim=a"), "say --image"),
        ((*WORDS[1:], "--pods=3"), "does not divide over --pods=3"),
        ((*WORDS[1:], "--fresh"), "--fresh, --processes and --workdir are not for pods"),
        ((*WORDS[1:], "--config.name=__"), "can be no name in Kubernetes"),
        ((*WORDS[1:], "--config.optim.rate=1"), "unknown field 'config.optim.rate'"),
        (WORDS[2:], "say which experiment"),
    ],
)
def test_what_is_no_jobset_is_one_line(words: tuple[str, ...], says: str, project: Path, launch: Callable) -> None:
    said = launch("manifest", *words)
    assert said.code == cli.BAD_INPUT and says in said.err.splitlines()[-1]
