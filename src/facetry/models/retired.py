"""Recipe keys of earlier versions that no longer exist, and how recipes that have them are read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Retired:
    """A key that recipes no longer have: the values (`off`) without effect, and why it was removed."""

    off: tuple[object, ...]
    why: str


_SOUP: Final = "kind: soup"

RETIRED: Final[Mapping[str, Retired]] = {
    _SOUP: Retired((), "averaging the weights of several trainings gained nothing over the best one"),
    "training.keep_start": Retired((0,), "no share of the starting weights scored higher than none"),
    "training.loss.focal_gamma": Retired((0,), "its effect could not be told from chance"),
    "training.loss.logit_adjustment": Retired((0,), "it lowered the score"),
    "vlm.engine": Retired(("auto", "transformers"), "answers are always written by transformers"),
}
"""The retired keys by their dotted names."""


def without_retired(recipe: Mapping[str, Any], *, only_off: bool = False) -> dict[str, Any]:
    """A copy of a recipe, as plain containers, without its retired keys.

    A trained soup was saved as a classifier with its first member's architecture, so its recipe becomes
    that of a classifier. With `only_off`, for a recipe that is to be trained, keys whose value had an
    effect are left in, and so is a soup: training without them would give another model.

    >>> without_retired({"training": {"keep_start": 0.0, "epochs": 3}}, only_off=True)
    {'training': {'epochs': 3}}
    """
    content = {key: dict(each) if isinstance(each, dict) else each for key, each in recipe.items()}
    members = content.get("members")
    members = members if isinstance(members, dict) else {}
    for name, each in members.items():
        if isinstance(each, dict):
            members[name] = without_retired(each, only_off=only_off)
    for key, retired in RETIRED.items():
        _drop(content, key.split("."), retired.off if only_off else None)
    if content.get("kind") == "soup" and not only_off and members:
        shared = {key: content[key] for key in ("seed", "split") if key in content}
        return {**next(iter(members.values())), **shared}
    return content


def why_retired(name: str) -> str:
    """Why a key, or a kind given as `kind: NAME`, was retired; "" if it was not.

    >>> why_retired("members.a.kind: soup") == RETIRED["kind: soup"].why
    True
    >>> why_retired("kind: classifier")
    ''
    """
    own = re.sub(r"^(members\.[^.]+\.)+", "", name)
    return RETIRED[own].why if own in RETIRED else ""


def _drop(content: dict[str, Any], path: list[str], off: tuple[object, ...] | None) -> None:
    """Remove a key from `content` in place; with `off` only if its value is one of those."""
    key, *rest = path
    inner = content.get(key)
    if rest and isinstance(inner, dict):
        content[key] = inner = dict(inner)
        _drop(inner, rest, off)
    elif not rest and key in content and (off is None or inner in off):
        del content[key]
