"""A SLURM of this machine alone, from the packages slurm-wlm and munge, without systemd, cgroups or a database."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
# Jobs of the partition 'urgent' take the place of those of the partition 'local', which have some seconds to end.
CONFIGURATION = """
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
SchedulerParameters=bf_interval=1,sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=local Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=120
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str:
    """Why none can be started here, '' where it can."""
    if os.geteuid() != 0:
        return "SLURM's programs are started as root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)} (apt-get install slurm-wlm munge)" if absent else ""


@contextmanager
def running(root: Path) -> Iterator[None]:
    """Within it sbatch, srun and scontrol work."""
    for name in ("state", "spool"):
        (root / name).mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    path = root / "slurm.conf"
    path.write_text(CONFIGURATION.format(host=host, root=root, cpus=os.cpu_count()))
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(path)
    Path("/run/munge").mkdir(exist_ok=True)
    shutil.chown("/run/munge", "munge", "munge")
    if not Path("/etc/munge/munge.key").exists():
        subprocess.run(["mungekey", "--create"], check=True)
    own = subprocess.run(["munge", "-n"], stdin=subprocess.DEVNULL, capture_output=True).returncode != 0
    if own:
        subprocess.run(["runuser", "-u", "munge", "--", "munged"], check=True)
    daemons = [subprocess.Popen([name, "-D"]) for name in ("slurmctld", "slurmd")]
    try:
        until(lambda: said("sinfo", "-h", "-o", "%t") in ("idle", "mix", "alloc"))
        yield
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()
        if own:
            os.kill(int(Path("/run/munge/munged.pid").read_text()), signal.SIGTERM)
        os.environ.pop("SLURM_CONF") if before is None else os.environ.update(SLURM_CONF=before)


def said(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def state(job: str) -> str:
    """Of a job, as RUNNING, PENDING or COMPLETED."""
    words = said("scontrol", "show", "job", job).split()
    return next((word.removeprefix("JobState=") for word in words if word.startswith("JobState=")), "")


def until(happens: Callable[[], object], seconds: float = 300) -> None:
    """Waits for something."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.05)
