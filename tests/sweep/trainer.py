"""What stands for `launch.py train` in tests of sweeps: it writes what a training of 100 steps writes, in no time.

By its learning rate it diverges (30), is killed (20), waits for a file `go` in the sweep's folder (7, 8) or trains. The
score at a step is lr + step / 1000. Each start is a line of RUN.starts, with its process. It fails where the run is
finished already, or another process trains it.
"""

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path


def main(words: list[str]) -> int:
    given = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
    if words[0] == "eval":
        Path(given["out"]).mkdir(parents=True)
        (Path(given["out"]) / "scores.json").write_text('{"split": "test", "step": 100, "top1": 0.5, "ap": null}')
        return 0
    run, rate, seed = Path(given["workdir"]), float(given["config.optim.lr"]), int(given["config.seed"])
    assert given["config.evaluate.test"] == "never" and Path(words[1]).name == "experiment.py"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    run.mkdir(parents=True, exist_ok=True)
    with run.with_name(f"{run.name}.starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    alone = run.with_name(f"{run.name}.alone").open("w")
    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not (run / "results.json").exists()
    config = {"duration": "100 steps", "evaluate": {"best_by": ""}, "data": {"batch_size": 1}}
    (run / "config.json").write_text(json.dumps(config))
    (run / "data.json").write_text('{"examples": 100}')
    if rate == 30:
        print("error: the loss was nan or inf for 10 steps in a row", flush=True)
        return 3
    if rate == 20:
        print("step 3", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    while rate in (7, 8) and not (run.parents[2] / "go").exists():
        time.sleep(0.005)
    log = run / "metrics.jsonl"
    before = len(log.read_text().splitlines()) if log.exists() else 0
    end = int(given.get("until", "100 steps").split()[0])
    with log.open("a") as rows:
        for step in range(10 * before + 10, 101, 10):
            rows.write(json.dumps({"step": step, "split": "validation", "top1": rate + step / 1000}) + "\n")
            if end <= step < 100:
                return 75
    results = {"headline": "top1", "steps": 100, "seconds": {"total": 1.5}, "validation": {"top1": rate + 0.1 * seed}}
    (run / "results.tmp").write_text(json.dumps(results))
    (run / "results.tmp").replace(run / "results.json")
    return 0


sys.exit(main(sys.argv[2:]))
