"""Repairs: corrections of labels by a person, applied whenever the catalogue is opened.

They are in a file of their own, CSV or Parquet: the source table is never written to.

    id,category,attribute,old,new,who,when,chosen
    17,Sarees,border,zari,solid,asha,2024-05-01T10:30,random

An empty `new` removes the label, an empty `old` says that there was none. Repairs are applied in the
order of `when` (ISO 8601, UTC if it names no zone; those without come first), then of the file. One
whose `old` is not the product's label is not applied, and is reported. `chosen` is "random" for a cell
that was drawn at random: no promise is based on others, such as those that a model was unsure of.
"""

from facetry.catalogue.repairs.file import RANDOM, Repair, write_repairs
from facetry.catalogue.repairs.plan import RepairProblem, Repairs, Target, plan_repairs

__all__ = ["RANDOM", "Repair", "write_repairs", "RepairProblem", "Repairs", "Target", "plan_repairs"]
