"""Corrections that a person made to labels, applied whenever the catalogue is opened.

They are in a file of their own, CSV or Parquet: the source table is never written to.

    id,category,attribute,old,new,who,when
    17,Sarees,border,zari,solid,asha,2024-05-01T10:30

An empty `new` removes the label, an empty `old` says that there was none. Repairs follow each other
by `when` (ISO 8601, in UTC where it names no zone; those without come first), then in the file's
order. One that does not find the `old` it speaks of is not applied, and is reported.
"""

from facetry.catalogue.repairs.file import Repair, write_repairs
from facetry.catalogue.repairs.plan import RepairProblem, Repairs, Target, plan_repairs

__all__ = ["Repair", "write_repairs", "RepairProblem", "Repairs", "Target", "plan_repairs"]
