"""The weights of an ensemble's members: fixed, by head, or by how confident the members are.

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
from facetry.runtime.documents import parse_json
from facetry.runtime.files import write_text
from facetry.taxonomy import Taxonomy

Floats = NDArray[np.float64]
Probabilities = NDArray[np.float32]
Indices = NDArray[np.int64]

SIGNALS = ("confidence", "margin", "entropy")
"""The inputs of a gate, from a member's answer; see `signals`."""

FILE = "weighting.json"


class Weighting(Protocol):
    """Gives each member's weight in each answer."""

    def shares(self, stacked: Probabilities, heads: Indices) -> Floats:
        """Each member's share (M, B, A) of `stacked` (M, B, A, V); the shares of an answer sum to 1.

        `heads` (B, A) is the index of each slot's head, -1 for none.
        """
        ...


@dataclass(frozen=True, eq=False)
class FixedWeights:
    """The same weights (M) for every answer (paper, section 5.2)."""

    weights: Floats

    def shares(self, stacked: Probabilities, heads: Indices) -> Floats:  # noqa: ARG002
        """The same weights for all predictions."""
        return np.broadcast_to(self.weights[:, None, None], stacked.shape[:3])


@dataclass(frozen=True, eq=False)
class HeadWeights:
    """Weights (H, M) for each head."""

    weights: Floats

    def shares(self, stacked: Probabilities, heads: Indices) -> Floats:  # noqa: ARG002
        """The weights of each slot's head."""
        equal = np.full((1, self.weights.shape[1]), 1 / self.weights.shape[1])
        padded = np.concatenate([self.weights, equal])  # the index -1, for no head, is the last row
        return np.moveaxis(padded[heads], -1, 0)


@dataclass(frozen=True, eq=False)
class Gate:
    """Weights that depend on the members' answers: a softmax over members.

    A member's logit is the logarithm of its fixed weight, plus its `bias` (M), plus its signals times
    `slopes` (M, F). All heads share one gate, as a single head has too few labels to fit one.
    """

    weights: Floats
    bias: Floats
    slopes: Floats

    def shares(self, stacked: Probabilities, heads: Indices) -> Floats:  # noqa: ARG002
        """The softmax of the members' logits for each answer."""
        logits = np.einsum("mbaf,mf->mba", signals(stacked), self.slopes)
        logits += (log_weights(self.weights) + self.bias)[:, None, None]
        exponentials = np.exp(logits - logits.max(axis=0, initial=-np.inf, keepdims=True))
        shares: Floats = exponentials / exponentials.sum(axis=0, keepdims=True)
        return shares


def log_weights(weights: Floats) -> Floats:
    """Logarithms of weights; a weight of 0 counts as 1e-12, so that none is infinite."""
    return np.log(np.maximum(weights, 1e-12))


def signals(stacked: Probabilities) -> Floats:
    """The signals (..., F) of each answer: the largest probability, its margin, and the entropy.

    All are from 0 to 1; the entropy is divided by that of V equally probable values.
    """
    answers = stacked.astype(np.float64)
    num_values = answers.shape[-1]
    top = np.sort(answers, axis=-1)[..., -2:]
    margin = top[..., -1] - top[..., 0] if num_values > 1 else top[..., -1]
    logs = np.log(np.where(answers > 0, answers, 1))
    entropy = -(answers * logs).sum(axis=-1) / np.log(max(2, num_values))
    return np.stack([top[..., -1], margin, entropy], axis=-1)


def save_weighting(
    folder: Path, weighting: Weighting, members: Sequence[str], taxonomy: Taxonomy
) -> None:
    """Write the learned weights, by the members' names, into an ensemble's model folder."""
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
    """Read what `save_weighting` wrote.

    Raises:
        ModelFolderError: the file is missing, or does not fit the members or the taxonomy.
    """
    try:
        content = parse_json((folder / FILE).read_text(encoding="utf-8"))
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
            f"{folder / FILE} does not fit the ensemble in its folder.",
            hint="Copy the model folder again, or train it anew.",
        ) from error
