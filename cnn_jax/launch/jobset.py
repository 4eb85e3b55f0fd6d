"""A training as a JobSet of Kubernetes: a pod for each process, all started again together where one is lost.

https://jobset.sigs.k8s.io, API version v1alpha2.
"""

from collections.abc import Sequence
from typing import Any

from cnn_jax.launch import cli
from cnn_jax.processes.cluster import PROCESS

API, KIND = "jobset.x-k8s.io/v1alpha2", "JobSet"
PORT = 5871  # of process 0
WORKER, RUNS = "worker", "runs"
INDEX = "batch.kubernetes.io/job-completion-index"  # the annotation that says which pod of its Job a pod is
GRACE = 120  # seconds to save in, when a pod has to go
FINAL = (cli.BAD_INPUT, 3, cli.NOT_WRITTEN)  # exit codes after which a new start would do no better


def manifest(
    name: str, image: str, words: Sequence[str], pods: int, *, gpus: int, claim: str, restarts: int
) -> dict[str, Any]:
    """The JobSet `name`, as kubectl takes it.

    Args:
      image: of the containers, in which `cnn_jax` is installed.
      words: of `cnn_jax train`.
      pods: processes.
      gpus: of each.
      claim: a PersistentVolumeClaim that all pods can write to at once; it is the folder /runs.
      restarts: times that all may begin again, after a pod was lost or had to go.
    """
    address = f"{name}-{WORKER}-0-0.{name}:{PORT}"
    rank = {"name": "RANK", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}}}
    several = [rank, {"name": PROCESS, "value": f"$(RANK)/{pods}@{address}"}] if pods > 1 else []
    container = {
        **dict(name=WORKER, image=image),
        "workingDir": f"/{RUNS}",
        "command": ["cnn_jax", "train", *words],
        **({"env": several, "ports": [{"containerPort": PORT}]} if several else {}),
        **({"resources": {"limits": {"nvidia.com/gpu": gpus}}} if gpus else {}),
        "volumeMounts": [{"name": RUNS, "mountPath": f"/{RUNS}"}],
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE,
        "containers": [container],
        "volumes": [{"name": RUNS, "persistentVolumeClaim": {"claimName": claim}}],
    }
    at_end = {"operator": "In", "values": list(FINAL)}
    job = {
        "completionMode": "Indexed",
        "completions": pods,
        "parallelism": pods,
        "backoffLimit": 0,  # a pod that ends badly ends its Job
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": at_end}]},
        "template": {"spec": pod},
    }
    # A Job that its own policy has ended is at its end; any other begins again, with all its pods.
    final = {"name": "final", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    return {
        "apiVersion": API,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": {"maxRestarts": restarts, "rules": [final]},
            "replicatedJobs": [{"name": WORKER, "replicas": 1, "template": {"spec": job}}],
        },
    }
