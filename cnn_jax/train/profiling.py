"""A few steps of a training looked at by JAX's profiler: a trace to open elsewhere, and a short table."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from cnn_jax import processes
from cnn_jax.inspect import timeline
from cnn_jax.train.run import AUGMENT, OPTIMIZER, Run
from cnn_jax.train.run_folder import PROFILE

TABLE = "table.txt"
WARM = 2  # steps before those that are looked at: the first compiles


@contextmanager
def recording(run: Run, folder: Path, steps: int) -> Iterator[Run]:
    """The run, whose steps from the third of this session on are recorded, `steps` of them; 0 for none.

    What the profiler has seen is written into `folder`/profile, and printed in the end: plugins/profile/DATE is for
    TensorBoard with tensorboard-plugin-profile, and ui.perfetto.dev opens the file *.trace.json.gz in it; table.txt
    says what took how long. Of several processes the first one records its own devices.
    """
    if not steps:
        yield run
        return
    recorder = _Recorder(run, folder / PROFILE, steps)
    try:
        yield run._replace(engine=run.engine._replace(step=recorder.step))
    finally:
        recorder.close()


class _Recorder:
    def __init__(self, run: Run, folder: Path, steps: int) -> None:
        self.run, self.folder, self.steps = run, folder, steps
        self.done, self.began = 0, 0.0
        self.state: Any = None
        self.table = ""

    def step(self, state: Any, batch: Any) -> Any:
        """The engine's step."""
        if self.done == WARM:
            jax.block_until_ready(state)
            if processes.first():
                options = jax.profiler.ProfileOptions()
                options.python_tracer_level = 0  # Python's calls would slow down what is to be timed
                jax.profiler.start_trace(self.folder, profiler_options=options)
            self.began = time.monotonic()
        if not WARM <= self.done < WARM + self.steps:
            result = self.run.engine.step(state, batch)
        else:
            with jax.profiler.StepTraceAnnotation("train", step_num=self.done):
                result = self.run.engine.step(state, batch)
        self.done, self.state = self.done + 1, result[0]
        if self.done == WARM + self.steps:
            self._finish()
        return result

    def close(self) -> None:
        """Prints the table; what was begun ends, where the training was shorter."""
        recorded = self.done - WARM
        if recorded < self.steps:
            if recorded > 0:
                self._finish()
            warnings.warn(f"of {self.steps} steps to profile there were {max(0, recorded)} (--profile)", stacklevel=3)
        if self.table:
            print(self.table)

    def _finish(self) -> None:
        jax.block_until_ready(self.state)
        seconds, count = time.monotonic() - self.began, self.done - WARM
        self.state = None
        if processes.first():
            jax.profiler.stop_trace()
        engine, size = self.run.engine, self.run.config.data.batch_size
        text = engine.lowered(size).compile().as_text() or ""  # in all processes, whose compilers may ask one another
        if not processes.first():
            return
        trace = max(self.folder.glob("plugins/profile/*/*.xplane.pb"), key=lambda path: path.stat().st_mtime)
        devices = min(len(jax.local_devices()), engine.devices)
        where = f"on {devices} x {jax.devices()[0].device_kind}"
        title = f"profile of {count} steps of {size}, {1e3 * seconds / count:.2f} ms each, {where}"
        found = timeline.report(text, trace, count, seconds, devices, (AUGMENT, OPTIMIZER))
        self.table = (
            f"{title}\n\n{found}\n\nprofile in {self.folder}: {trace.parent} is for TensorBoard and ui.perfetto.dev"
        )
        (self.folder / TABLE).write_text(f"{self.table}\n", encoding="utf-8")
