"""Which process of how many this is, by the environments that launchers make."""

import pytest

from cnn_jax.processes import cluster
from cnn_jax.processes.roll_call import Place

# As srun of SLURM 22.05, mpirun of Open MPI 4.1.4 and 5.0.11 were seen to make them.
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_NODELIST": "node[07-08]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
OPEN_MPI_4 = {**OPEN_MPI, "OMPI_MCA_orte_hnp_uri": "1314521088.0;tcp://10.96.0.1,10.148.0.1:34911"}
OPEN_MPI_5 = {**OPEN_MPI, "PMIX_NAMESPACE": "prterun-node-07-21189@1"}
ALL = {*SLURM, *OPEN_MPI_4, *OPEN_MPI_5, *cluster.KUBERNETES, cluster.PROCESS, cluster.TOKEN, cluster.COORDINATOR}


@pytest.fixture(autouse=True)
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*ALL, "SLURM_RESTART_COUNT", cluster.DEVICES):
        monkeypatch.delenv(name, raising=False)


def place(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Place | None:
    with monkeypatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return cluster.place()


def test_the_place_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place(monkeypatch, {}) is None
    assert place(monkeypatch, SLURM) == Place(1, 2, f"node07:{61440 + 4711 % 4096}", "4711-0", (0,))
    assert place(monkeypatch, {**SLURM, "SLURM_RESTART_COUNT": "1"}).token == "4711-1"  # type: ignore[union-attr]
    assert place(monkeypatch, {**SLURM, "SLURM_NTASKS": "1"}) is None  # as a script of sbatch is
    assert place(monkeypatch, {name: value for name, value in SLURM.items() if name != "SLURM_STEP_NODELIST"}) is None
    four = place(monkeypatch, OPEN_MPI_4)
    assert four and four[:2] == (3, 4) and four.host == "10.96.0.1" and four.devices == (1,)
    assert place(monkeypatch, OPEN_MPI_5) == Place(
        3, 4, f"node-07:{61440 + 21189 % 4096}", "prterun-node-07-21189@1", (1,)
    )
    told = place(monkeypatch, {**OPEN_MPI_5, cluster.COORDINATOR: "elsewhere:99", cluster.DEVICES: "0,1"})
    assert told and told.address == "elsewhere:99" and told.devices is None
    by_hand = place(monkeypatch, {**SLURM, cluster.PROCESS: "0/3@[::1]:500", cluster.TOKEN: "x"})
    assert by_hand == Place(0, 3, "[::1]:500", "x") and (by_hand.host, by_hand.port) == ("::1", 500)
    assert place(monkeypatch, {cluster.PROCESS: "0/1@here:500"}) is None
    assert place(monkeypatch, {cluster.KUBERNETES[0]: "10.0.0.1"}) is None  # any pod, of no indexed Job


def test_what_is_no_place_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("2/2@here:500", "0@here:500", "0/2@here", "0/2"):
        with pytest.raises(ValueError, match=r"CNN_JAX_PROCESS=.*: write RANK/COUNT@HOST:PORT, as 0/2@127"):
            place(monkeypatch, {cluster.PROCESS: text})
    with pytest.raises(ValueError, match="Open MPI does not say where process 0 is: write JAX_COORDINATOR_ADDRESS="):
        place(monkeypatch, {**OPEN_MPI_5, "PMIX_NAMESPACE": "7"})
    with pytest.raises(
        ValueError,
        match=r"Kubernetes does not say .*: pip install 'jax\[k8s\]', or write",
    ):
        place(monkeypatch, dict.fromkeys(cluster.KUBERNETES, "10.0.0.1"))
