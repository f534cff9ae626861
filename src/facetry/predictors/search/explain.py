"""Explains a prediction: one HTML page with a photo, the products most like it, and their labels."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facetry.errors import ImageError, PhotoProblem, TaxonomyError, nearest
from facetry.images import load_batches
from facetry.predictions import Predictions
from facetry.predictors.search.predictor import Neighbour, SimilaritySearch
from facetry.product import Product
from facetry.reports.pages import make_environment, thumbnail
from facetry.runtime.files import write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One attribute's predicted value: `num_votes` of the `num_voters` labelled neighbours have it."""

    attribute: str
    value: str
    probability: float
    num_votes: int
    num_voters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A photo, its nearest products, and the answers, which are empty if no category was given.

    `rule` says in words which neighbours voted.
    """

    product: Product
    neighbours: Sequence[Neighbour]
    answers: Sequence[Answer]
    rule: str


def explain(
    search: SimilaritySearch, photo: Path, category: str | None = None, *, num_nearest: int = 15
) -> Explanation:
    """The indexed products nearest to a photo, of one category, or of all if none is given.

    Raises:
        ImageError: the photo cannot be used.
        TaxonomyError: the category is unknown, or no product of it is indexed.
    """
    if category is not None:
        _require_indexed(search, category)
    product = Product(id=photo.name, category=category or "", photos=(photo,))
    ((loaded,),) = load_batches([product], search.preprocesses)
    if loaded.problem:
        known = [each for each in PhotoProblem if each.value == loaded.problem]
        raise ImageError(known[0] if known else PhotoProblem.UNREADABLE, str(photo))
    answers: list[Answer] = []
    if category is not None:
        voters = search.nearest(loaded, search.num_neighbours)
        answers = list(_answers(search.predict([loaded]), voters))
    how = "nearer ones count more" if search.config.vote == "weighted" else "all count equally"
    return Explanation(
        product=product,
        neighbours=search.nearest(loaded, num_nearest),
        answers=answers,
        rule=f"Of the {search.num_neighbours} nearest those with a label vote; {how}.",
    )


def _answers(predictions: Predictions, voters: Sequence[Neighbour]) -> Iterable[Answer]:
    """The predictions for one product, with its neighbours' votes."""
    for slot, head in enumerate(predictions.taxonomy.heads_of(predictions.categories[0])):
        if not head.values:
            continue
        value = head.values[predictions.top[0, slot]]
        votes = Counter(
            voter.labels[head.attribute] for voter in voters if head.attribute in voter.labels
        )
        yield Answer(
            attribute=head.attribute,
            value=value,
            probability=float(predictions.confidence[0, slot]),
            num_votes=votes[value],
            num_voters=votes.total(),
        )


def _require_indexed(search: SimilaritySearch, category: str) -> None:
    categories = search.taxonomy.categories
    if category not in categories:
        raise TaxonomyError(f"Unknown category {category!r}.", hint=nearest(category, categories))
    indexed = [categories[code] for code in search.collection.indexes]
    if category not in indexed:
        raise TaxonomyError(
            f"No product of the category {category!r} is indexed.",
            hint=f"Indexed: {', '.join(indexed)}. Products are added with --add.",
        )


_QUERY_PX = (480, 640)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One neighbour on the page; `photo` is a `data:` URL, None if the file is missing."""

    neighbour: Neighbour
    photo: str | None


def write_page(path: Path, explanation: Explanation, facts: Mapping[str, str]) -> None:
    """Write the page, and its folder if needed; `facts` are shown at its top."""
    template = make_environment("facetry.predictors.search").get_template("explanation.html.jinja")
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
