"""Puts the experiments, which stand beside the package in the repository, into it where it is installed.

All else about the package stands in setup.cfg. An editable install needs no copy: it has the repository.
"""

from setuptools import setup
from setuptools.command.build_py import build_py

EXPERIMENTS = "cnn_jax.experiments"


class WithExperiments(build_py):
    """The package's modules, and the experiments as cnn_jax/experiments; not their benchmarks and studies."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.packages = [*self.packages, EXPERIMENTS, f"{EXPERIMENTS}.full_scale"]
        self.package_dir = {**self.package_dir, EXPERIMENTS: "experiments"}


setup(cmdclass={"build_py": WithExperiments})
