"""colin27: slices through the head of one person in magnetic resonance, with the brain or seven of its regions.

The volume is Colin27 (Holmes et al. 1998), the mean of 27 scans (T1) of one man, in voxels of 1 mm; the mask of the
brain is that of the package (where ch2bet is above 0), the regions are those of the atlas AAL (Tzourio-Mazoyer et al.
2002), which was drawn on this volume by hand. AAL's 116 regions are put together by the first digit of its codes:

    frontal 2, insula and limbic 3 and 4, occipital 5, parietal 6, subcortical 7, temporal 8, cerebellum 9

What AAL does not label is background, also within the brain: white matter and ventricles.

Each of the 181 axial slices is cut between the hemispheres, at x = 0 mm: train are the left halves, test the right
ones, of 217 x 90 pixels each, with the face above. The one column between them is left out. Example i of test is the
other half of example i of train, as it is and not mirrored: its middle is on the left, that of train's on the right, so
train with `flip`. Slices are neighbours 1 mm apart and all of one head: they are no independent examples, and the test
says nothing about other people.

The files are those of the Debian package mricron-data, or of the folder $CNN_JAX_DATA/mricron.
"""

import hashlib
import os
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from cnn_jax.data.nifti import read_nifti
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import Splits
from cnn_jax.data.spec import BACKGROUND
from cnn_jax.data.splits import array_splits, check_sha256
from cnn_jax.paths import written

Parts = Literal["brain", "regions"]
SHA256 = {
    "ch2.nii.gz": "a009051127f64dc3dd554d5f5b589870ea72106d9642c21b4e7093e478cfc309",
    "ch2bet.nii.gz": "592a2d20abdf36eefcb540ca8958428040edffc1bc1a18ba1dcfbabac77c5dd1",
    "aal.nii.gz": "b512dcd3f36b77f56be7a9a038134096e66314b7e8c31d25875b96bcf6991454",
}
# The last number that AAL gives to a part of each region.
REGIONS = {
    BACKGROUND: 0,
    "frontal": 28,
    "limbic": 42,
    "occipital": 56,
    "parietal": 70,
    "subcortical": 78,
    "temporal": 90,
    "cerebellum": 116,
}
DEBIAN = Path("/usr/share/mricron/templates")
INSTALL = "apt-get install mricron-data, or set CNN_JAX_DATA to a folder that holds mricron/ch2.nii.gz, ..."


def available() -> str | None:
    """None when the set can be opened, else how to install it."""
    return None if _folder() else INSTALL


def colin27(*, parts: Parts = "brain", channels: int = 1) -> Splits:
    """The splits "train" and "test" of 181 half slices each, uint8 [217, 90, channels], with a class_map.

    Args:
      parts: "brain", of the classes background and brain, or "regions", of background and seven regions.
      channels: 3 for grey as RGB, which weights of photographs want.

    Raises:
      FileNotFoundError: it is in none of the places.
      ValueError: other parts, or files that are not those of the package's version 1.2.20211006.
    """
    if parts not in get_args(Parts):
        raise ValueError(f"colin27: parts must be one of {', '.join(get_args(Parts))}, not {parts!r}")
    folder = _folder()
    if folder is None:
        raise FileNotFoundError(f"colin27: mricron-data is not installed: {INSTALL}")
    head = _volume(folder, "ch2.nii.gz")
    truth: np.ndarray
    if parts == "brain":
        truth = _volume(folder, "ch2bet.nii.gz") > 0
    else:
        truth = np.searchsorted(list(REGIONS.values()), _volume(folder, "aal.nii.gz"))
    middle = head.shape[0] // 2
    halves = {"train": slice(middle), "test": slice(middle + 1, None)}
    return array_splits(
        "colin27",
        {
            split: {"image": _slices(head[half])[..., None], "class_map": _slices(truth[half]).astype(np.uint8)}
            for split, half in halves.items()
        },
        ImagePrepare(size=(head.shape[1], middle), resize="pad", channels=channels, background=0),
        inputs={"image": "image"},
        targets={"class_map": "class_map"},
        classes=(BACKGROUND, "brain") if parts == "brain" else tuple(REGIONS),
        licence="BSD-3-Clause (the package); Colin27 and AAL: cite, ask their authors before you redistribute them",
        citation="Holmes et al. 1998, J. Comput. Assist. Tomogr. 22(2):324; "
        "Tzourio-Mazoyer et al. 2002, NeuroImage 15(1):273",
        names={
            split: [f"slice {z}, {side} half" for z in range(head.shape[2])]
            for split, side in (("train", "left"), ("test", "right"))
        },
    )


def _volume(folder: Path, name: str) -> np.ndarray:
    """[x, y, z] from left to right, back to front, below to above."""
    data = (folder / name).read_bytes()
    check_sha256(f"'{folder / name}'", hashlib.sha256(data).hexdigest(), SHA256[name])
    try:
        return read_nifti(data)
    except ValueError as error:
        raise ValueError(f"'{folder / name}' {error}") from None


def _slices(volume: np.ndarray) -> np.ndarray:
    """[z, y, x], the front above."""
    return np.ascontiguousarray(volume[:, ::-1].transpose(2, 1, 0))


def _folder() -> Path | None:
    own = os.environ.get("CNN_JAX_DATA")
    folders = [written(own) / "mricron", DEBIAN] if own else [DEBIAN]
    return next((folder for folder in folders if all((folder / name).is_file() for name in SHA256)), None)
