"""What can be chosen about an audit."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from facetry.config import Config


class AuditConfig(Config):
    """What to look at and how closely.

    `features` is a model folder or a recipe whose backbone embeds the photos; `changes` are the
    recipe's keys to change, as KEY=VALUE. A value with fewer than `min_examples` products is rare.
    """

    features: Path | None = None
    changes: tuple[str, ...] = ()
    min_examples: Annotated[int, Field(ge=1)] = 10
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
