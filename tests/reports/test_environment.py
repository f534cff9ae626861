"""Every page's templates see the shared ones, and names are escaped."""

import pytest
from jinja2 import TemplateNotFound

from facetry.reports.pages import make_environment


def test_a_page_has_the_shared_parts_around_its_own() -> None:
    environment = make_environment("facetry.evaluation")
    page = environment.from_string(
        '{% extends "page.html.jinja" %}{% block main %}<p>{{ name|breakable }}</p>{% endblock %}'
    ).render(title="<Title>", name="a_b & <c>")
    assert "<title>&lt;Title&gt;</title>" in page
    assert "<p>a_<wbr>b &amp; &lt;c&gt;</p>" in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert "default-src 'none'" in page
    assert "table.sortable" in page


def test_own_templates_are_found_and_others_are_not() -> None:
    environment = make_environment("facetry.evaluation")
    assert environment.get_template("report.html.jinja")
    with pytest.raises(TemplateNotFound):
        environment.get_template("none.html.jinja")
