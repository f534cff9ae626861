"""What an audit found, put together from its steps.

Shapes: N products of the catalogue.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from facetry.audit.conflicts import conflict_findings, duplicate_findings
from facetry.audit.findings import gather
from facetry.audit.labels import CategoryLabels, label_findings
from facetry.audit.photos import photo_findings
from facetry.audit.spelling import LookAlike, look_alike_findings
from facetry.audit.wrong_labels import wrong_label_findings
from facetry.catalogue.catalogue import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Photos:
    """What looking at the photos found.

    `problems` (N) has "" for a readable photo; `issues` the columns place, issue (cleanvision's
    name) and score, worst first; `members` and `conflicts` are as `conflicts` says.
    """

    problems: Sequence[str]
    issues: pl.DataFrame
    members: pl.DataFrame
    conflicts: pl.DataFrame

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Why photos could not be used, the most frequent reason first."""
        return Counter(problem for problem in self.problems if problem).most_common()

    @property
    def num_unreadable(self) -> int:
        """How many products have no photo that can be read."""
        return sum(problem != "" for problem in self.problems)


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """All that an audit found.

    Without a photo folder there are no `photos`; without features there is no `noise`, the ranked
    labels of `facetry.audit.noise`.
    """

    catalogue: Catalogue
    min_examples: int
    categories: Sequence[CategoryLabels]
    look_alikes: Sequence[LookAlike]
    photos: Photos | None = None
    noise: pl.DataFrame | None = None

    @cached_property
    def findings(self) -> pl.DataFrame:
        """Every single finding; see `facetry.audit.findings.FINDINGS`."""
        catalogue = self.catalogue
        parts = [*label_findings(catalogue, self.categories, self.min_examples)]
        parts.append(look_alike_findings(catalogue, self.look_alikes))
        if self.photos is not None:
            parts += conflict_findings(self.photos.conflicts)
            parts += duplicate_findings(catalogue, self.photos.members)
            parts += photo_findings(catalogue, self.photos.problems, self.photos.issues)
        if self.noise is not None:
            parts.append(wrong_label_findings(catalogue, self.noise))
        return gather(parts)

    @property
    def num_labels(self) -> int:
        """How many labels there are."""
        return sum(category.num_labels for category in self.categories)

    @property
    def missing_share(self) -> float:
        """The share of cells without a label; 0 if there are no cells."""
        num_cells = sum(category.num_cells for category in self.categories)
        return 1 - self.num_labels / num_cells if num_cells else 0.0
