"""How much each member of an ensemble counts: the same always, by head, or by how sure members are.

Shapes: M members, B products, A slots, V values, H heads, F signals.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facetry.errors import ModelFolderError
from facetry.runtime.files import write_text
from facetry.taxonomy import Taxonomy

Floats = NDArray[np.float64]
Probabilities = NDArray[np.float32]
Indices = NDArray[np.int64]

SIGNALS = ("confidence", "margin", "entropy")
"""What a gate sees of a member's answer; see `signals`."""

FILE = "weighting.json"


class Weighting(Protocol):
    """Says how much each member counts in each answer."""

    def shares(self, stacked: Probabilities, heads: Indices) -> Floats:
        """Each member's share (M, B, A) of `stacked` (M, B, A, V); the shares of an answer sum to 1.

        `heads` (B, A) is the head behind each slot, -1 where there is none.
        """
        ...


@dataclass(frozen=True, eq=False)
class FixedWeights:
    """The same weights (M) for every answer (paper, section 5.2)."""

    weights: Floats

    def shares(self, stacked: Probabilities, heads: Indices) -> Floats:  # noqa: ARG002
        """The weights, whatever was predicted."""
        return np.broadcast_to(self.weights[:, None, None], stacked.shape[:3])


@dataclass(frozen=True, eq=False)
class HeadWeights:
    """Weights of its own for each head (H, M)."""

    weights: Floats

    def shares(self, stacked: Probabilities, heads: Indices) -> Floats:  # noqa: ARG002
        """The weights of each slot's head."""
        equal = np.full((1, self.weights.shape[1]), 1 / self.weights.shape[1])
        padded = np.concatenate([self.weights, equal])  # -1, no head, finds the last row
        return np.moveaxis(padded[heads], -1, 0)


@dataclass(frozen=True, eq=False)
class Gate:
    """Weights that depend on the input: a softmax over members of what their answers look like.

    A member's logit is the logarithm of its fixed weight, plus its own `bias` (M), plus its signals
    times `slopes` (M, F). One gate serves all heads: a head has too few labels for one of its own.
    """

    weights: Floats
    bias: Floats
    slopes: Floats

    def shares(self, stacked: Probabilities, heads: Indices) -> Floats:  # noqa: ARG002
        """The softmax of the members' logits for each answer."""
        logits = np.einsum("mbaf,mf->mba", signals(stacked), self.slopes)
        logits += (log_weights(self.weights) + self.bias)[:, None, None]
        raised = np.exp(logits - logits.max(axis=0, initial=-np.inf, keepdims=True))
        shares: Floats = raised / raised.sum(axis=0, keepdims=True)
        return shares


def log_weights(weights: Floats) -> Floats:
    """Logarithms of weights; one of 0 stays next to nothing rather than infinitely far away."""
    return np.log(np.maximum(weights, 1e-12))


def signals(stacked: Probabilities) -> Floats:
    """What each answer looks like (..., F): the largest probability, its lead, and the entropy.

    All lie from 0 to 1; the entropy is in units of that of V equally probable values.
    """
    answers = stacked.astype(np.float64)
    num_values = answers.shape[-1]
    top = np.sort(answers, axis=-1)[..., -2:]
    lead = top[..., -1] - top[..., 0] if num_values > 1 else top[..., -1]
    logs = np.log(np.where(answers > 0, answers, 1))
    entropy = -(answers * logs).sum(axis=-1) / np.log(max(2, num_values))
    return np.stack([top[..., -1], lead, entropy], axis=-1)


def save_weighting(
    folder: Path, weighting: Weighting, members: Sequence[str], taxonomy: Taxonomy
) -> None:
    """Write what was learned of the members' weights, by name, into an ensemble's model folder."""
    if isinstance(weighting, HeadWeights):
        content: dict[str, Any] = {
            head.name: dict(zip(members, row, strict=True))
            for head, row in zip(taxonomy.heads, weighting.weights.tolist(), strict=True)
        }
        written = {"weighting": "per_head", "heads": content}
    else:
        assert isinstance(weighting, Gate)
        parts = zip(
            members,
            weighting.weights.tolist(),
            weighting.bias.tolist(),
            weighting.slopes.tolist(),
            strict=True,
        )
        content = {
            name: {"weight": weight, "bias": bias, **dict(zip(SIGNALS, slopes, strict=True))}
            for name, weight, bias, slopes in parts
        }
        written = {"weighting": "gate", "members": content}
    write_text(folder / FILE, json.dumps(written, indent=1, ensure_ascii=False))


def read_weighting(folder: Path, members: Sequence[str], taxonomy: Taxonomy) -> Weighting:
    """What `save_weighting` wrote.

    Raises:
        ModelFolderError: no such file, or one that does not fit the members or the taxonomy.
    """
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if content["weighting"] == "per_head":
            rows = [[content["heads"][head.name][name] for name in members] for head in taxonomy.heads]
            return HeadWeights(np.array(rows, dtype=np.float64))
        parts = [content["members"][name] for name in members]
        return Gate(
            weights=np.array([part["weight"] for part in parts]),
            bias=np.array([part["bias"] for part in parts]),
            slopes=np.array([[part[signal] for signal in SIGNALS] for part in parts]),
        )
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelFolderError(
            f"{folder / FILE} does not fit the ensemble beside it.",
            hint="Copy the model folder again, or train it anew.",
        ) from error
