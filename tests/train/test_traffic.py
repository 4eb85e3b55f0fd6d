"""What devices send in a step of data-parallel training, read from the compiled program, is what the theory says."""

import json
import subprocess
import sys

from cnn_jax.inspect import traffic

# For up to 64 devices, in a process of its own: the tests' have eight.
PROGRAM = """
import json, os
os.environ["XLA_FLAGS"] = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=64")
from functools import partial
import jax, numpy as np
from cnn_jax.augment.compose import identity
from cnn_jax.config import Compute, Data, Experiment, Model, Optim
from cnn_jax.data.digits import digits
from cnn_jax.inspect import traffic
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import sgd
from cnn_jax.train.run import assemble
from cnn_jax.train.schedules import constant

source = digits()["train"]
found = {}
for devices in (2, 8, 64):
    config = Experiment(
        name="traffic",
        data=Data(source=digits, batch_size=128),
        model=Model(build=partial(small_cnn, features=(8,), hidden=16), task=classify),
        optim=Optim(build=sgd, lr=0.1, schedule=constant),
        augment=identity,
        compute=Compute(devices=devices, convolution="native"),
    )
    run = assemble(config, source.spec, len(source))
    text = run.engine.lowered(128).compile().as_text()
    params = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(run.engine.target.params))
    stats = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(run.engine.target.model_state))
    found[devices] = [traffic.sent(text, devices), traffic.payload(text), params, stats]
print(json.dumps(found))
"""


def test_data_parallel_steps_send_gradients_and_statistics_and_no_more() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == {"2", "8", "64"}
    for count, (sent, payload, params, statistics) in found.items():
        devices = int(count)
        # A BatchNorm sums as much again for its gradient as for its statistics.
        expected = 2 * (devices - 1) / devices * (params + 2 * statistics)
        assert abs(sent / expected - 1) < 0.05, (count, sent / expected, payload)
        assert all(size == 0 for kind, size in payload.items() if kind != "all-reduce"), payload


def test_bytes_are_read_from_the_text_of_a_program() -> None:
    text = """
  %all-reduce.1 = f32[3,3,1,16]{3,2,1,0} all-reduce(%a), channel_id=1, to_apply=%add
  ROOT %all-reduce.2 = (f32[10]{0}, bf16[4,2]{1,0}, f32[]) all-reduce(%b, %c, %d), to_apply=%add
  %started = (f32[1,128]{1,0}, f32[8,128]{1,0}) all-gather-start(%e), dimensions={0}
  %gathered = f32[8,128]{1,0} all-gather-done(%started)
  %moved = pred[4]{0} collective-permute(%f)
  %sum = f32[1000]{0} add(%all-reduce.1, %all-reduce.1)
"""
    found = traffic.payload(text)
    assert found["all-reduce"] == 4 * 144 + 40 + 16 + 4 and found["all-gather"] == 4096
    assert found["collective-permute"] == 4 and found["reduce-scatter"] == 0
    assert traffic.sent(text, 4) == 1.5 * found["all-reduce"] + 0.75 * 4096 + 4
