"""Sets that are prepared as TFDS does, without TensorFlow; and tests in which nothing may warn."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def prepare_set() -> Callable[[Path, str, str, dict[str, Any], dict[str, list]], None]:
    """prepare_set(folder, name, version, features, {split: [(key, example)]}) writes a set into a folder."""
    import tensorflow_datasets

    def prepare(folder: Path, name: str, version: str, features: dict[str, Any], examples: dict[str, list]) -> None:
        class Toy(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = tensorflow_datasets.core.Version(version)
            pkg_dir_path = folder

            def _info(self):
                return tensorflow_datasets.core.DatasetInfo(
                    builder=self, features=tensorflow_datasets.features.FeaturesDict(features), citation="Toy 2024"
                )

            def _split_generators(self, dl_manager):
                return {split: iter(rows) for split, rows in examples.items()}

            def _generate_examples(self):
                return iter(())

        Toy.name = name
        Toy(data_dir=folder, file_format="array_record").download_and_prepare()

    return prepare


@pytest.fixture
def no_warnings() -> Iterator[None]:
    """None but that a set without splits is split."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*: it has no splits: ")
        yield
