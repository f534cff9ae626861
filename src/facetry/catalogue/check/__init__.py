"""The check of a catalogue: finds everything that is wrong with it in one run, and raises nothing."""

from facetry.catalogue.check.kinds import Severity
from facetry.catalogue.check.photos import PhotoCheck
from facetry.catalogue.check.report import CheckReport, Problem, Summary
from facetry.catalogue.check.run import check_catalogue

__all__ = ["check_catalogue", "CheckReport", "PhotoCheck", "Problem", "Severity", "Summary"]
