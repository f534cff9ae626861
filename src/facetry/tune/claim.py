"""A study's folder: whose it is, and what its trials stand on."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.identity import catalogue_identity, upgraded_identity
from facetry.catalogue.split import Split, make_split, read_split
from facetry.compare.work import ComparisonInputs
from facetry.errors import TuneError
from facetry.files import remove_drafts, write_text
from facetry.progress import Reporter
from facetry.tune.config import SamplerName
from facetry.tune.runners import FEATURES
from facetry.tune.space import Space

STUDY = "study.db"
TRIALS = "trials"
SPLIT = "split.parquet"
_JOB = "job.json"
_MEMBERS = "members"


def place_name(first: int) -> str:
    """What the folder of a trial is called, in the folder `TRIALS`."""
    return f"{first:05d}"


def claim(
    out: Path,
    space: Space,
    sampler: SamplerName,
    catalogue: Catalogue,
    given: Split | None,
    reporter: Reporter,
) -> ComparisonInputs:
    """Start the folder, or check that it is of this very search.

    Raises:
        TuneError: it holds something else, or the split has no validation part.
    """
    remove_drafts(out)
    job: dict[str, Any] = {
        "recipe": space.base.model_dump(mode="json"),
        "space": space.to_json(),
        "sampler": sampler,
        **catalogue_identity(catalogue),
        "is_split_given": given is not None,
    }
    if any((out / name).exists() for name in (STUDY, FEATURES)):
        _check(out, job, catalogue, given)
    else:
        _start(out, job, space, catalogue, given, reporter)
    return ComparisonInputs(
        source=catalogue.source,
        given=catalogue.given,
        is_closed=catalogue.is_closed,
        split=out / SPLIT,
        library=out / _MEMBERS,
    )


def _check(out: Path, job: dict[str, Any], catalogue: Catalogue, given: Split | None) -> None:
    try:
        found = json.loads((out / _JOB).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    found = upgraded_identity(found, catalogue)
    differing = [key for key, value in job.items() if found.get(key) != value]
    if not differing and given is not None:
        kept = read_split(out / SPLIT, catalogue)
        differing = [] if np.array_equal(kept.codes, given.codes) else ["split"]
    if differing:
        what = " and ".join("split" if key == "is_split_given" else key for key in differing)
        raise TuneError(
            f"{out} holds a search with another {what}.",
            hint="Choose another --out, or delete that folder.",
        )


def _start(
    out: Path,
    job: dict[str, Any],
    space: Space,
    catalogue: Catalogue,
    given: Split | None,
    reporter: Reporter,
) -> None:
    if any(each.name not in {_JOB, SPLIT} for each in out.iterdir()):
        raise TuneError(
            f"{out} is not empty and holds no search.",
            hint="Choose another --out, or delete that folder.",
        )
    split = given
    if split is None:
        split = make_split(catalogue, space.base.split, seed=space.base.seed, reporter=reporter)
    if not catalogue.is_labelled[split.rows("validation")].any():
        raise TuneError(
            "The split has no validation part with labels, and trials are ranked on that.",
            hint="Give split.validation a share in the recipe, or name another --split.",
        )
    write_text(out / _JOB, json.dumps(job, indent=1))
    split.save(out / SPLIT, catalogue)
