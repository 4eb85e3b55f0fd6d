"""Weights from the Hugging Face hub, where huggingface_hub is installed."""

import importlib
from pathlib import Path

PREFIX = "hf:"
NAMES = ("model.safetensors", "pytorch_model.bin")  # what a repository of a vision model calls its weights


def fetch(word: str) -> Path:
    """'hf:ORG/REPO' or 'hf:ORG/REPO/FILE' -> the file, downloaded or from the cache.

    Raises ValueError, in one line, where the package is missing or there is no such file.
    """
    try:
        hub = importlib.import_module("huggingface_hub")
    except ModuleNotFoundError:
        raise ValueError(f"'{word}' needs huggingface_hub: pip install 'cnn_jax[hub]'") from None
    organisation, _, rest = word.removeprefix(PREFIX).partition("/")
    repository, _, file = rest.partition("/")
    if not organisation or not repository:
        raise ValueError(f"'{word}': write {PREFIX}ORG/REPO or {PREFIX}ORG/REPO/FILE")
    hub.utils.logging.set_verbosity_error()  # it logs each of its attempts
    for name in [file] if file else NAMES:
        try:
            return Path(hub.hf_hub_download(f"{organisation}/{repository}", name))
        except Exception as error:  # of the hub's own kinds, or of the library that it fetches with
            if not isinstance(error, hub.errors.EntryNotFoundError) or isinstance(error, FileNotFoundError):
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                raise ValueError(f"'{word}' cannot be fetched: {reason}") from None
    raise ValueError(f"'{word}': there is no file {file or ' or '.join(NAMES)} in {organisation}/{repository}")
