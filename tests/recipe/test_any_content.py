"""Whatever a recipe or an override holds: a recipe, or a RecipeError."""

import contextlib
from pathlib import Path
from typing import get_args

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facetry.errors import FacetryError
from facetry.recipe import load_recipe
from facetry.recipe.kinds import Recipe
from facetry.runtime.config import keys

many = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

NAMES = sorted({part for kind in get_args(Recipe) for key in keys(kind) for part in key.path})
KEYS = st.sampled_from([*NAMES, "extends", "members", "kind"])
SCALARS = (
    st.sampled_from(
        ["classifier", "ensemble", "search", "vlm", "soup", "nano_vit", "recipe.yaml", ".",
         "~nobody/x", "\0", "a" * 5000, "extends", "phash"]
    )
    | st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.text(max_size=8)
)  # fmt: skip
CONTENT = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | SCALARS, inner, max_size=4),
    max_leaves=10,
)
SECTIONS = st.dictionaries(KEYS, CONTENT, max_size=5)


@many
@given(CONTENT | SECTIONS | SECTIONS.map(lambda found: {"backbone": {"name": "nano_vit"}, **found}))
def test_whatever_a_recipe_holds(tmp_path: Path, content: object) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    with contextlib.suppress(FacetryError):
        load_recipe(path)


@many
@given(st.text(max_size=12), st.sampled_from(NAMES), CONTENT.map(str))
def test_whatever_an_override_says(tmp_path: Path, text: str, name: str, value: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("backbone: {name: nano_vit}")
    for override in (text, f"{name}={value}", f"training.{name}={text}", f"{name}.{text}={value}"):
        with contextlib.suppress(FacetryError):
            load_recipe(path, [override])
