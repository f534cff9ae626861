"""The folder of a study: its file names, and how it is opened or resumed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facetry.build.train import upgraded_job
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.identity import catalogue_identity
from facetry.catalogue.split import Split
from facetry.errors import NotEnoughData
from facetry.experiments.compare.rows import ComparisonInputs, load_or_save_split, saved_fingerprint
from facetry.experiments.tune.config import SamplerName
from facetry.experiments.tune.space import Space
from facetry.runtime.progress import Reporter
from facetry.runtime.resumable import JobKind, open_or_resume

STUDY = "study.db"
TRIALS = "trials"
SPLIT = "split.parquet"
REPORT = "report.html"
_MEMBERS = "members"
_SEARCH = JobKind(
    command="tune",
    preliminary=frozenset({SPLIT}),
    works_in_place=True,
    result=REPORT,
)


def trial_name(first: int) -> str:
    """The name of a trial's model folder in the folder `TRIALS`."""
    return f"{first:05d}"


@contextmanager
def open_or_resume_study(
    out: Path,
    space: Space,
    sampler: SamplerName,
    catalogue: Catalogue,
    given: Split | None,
    reporter: Reporter,
) -> Iterator[ComparisonInputs]:
    """Lock the folder of this search, new or begun before; the inputs of its trials.

    Raises:
        FolderError: the folder was made by something else or with other settings, or another process
            writes it.
        NotEnoughData: the split has no validation part.
    """
    base, file = space.base, out / SPLIT
    identity: dict[str, Any] = {
        "recipe": base.model_dump(mode="json"),
        "space": space.to_json(),
        "sampler": sampler,
        **catalogue_identity(catalogue),
        "split": given.fingerprint if given else None,
    }

    def upgrade(found: dict[str, Any]) -> dict[str, Any]:
        """Facetry 0.1.0 wrote a flag for a given split; the saved file has its fingerprint."""
        if "is_split_given" in found:
            found = {**found, "split": None}
            if found.pop("is_split_given"):
                found["split"] = saved_fingerprint(file, catalogue)
        return upgraded_job(found, catalogue)

    with open_or_resume(out, identity, _SEARCH, upgrade=upgrade):
        split = load_or_save_split(file, catalogue, given, base.split, seed=base.seed, reporter=reporter)
        if not catalogue.is_labelled[split.rows("validation")].any():
            raise NotEnoughData(
                "The split has no validation part with labels, and trials are ranked on that.",
                hint="Give split.validation a share in the recipe, or name another --split.",
            )
        yield ComparisonInputs(
            source=catalogue.source,
            given=catalogue.given,
            is_closed=catalogue.is_closed,
            split=file,
            library=out / _MEMBERS,
        )
