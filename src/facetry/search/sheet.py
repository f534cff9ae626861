"""A contact sheet: one HTML file with a photo, the products most like it, and their labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from facetry.files import write_text
from facetry.pages.environment import make_environment
from facetry.pages.photos import thumbnail
from facetry.product import Product
from facetry.search.explain import Explanation
from facetry.search.predictor import Neighbour

_QUERY_PX = (360, 480)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One neighbour; `photo` is a `data:` address, None where it is gone."""

    neighbour: Neighbour
    photo: str | None


def write_sheet(path: Path, explanation: Explanation, facts: Mapping[str, str]) -> None:
    """Write the sheet, and its folder if that is not there yet; `facts` are shown as they are."""
    template = make_environment("facetry.search").get_template("sheet.html.jinja")
    content = template.render(
        title=f"Nearest to {explanation.product.id}",
        product=explanation.product,
        photo=thumbnail(explanation.product, _QUERY_PX),
        answers=explanation.answers,
        rule=explanation.rule,
        answered={each.attribute: each.value for each in explanation.answers},
        cards=[_card(each) for each in explanation.neighbours],
        facts=facts,
    )
    write_text(path, content)


def _card(neighbour: Neighbour) -> Card:
    product = Product(id=neighbour.id, category=neighbour.category, photos=neighbour.photos)
    return Card(neighbour=neighbour, photo=thumbnail(product))
