"""Checkpoint files, each named by the hash of its content, so that a damaged one is never loaded.

`step_00000120-<first 16 digits of the SHA-256>.pt` is a training's state after 120 steps, and
`best_00000100-<...>.pt` are the best weights so far, which a state refers to by file name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from facetry.errors import FolderDamaged
from facetry.runtime import files
from facetry.runtime.files import sha256, sync, writing

FOLDER: Final = "checkpoints"
NUM_KEPT: Final = 2
"""How many states are kept; the older one is a spare in case the disk loses the newer one."""

_HASH_LENGTH = 16


def write_checkpoint(folder: Path, kind: str, step: int, content: Mapping[str, Any]) -> str:
    """Write a checkpoint into `folder` and sync it to disk before naming it; returns the name."""
    unnamed = folder / "unnamed.pt"
    with writing(unnamed) as draft:
        torch.save(dict(content), draft)
    named = folder / f"{kind}_{step:08d}-{sha256(unnamed)[:_HASH_LENGTH]}.pt"
    unnamed.replace(named)
    sync(folder)
    return named.name


def is_refused(error: OSError | RuntimeError) -> bool:
    """Whether a checkpoint could not be written for a reason that the user can remove.

    See `files.is_refused`. When the disk is full, torch's own writer raises a RuntimeError, which only
    its text tells from others.
    """
    if isinstance(error, OSError):
        return files.is_refused(error)
    return any(name in str(error) for name in ("inline_container", "PytorchStreamWriter"))


def is_whole(path: Path) -> bool:
    """Whether a file exists and its content has the hash in its name."""
    return path.is_file() and path.stem.rpartition("-")[2] == sha256(path)[:_HASH_LENGTH]


def states(folder: Path) -> list[Path]:
    """The states in `folder`, the newest first, whole or not."""
    return sorted(folder.glob("step_*-*.pt"), reverse=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU.

    Raises:
        FolderDamaged: it cannot be read.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise damaged(path, error) from error
    return content


def damaged(path: Path, why: object) -> FolderDamaged:
    """The error for a checkpoint that cannot be resumed from."""
    return FolderDamaged(
        f"The checkpoint {path} cannot be read: {why}", hint="Delete its folder to start again."
    )


def prune(folder: Path, written: str) -> None:
    """Remove all but the state just written and the one before, and best weights that neither uses.

    States of later steps than the one just written are damaged, or training would have used them.
    """
    newest = folder / written
    kept = [newest, *(each for each in states(folder) if _step(each) < _step(newest))][:NUM_KEPT]
    bests = sorted(folder.glob("best_*-*.pt"), reverse=True)
    # The older state names the newest best weights of its time.
    named = next((_step(each) for each in bests if _step(each) <= _step(kept[-1])), 0)
    old = [each for each in bests if _step(each) < named]
    for path in [*(each for each in states(folder) if each not in kept), *old]:
        path.unlink()


def _step(path: Path) -> int:
    return int(path.stem.partition("_")[2].partition("-")[0])
