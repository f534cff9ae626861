"""Splits into training, validation and test parts, and into folds: made, saved, read, summarised."""

from facetry.catalogue.split.file import (
    PARTS,
    Folds,
    Part,
    Seed,
    Split,
    SplitConfig,
    read_split,
    require_split_name,
)
from facetry.catalogue.split.make import find_groups, make_folds, make_split
from facetry.catalogue.split.summary import (
    GroupCounts,
    PartSummary,
    count_groups,
    summarise,
    uneven_shares,
    unseen_values,
)

__all__ = [
    "PARTS",
    "Folds",
    "GroupCounts",
    "Part",
    "PartSummary",
    "Seed",
    "Split",
    "SplitConfig",
    "count_groups",
    "find_groups",
    "make_folds",
    "make_split",
    "read_split",
    "require_split_name",
    "summarise",
    "uneven_shares",
    "unseen_values",
]
