"""The plainest service around the same model: FastAPI, one photo at a time, no batching, no bounds.

    python -m benchmarks.plain_service MODEL --threads N

It answers what `facetry serve` does, and prints its port.
"""

import argparse
import socket
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, File, Form, UploadFile

from facetry.build.load import load
from facetry.engines.engine import EngineConfig
from facetry.images.loader import PhotoDecoder
from facetry.product import Product
from facetry.service.answers import answers_of


def make_app(model: Path, num_threads: int) -> FastAPI:
    """The application; `predict` runs in the framework's own threads, as plain functions do."""
    predictor = load(model, EngineConfig(num_threads=num_threads))
    decoder = PhotoDecoder(predictor.preprocesses)
    app = FastAPI()

    @app.post("/v1/predict")
    def predict(
        photo: Annotated[UploadFile, File()], category: Annotated[str, Form()]
    ) -> dict[str, Any]:
        product = decoder.load(Product(id="0", category=category), [photo.file.read()])
        (answer,) = answers_of(predictor.predict([product]))
        return {"problem": answer.problem, "cells": [vars(cell) for cell in answer.cells]}

    return app


def main() -> None:
    """Serve on a free port until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    app = make_app(options.model, options.threads)
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"Serving on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    main()
