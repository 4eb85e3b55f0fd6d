"""Say before any machine is booked whether a training fits on many devices, and how well it will scale.

python launch.py plan digits --devices=64
python launch.py plan digits --devices=64 --parallel=fsdp --config.data.batch_size=4096 --memory=16
python launch.py plan digits --devices=8 --config.compute.precision=bfloat16 --tflops=300 --link=450

The experiment's step is compiled for so many simulated devices, in a process of its own, on the CPU; nothing is
computed, but the data must be there. The flags of train, as --config.model.build=NAME, change the experiment. What is
said: memory of a device, what its collectives move in a step, and the scaling efficiency, from none to all of the
communication hidden behind the computation. Exit code 4 where it does not fit.

The memory is what XLA's compiler for CPUs plans: of the right size for GPUs and TPUs, but not exact, so above three
quarters of --memory it may not fit. What fsdp moves is an upper bound: compilers of GPUs and TPUs move less. Input,
evaluation, latency and slow devices are left out. The defaults are those of machines with H100 or H200 that 400
Gbit/s for each GPU connect: --link=50; within such a machine NVLink has 450. --tflops is what a device attains, not its
data sheet: by default 150 in bfloat16 and 90 in float32, as ResNet-50 on an H200; small networks and batches
attain less.
"""

import os
import re
import subprocess
import sys
import time

from absl import flags

from cnn_jax import devices
from cnn_jax.config import Experiment
from cnn_jax.launch import child, cli, overrides, own_run

SIMULATED = "CNN_JAX_SIMULATED_DEVICES"  # environment variable, of the process that compiles
DOES_NOT_FIT = 4  # exit code


def run(arguments: list[str]) -> int:
    """Prints the plan, from a process of its own."""
    values = flags.FlagValues()
    flags.DEFINE_integer("devices", None, "for how many", lower_bound=1, flag_values=values)
    flags.DEFINE_enum("parallel", None, ["jit", "fsdp"], "how, in place of config.compute.parallel", flag_values=values)
    flags.DEFINE_float("memory", 80.0, "GB (10^9 bytes) of a device", lower_bound=1e-3, flag_values=values)
    speed = "TFLOP/s that a device attains (default: 150 in bfloat16 and float16, 90 in float32)"
    flags.DEFINE_float("tflops", None, speed, lower_bound=1e-6, flag_values=values)
    link = "GB/s that a device sends to others, and receives at once"
    flags.DEFINE_float("link", 50.0, link, lower_bound=1e-6, flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    values(["plan", *arguments], known_only=True)
    word = overrides.experiment_word(arguments)
    if word is None or values.devices is None:
        raise cli.UsageError("say which experiment, and for how many devices: launch.py plan EXPERIMENT --devices=64")
    if os.environ.get(SIMULATED) != str(values.devices):
        return _elsewhere(arguments, values.devices)
    with own_run.opened(word, overrides.given(arguments), None) as (_, config, _):
        return _plan(overrides.configured("plan", word, arguments, values, config), values)


def _elsewhere(arguments: list[str], count: int) -> int:
    """The same command in a process that sees `count` CPU devices."""
    kept = re.sub(rf"{devices.COUNT}=\S*", "", os.environ.get("XLA_FLAGS", ""))
    own = {
        SIMULATED: str(count),
        "XLA_FLAGS": f"{kept} {devices.COUNT}={count}".strip(),
        "JAX_PLATFORMS": "cpu",
    }
    print(f"compiling for {count} simulated devices", flush=True)
    return subprocess.call(child.command(["plan", *arguments]), env=child.environment(own))


def _plan(config: Experiment, values: flags.FlagValues) -> int:
    from cnn_jax.data.source import fraction, opened, split_of
    from cnn_jax.train import planning
    from cnn_jax.train.checks import check_augment, check_batch_size
    from cnn_jax.train.run import assemble

    began = time.monotonic()
    config.compute.devices = values.devices
    config.compute.convolution = "native"  # as it is on all devices but CPUs
    config.compute.parallel = values.parallel or config.compute.parallel
    if config.compute.parallel == "pmap":
        raise cli.UsageError("a plan is for jit or fsdp: say --parallel=jit")
    source = split_of(opened(config.data.source, validation=config.data.validation), "train")
    source = fraction(source, config.data.labels) if config.data.labels < 1 else source
    check_batch_size(config.data.batch_size, len(source))
    run = assemble(config, source.spec, len(source))
    check_augment(config.augment, source.spec, config.data.batch_size, run.task)
    found = planning.plan(run)
    memory, link = values.memory * planning.GIGA, values.link * planning.GIGA
    speed = (values.tflops or planning.ATTAINED[config.compute.precision]) * 1e12
    size = config.data.batch_size
    print(
        f"{config.name} on {values.devices} devices, {config.compute.parallel}, {config.compute.precision}: "
        f"{size // values.devices} {run.spec.units} each of a batch of {size}; "
        f"compiled in {time.monotonic() - began:.0f} s"
    )
    print(planning.description(found, memory, speed, link))
    return DOES_NOT_FIT if planning.verdict(found, memory) == planning.DOES_NOT else 0
