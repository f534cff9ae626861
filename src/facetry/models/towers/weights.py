"""Reads weights from files, without running any code in them, and loads them into a tower."""

import math
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

# Keys under which common checkpoints hold the state dict of the model with the image tower.
_STATE_KEYS = ("state_dict", "clip_model_state_dict", "model")
# Parts that compiling and data parallelism add to parameter names.
_WRAPPERS = re.compile(r"(?<![^.])(?:module|_orig_mod)\.")

# The parameters with a ViT's position embeddings, in timm and in open_clip.
_POSITIONS = ("pos_embed", "positional_embedding")


def load_weights(tower: nn.Module, path: Path) -> None:
    """Load weights from a state dict of the tower, or of a CLIP or a classifier that contains it.

    Position embeddings of a ViT at another image size are resampled, as timm and open_clip do.

    Raises:
        BackboneError: the file is missing or holds more than tensors, or is of another model.
    """
    expected = tower.state_dict()
    prefix, state = _tower_state(state_dict(read_file(path), path.name), expected)
    state = {key: _resampled(tower, expected, key, each) for key, each in state.items()}
    layers = {_any_layer(key) for key in expected}
    missing = [key for key in expected if key not in state]
    # Other layers, such as a text tower, may be ignored; more layers of the tower mean another model.
    unexpected = [key for key in state if key not in expected and _any_layer(key) in layers]
    wrong = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    if missing or unexpected or wrong:
        faults = {"lack": missing, "also have": unexpected, "shape otherwise": wrong}
        raise _misfit(path, prefix, len(expected), faults)
    tower.load_state_dict(
        {key: state[key].float() if state[key].is_floating_point() else state[key] for key in expected}
    )


def read_file(path: Path) -> Any:
    """Read a file of tensors and plain containers; no code in it is run.

    Raises:
        BackboneError: the file is missing or damaged, or holds other objects.
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
        # Memory-mapped, so that text towers and optimiser states that are not used take no memory.
        is_mappable = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_mappable)
    except pickle.UnpicklingError as error:  # torch's message explains how to run the file's code
        found = re.search(r"(?:unsupported )?GLOBAL (\S+)", str(error))
        objects = f" ({found[1]})" if found else ""
        raise BackboneError(
            f"{path.name} is damaged, or holds pickled objects{objects}.",
            hint="Such objects can run code and are not loaded. "
            "Save only tensors and plain containers, such as a state dict.",
        ) from error
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise BackboneError(f"{path.name} cannot be read as weights: {reason}") from error


def state_dict(content: Any, name: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by their names without compiling or data parallelism.

    Raises:
        BackboneError: `content`, read from the file `name`, is not a dict.

    >>> sorted(state_dict({"model": {"module._orig_mod.a.weight": torch.zeros(1)}}, "a.pt"))
    ['a.weight']
    """
    for key in _STATE_KEYS:
        content = content.get(key, content) if isinstance(content, dict) else content
    if not isinstance(content, dict):
        raise BackboneError(f"{name} holds a {type(content).__name__}, not a state dict.")
    return {
        _WRAPPERS.sub("", str(key)): each for key, each in content.items() if isinstance(each, Tensor)
    }


def _tower_state(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[str, Mapping[str, Tensor]]:
    """The tower's part of a state dict, and the prefix of its names there.

    The prefix is the one with most of the tower's names: `visual.` in a CLIP, `backbone.tower.` in a
    classifier of Facetry, `model.` or similar in others. A timm model inside a CLIP tower has the prefix
    `trunk.`, which a file from timm does not have.
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
    """The possible prefixes of `key`: what precedes a name of the tower in it."""
    starts = [0, *(dot.end() for dot in re.finditer(r"\.", key))]
    return [key[:start] for start in starts if key[start:] in expected]


def _resampled(tower: nn.Module, expected: Mapping[str, Tensor], key: str, tensor: Tensor) -> Tensor:
    """The tensor or, if it is position embeddings of another grid of patches, those of the tower's."""
    path, _, name = key.rpartition(".")
    if name not in _POSITIONS or key not in expected:
        return tensor
    module, wanted = tower.get_submodule(path), expected[key].shape
    grid = getattr(getattr(module, "patch_embed", module), "grid_size", None)  # of a text tower: none
    if grid is None or tensor.shape == wanted or tensor.shape[-1] != wanted[-1]:
        return tensor
    num_prefix = wanted[-2] - grid[0] * grid[1]  # class token and registers have no place in the grid
    num_patches = tensor.shape[-2] - num_prefix
    if tensor.ndim != len(wanted) or math.isqrt(max(0, num_patches)) ** 2 != num_patches:
        return tensor
    from timm.layers.pos_embed import resample_abs_pos_embed

    tokens = tensor.reshape(1, *tensor.shape[-2:])
    resampled: Tensor = resample_abs_pos_embed(tokens, list(grid), num_prefix_tokens=num_prefix)
    return resampled.reshape(wanted)


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
    """A tensor's name with the layers' numbers left out."""
    return re.sub(r"\.\d+\.", ".#.", key)
