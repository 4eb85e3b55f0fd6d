"""Which processes a process belongs to, by its environment."""

import os
import re
import warnings

from cnn_jax.processes.roll_call import Place

PROCESS = "CNN_JAX_PROCESS"  # environment variable: RANK/COUNT@HOST:PORT of this process, by hand or by the launcher
TOKEN = "CNN_JAX_START"  # of the launcher: which start a process is of
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")  # a task of srun
OPEN_MPI = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")
OPEN_MPI_4, OPEN_MPI_5 = "OMPI_MCA_orte_hnp_uri", "PMIX_NAMESPACE"
KUBERNETES = ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX")  # a pod of an indexed Job or a JobSet
DEVICES = "JAX_LOCAL_DEVICE_IDS"  # JAX's own variable: the accelerators of this process
COORDINATOR = "JAX_COORDINATOR_ADDRESS"  # JAX's own variable: HOST:PORT of process 0
FIRST_PORT, PORTS = 61440, 4096  # as JAX takes one for a job


def place() -> Place | None:
    """This process's place among those of its run, None where it is alone.

    SLURM, Open MPI 4 and Kubernetes are read by JAX; Open MPI 5 and CNN_JAX_PROCESS here. Raises ValueError for a
    CNN_JAX_PROCESS that is none, and where a cluster does not say what it should.
    """
    if text := os.environ.get(PROCESS):
        return _written(text)
    if _has(SLURM) and int(os.environ["SLURM_NTASKS"]) > 1:
        return _by_jax("SLURM", f"{os.environ['SLURM_JOB_ID']}-{os.environ.get('SLURM_RESTART_COUNT', 0)}")
    if _has(OPEN_MPI) and int(os.environ["OMPI_COMM_WORLD_SIZE"]) > 1:
        if OPEN_MPI_4 in os.environ:
            return _by_jax("Open MPI", os.environ[OPEN_MPI_4])
        return _open_mpi_5()
    if _has(KUBERNETES):
        return _by_jax("Kubernetes", "")
    return None


def _has(names: tuple[str, ...]) -> bool:
    return all(name in os.environ for name in names)


def _written(text: str) -> Place | None:
    found = re.fullmatch(r"(\d+)/(\d+)@(.+:\d+)", text)
    if not found or not int(found[1]) < int(found[2]):
        raise ValueError(f"{PROCESS}={text}: write RANK/COUNT@HOST:PORT, as 0/2@127.0.0.1:5000 and 1/2@127.0.0.1:5000")
    return Place(int(found[1]), int(found[2]), found[3], os.environ.get(TOKEN, "")) if int(found[2]) > 1 else None


def _by_jax(what: str, token: str) -> Place | None:
    from jax._src.clusters import ClusterEnv

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Kubernetes' package is not there, on six lines
            given = os.environ.get(COORDINATOR)
            found = ClusterEnv.auto_detect_unset_distributed_params(given, None, None, None, None, 60)
    except Exception as error:  # of any kind, as of Kubernetes' own package
        raise ValueError(f"{what} does not say which process this is: {str(error).partition(chr(10))[0]}") from None
    address, count, rank, devices = found
    if address is None or count is None or rank is None:
        package = "pip install 'jax[k8s]', or " if what == "Kubernetes" else ""
        raise ValueError(f"{what} does not say which process this is: {package}write {PROCESS}=RANK/COUNT@HOST:PORT")
    own = None if devices is None or DEVICES in os.environ else tuple(devices)
    return Place(rank, count, address, token, own) if count > 1 else None


def _open_mpi_5() -> Place:
    """Of the environment that prterun makes: its name space is prterun-HOST-PID@JOB, of the host it was started on."""
    rank, count = int(os.environ["OMPI_COMM_WORLD_RANK"]), int(os.environ["OMPI_COMM_WORLD_SIZE"])
    space = os.environ.get(OPEN_MPI_5, "")
    found = re.fullmatch(r"(?:prterun|prte)-(.+)-(\d+)@\d+", space)
    address = os.environ.get(COORDINATOR) or (found and f"{found[1]}:{FIRST_PORT + int(found[2]) % PORTS}")
    if not address:
        raise ValueError(f"Open MPI does not say where process 0 is: write {COORDINATOR}=HOST:PORT of its machine")
    local = os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK")  # an accelerator for each process, as JAX has it
    return Place(rank, count, address, space, None if local is None or DEVICES in os.environ else (int(local),))
