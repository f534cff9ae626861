"""From a key to the next product's paint, in Chromium."""

from pathlib import Path
from typing import Any, Final

# Counted from the key's own time, so with what waits before it, until a frame is painted after the next
# product has been shown: the first task after that frame's callback.
_WATCH: Final = """
() => {
  const queue = document.getElementById("queue");
  const row = () => queue.querySelector("article.product:not([hidden])")?.dataset.row;
  let pressed = 0, before = row();
  window.paints = [];
  document.addEventListener("keydown", (event) => { pressed = event.timeStamp; }, true);
  new MutationObserver(() => {
    if (row() === before) return;
    before = row();
    const since = pressed;
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => window.paints.push(performance.now() - since);
      port2.postMessage(null);
    });
  }).observe(queue, { subtree: true, childList: true, attributes: true, attributeFilter: ["hidden"] });
}
"""
_TWICE_MS: Final = 110  # the page takes the same key again sooner than that for one press
_NEXT: Final = "count => window.paints.length >= count"
_IS_READY: Final = """
() => document.querySelectorAll("article.product").length > 1
  && !document.body.hasAttribute("data-sending")
"""


def measure_paint(chromium: Path, address: str, secret: str, num_products: int) -> list[float]:
    """Decide so many products by keyboard; returns the milliseconds of each."""
    from playwright.sync_api import sync_playwright

    host, _, review = address.partition("/review")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{host}/review/sign-in")
        page.locator("input[name=key]").fill(secret)
        page.keyboard.press("Enter")
        page.wait_for_url("**/review")
        page.goto(f"{host}/review{review}")
        page.evaluate(_WATCH)
        for count in range(1, num_products + 1):
            page.wait_for_function(_IS_READY)
            _decide(page, count)
        paints: list[float] = page.evaluate("() => window.paints")
        browser.close()
    return paints


def _decide(page: Any, count: int) -> None:
    """Press 1 for each cell of the product that is shown, until the next one is painted."""
    num_cells = page.locator("article.product:not([hidden]) .cell:not(.done)").count()
    for _ in range(num_cells):
        page.wait_for_timeout(_TWICE_MS)
        page.keyboard.press("1")
    page.wait_for_function(_NEXT, arg=count)
