"""Say what is installed: versions, devices, data sets, and how to get what is missing.

python launch.py doctor
"""

import importlib
import os
import pkgutil

from absl import flags

from cnn_jax import data
from cnn_jax.launch import cli


def run(arguments: list[str]) -> int:
    """Prints the report."""
    if cli.wants_help(arguments):
        print(__doc__)
        return 0
    cli.parse("doctor", flags.FlagValues(), arguments, words=0)
    import jax  # after the flags: a mistake in them must not wait for it

    from cnn_jax.train.run_folder import versions

    print("versions")
    for name, version in versions().items():
        print(f"  {name:20} {version}")
    print(f"devices ({os.cpu_count()} cores)")
    for device in jax.devices():
        print(f"  {device}: {device.device_kind}")
    print("data sets")
    for info in pkgutil.iter_modules(data.__path__):
        module = importlib.import_module(f"cnn_jax.data.{info.name}")
        if hasattr(module, "available"):
            missing = module.available()
            print(f"  {info.name:20} {missing or 'present'}")
    print("  tfds:NAME, folder:PATH, npz:PATH: yours")
    return 0
