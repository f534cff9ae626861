"""A service with a review in a process of its own: SHOP DATA; prints the page's address."""

import sys
from contextlib import closing
from pathlib import Path

from facetry.review.pages import ReviewPages
from facetry.service.server import bind, make_server
from facetry.service.state import make_service
from tests.service.fakes import FakePredictor, service_config
from tests.service.serving import fake_load


def main(shop: Path, data: Path) -> None:
    """Serve until the process is ended."""
    service = make_service(service_config(data), fake_load(FakePredictor()))
    pages = ReviewPages(shop, show=lambda address: print(address, flush=True))
    server = make_server(service, extension=pages)
    with closing(bind("127.0.0.1", 0)) as listening:
        server.run(sockets=[listening])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
