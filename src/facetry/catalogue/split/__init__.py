"""Which products train, which validate, which test; kept in a file so that it can be used again."""

from facetry.catalogue.split.config import PARTS, Part, Seed, SplitConfig
from facetry.catalogue.split.file import Folds, Split, read_split, require_split_name
from facetry.catalogue.split.make import find_groups, make_folds, make_split
from facetry.catalogue.split.summary import GroupCounts, PartSummary, count_groups, summarise

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
]
