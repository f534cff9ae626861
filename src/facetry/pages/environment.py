"""The template environment of all pages: one base page, one set of filters.

A page's own templates extend `page.html.jinja`, which brings the style sheet, the script for
sortable tables and a policy that lets the page load nothing from anywhere.
"""

from importlib.resources import files
from importlib.resources.abc import Traversable
from math import isfinite

from jinja2 import Environment, FunctionLoader, StrictUndefined

from facetry.pages.figures import breakable, figure, percent, share, signed


def make_environment(package: str) -> Environment:
    """An environment that knows the templates of `package` and those that all pages share."""
    folders = [files(each) / "templates" for each in (package, "facetry.pages")]

    def load(name: str) -> str | None:
        found = (_text(folder / name) for folder in folders)
        return next((text for text in found if text is not None), None)

    environment = Environment(
        loader=FunctionLoader(load),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": figure,
        "signed": signed,
        "percent": percent,
        "share": share,
        "breakable": breakable,
        "thousands": "{:,}".format,
    }
    environment.tests["known"] = isfinite
    return environment


def _text(template: Traversable) -> str | None:
    return template.read_text(encoding="utf-8") if template.is_file() else None
