"""A browser that opens pages, where there is one."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

REQUIRED = os.environ.get("FACETRY_TEST_CHROMIUM", "")
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = REQUIRED or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window: skipped without one unless FACETRY_TEST_CHROMIUM names it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()
