"""Everything that is wrong with a catalogue, found in one go."""

from facetry.catalogue.check.kinds import Severity
from facetry.catalogue.check.photos import PhotoCheck
from facetry.catalogue.check.report import CheckReport, Problem, Summary
from facetry.catalogue.check.run import check_catalogue

__all__ = ["check_catalogue", "CheckReport", "PhotoCheck", "Problem", "Severity", "Summary"]
