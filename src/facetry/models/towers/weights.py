"""Weights from files: read without running anything in them, and fitted to an image tower."""

import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facetry.errors import BackboneError

# Where programs that write checkpoints put the state dict of the model with the image tower.
_NESTS = ("state_dict", "clip_model_state_dict", "model")
# What compiling and data parallelism put before or into names.
_WRAPPERS = re.compile(r"(?<![^.])(?:module|_orig_mod)\.")


def load_weights(tower: nn.Module, path: Path) -> None:
    """Load a state dict of the tower, or of a whole CLIP or a classifier around it.

    Raises:
        BackboneError: a missing file, one that is not tensors only, or weights of another model.
    """
    expected = tower.state_dict()
    prefix, state = _tower_state(state_dict(read_file(path), path.name), expected)
    layers = {_any_layer(key) for key in expected}
    missing = [key for key in expected if key not in state]
    # A classifier's last layer or a text tower is no loss; layers too many are another model.
    unexpected = [key for key in state if key not in expected and _any_layer(key) in layers]
    wrong = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    if missing or unexpected or wrong:
        faults = {"lack": missing, "also have": unexpected, "shape otherwise": wrong}
        raise _misfit(path, prefix, len(expected), faults)
    tower.load_state_dict(
        {key: state[key].float() if state[key].is_floating_point() else state[key] for key in expected}
    )


def read_file(path: Path) -> Any:
    """What a file holds, tensors and plain containers only; nothing in it is run.

    Raises:
        BackboneError: a missing or damaged file, or one with other objects in it.
    """
    if not path.is_file():
        raise BackboneError(
            f"There is no weights file {str(path)!r}.",
            hint="Name one that is there; in a recipe, set backbone.weights to a file, a model folder, "
            "'hub' or 'none'.",
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # Mapped, so that text towers and optimiser states that nobody asks for take no memory.
        is_mappable = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_mappable)
    except pickle.UnpicklingError as error:  # torch's own message tells how to run the file's code
        found = re.search(r"(?:unsupported )?GLOBAL (\S+)", str(error))
        objects = f" ({found[1]})" if found else ""
        raise BackboneError(
            f"{path.name} is damaged, or holds pickled objects{objects}.",
            hint="Such objects can run code and are not loaded. "
            "Save tensors and plain containers alone, such as a state dict.",
        ) from error
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise BackboneError(f"{path.name} cannot be read as weights: {reason}") from error


def state_dict(content: Any, name: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint, called as they are before compiling or data parallelism.

    Raises:
        BackboneError: `content`, read from the file `name`, is no dict.

    >>> sorted(state_dict({"model": {"module._orig_mod.a.weight": torch.zeros(1)}}, "a.pt"))
    ['a.weight']
    """
    for key in _NESTS:
        content = content.get(key, content) if isinstance(content, dict) else content
    if not isinstance(content, dict):
        raise BackboneError(f"{name} holds a {type(content).__name__}, not a state dict.")
    return {
        _WRAPPERS.sub("", str(key)): each for key, each in content.items() if isinstance(each, Tensor)
    }


def _tower_state(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[str, Mapping[str, Tensor]]:
    """The tower's part of a state dict, and the prefix that its names have there.

    It stands where most of its names are: under `visual.` in a whole CLIP, `backbone.tower.` in a
    classifier of ours, `model.` and the like in others. A timm model inside a CLIP tower is called
    `trunk`, which a file of timm's own does not say.
    """
    found = Counter(prefix for key in state for prefix in _prefixes(key, expected))
    in_timm = {key.removeprefix("trunk."): each for key, each in expected.items()}
    if not found and in_timm.keys() != expected.keys():
        prefix, inner = _tower_state(state, in_timm)
        return prefix, {f"trunk.{key}": each for key, each in inner.items()}
    prefix = max(found, key=lambda each: (found[each], -len(each)), default="")
    inner = {key.removeprefix(prefix): each for key, each in state.items() if key.startswith(prefix)}
    return prefix, inner


def _prefixes(key: str, expected: Mapping[str, Tensor]) -> list[str]:
    """What may stand before a name of the tower in `key`."""
    starts = [0, *(dot.end() for dot in re.finditer(r"\.", key))]
    return [key[:start] for start in starts if key[start:] in expected]


def _misfit(
    path: Path, prefix: str, num_expected: int, faults: Mapping[str, Sequence[str]]
) -> BackboneError:
    what = " and ".join(f"{verb} {prefix + keys[0]!r}" for verb, keys in faults.items() if keys)
    num_wrong = sum(map(len, faults.values()))
    return BackboneError(
        f"The weights in {path.name} {what} ({num_wrong} such tensors of {num_expected}).",
        hint="They belong to another backbone, or to the same with other options.",
    )


def _any_layer(key: str) -> str:
    """A tensor's name without the numbers of the layers it is in."""
    return re.sub(r"\.\d+\.", ".#.", key)
