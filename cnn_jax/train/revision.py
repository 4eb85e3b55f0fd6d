"""The revision of this project that runs, and what was changed since: a run keeps it, so that it can be rebuilt.

    git worktree add ../rebuilt REVISION && git -C ../rebuilt apply RUN/changes-DIGEST.patch

Both are looked at once in a process, whose code stays what it was when it began.
"""

import functools
import hashlib
import os
import subprocess
import warnings
from pathlib import Path
from typing import NamedTuple

LARGEST = 2**20  # bytes of a patch
SECONDS = 10  # for each call of git
UNKNOWN = "unknown"
# As `git apply` reads it, whatever the user has set.
DIFF = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--binary", "--src-prefix=a/", "--dst-prefix=b/")


class Revision(NamedTuple):
    """commit: the last one, "unknown" without one. changed: the files that differ from it, or are new, as paths."""

    commit: str
    changed: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.commit}{' with changes' if self.changed else ''}"


@functools.cache
def revision() -> Revision:
    """That of this project's own repository, not of another one that it is installed inside of."""
    try:
        _git("ls-files", "--error-unmatch", __file__)
        return Revision(_git("rev-parse", "HEAD").decode().strip(), (*_changed(_top()), *_new(_top())))
    except (OSError, subprocess.SubprocessError):
        return Revision(UNKNOWN)


def keep_changes(folder: Path) -> str | None:
    """Writes what was changed since the last commit into `folder` as a patch, and returns its name there.

    None where nothing was changed. The name is made of what the patch holds: a run that goes on with other changes has
    both. New files that git ignores are no part of it; where files do not fit into LARGEST bytes the largest are left
    out, with a warning.
    """
    if not revision().changed:
        return None
    try:
        patch, left_out = _patch()
    except (OSError, subprocess.SubprocessError) as error:
        warnings.warn(f"the uncommitted changes of the project are not kept with the run: {error}", stacklevel=2)
        return None
    if left_out:
        warnings.warn(
            f"{len(left_out)} changed or new files of the project are too large to be kept with the run, as "
            f"'{left_out[0]}': commit them, or let git ignore them",
            stacklevel=2,
        )
    name = f"changes-{hashlib.sha256(patch).hexdigest()[:12]}.patch"
    temporary = folder / f"{name}.tmp"
    temporary.unlink(missing_ok=True)  # which may be a link to anywhere
    with temporary.open("xb") as file:
        file.write(patch)
    os.replace(temporary, folder / name)
    return name


@functools.cache
def _patch() -> tuple[bytes, tuple[str, ...]]:
    """The patch, and the files that are left out of it."""
    top = _top()
    parts = {name: _git(*DIFF, "HEAD", "--", f":(literal){name}", cwd=top) for name in _changed(top)}
    for name in _new(top):  # compared with nothing, for which git's exit code is 1; a folder is a repository of its own
        fits = not name.endswith("/") and (top / name).lstat().st_size <= LARGEST
        parts[name] = _git(*DIFF, "--no-index", "--", os.devnull, name, cwd=top, codes=(0, 1)) if fits else b""
    kept, total = list[str](), 0
    for name in sorted(parts, key=lambda name: len(parts[name])):
        if parts[name] and total + len(parts[name]) <= LARGEST:
            kept.append(name)
            total += len(parts[name])
    return b"".join(parts[name] for name in sorted(kept)), tuple(sorted(parts.keys() - kept))


def _top() -> Path:
    return Path(os.fsdecode(_git("rev-parse", "--show-toplevel")).removesuffix("\n"))


def _changed(top: Path) -> list[str]:
    return _names(_git("diff", "--name-only", "--no-ext-diff", "-z", "HEAD", cwd=top))


def _new(top: Path) -> list[str]:
    return _names(_git("ls-files", "--others", "--exclude-standard", "-z", cwd=top))


def _names(listed: bytes) -> list[str]:
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def _git(*words: str, cwd: Path | None = None, codes: tuple[int, ...] = (0,)) -> bytes:
    # Without what says, as in a hook of git, which repository is meant; and git writes nothing by the way.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    where = cwd or Path(__file__).parent
    done = subprocess.run(["git", *words], cwd=where, env=environment, capture_output=True, timeout=SECONDS)
    if done.returncode not in codes:
        raise subprocess.CalledProcessError(done.returncode, ["git", *words], done.stdout, done.stderr)
    return done.stdout
