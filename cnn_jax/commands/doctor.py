"""Say what is installed: versions, devices, compiled programs, data sets, and how to get what is missing.

python launch.py doctor
"""

import importlib
import os
import pkgutil
import sys
import warnings
from pathlib import Path

from absl import flags

from cnn_jax import compilation_cache, data
from cnn_jax.devices import cores
from cnn_jax.launch import cli


def run(arguments: list[str]) -> int:
    """Prints the report."""
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], flags.FlagValues()))
        return 0
    cli.parse("doctor", flags.FlagValues(), arguments, words=0)
    import jax  # after the flags: a mistake in them must not wait for it

    from cnn_jax.train.revision import revision
    from cnn_jax.train.run_folder import versions

    print("versions")
    for name, version in versions().items():
        print(f"  {name:20} {version}")
    if changed := revision().changed:
        warnings.warn(
            f"{len(changed)} files of the project are changed or new since its last commit, as '{changed[0]}': a run "
            "keeps them as a patch in its folder, but commit them and its revision says it all",
            stacklevel=2,
        )
    print(f"devices ({cores()} cores)")
    for device in jax.devices():
        print(f"  {device}: {device.device_kind}")
    print("compiled programs")
    for line in _programs():
        print(f"  {line}")
    print("data sets")
    for info in pkgutil.iter_modules(data.__path__):
        module = importlib.import_module(f"cnn_jax.data.{info.name}")
        if hasattr(module, "available"):
            missing = module.available()
            print(f"  {info.name:20} {missing or 'present'}")
    print("  tfds:NAME, folder:PATH, npz:PATH, csv:PATH, wav:PATH, masks:PATH, coco:PATH, voc:PATH, yolo:PATH: yours")
    return 0


def _programs() -> list[str]:
    folder, of_jax = compilation_cache.where(), os.environ.get(compilation_cache.OF_JAX)
    if of_jax and (folder is None or Path(of_jax).parent != folder):
        programs, size = compilation_cache.kept(Path(of_jax))
        return [f"{programs} of {size / 1e6:.1f} MB in {of_jax}, as {compilation_cache.OF_JAX} says"]
    if folder is None:
        return [f"not kept: {compilation_cache.SETTING}=off"]
    programs, size = compilation_cache.kept(folder)
    return [
        f"{programs} of {size / 1e6:.1f} MB in {folder}",
        f"bound        {compilation_cache.LIMIT / 1e6:,.0f} MB; the least recently used are removed at a start",
        f"elsewhere    {compilation_cache.SETTING}=FOLDER",
        f"turn off     {compilation_cache.SETTING}=off",
        f"empty        rm -r {folder}",
    ]
