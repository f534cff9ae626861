"""An open-loop client: requests go out when they are due, whether earlier ones are answered or not.

A client that waits for answers slows down with the server and so hides its queue. Latencies count from
the moment that a request was due. It speaks just enough HTTP/1.1 that it takes little of a core.

    python -m benchmarks.load_client PORT PHOTOS CATEGORY --rate R --seconds S

prints one JSON object: for each request its due time, its latency in seconds and its status (0: none).
"""

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_BOUNDARY = "photo-boundary"


@dataclass
class Sent:
    """What became of requests: due times, latencies and statuses, in the order of their answers."""

    due: list[float] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)


def requests(photos: Sequence[Path], category: str) -> list[bytes]:
    """A whole request for each photo."""
    return [_request(photo.read_bytes(), category) for photo in photos]


def _request(photo: bytes, category: str) -> bytes:
    fields = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="category"\r\n\r\n{category}\r\n'
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="photo"; filename="1.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    body = fields + photo + f"\r\n--{_BOUNDARY}--\r\n".encode()
    head = (
        "POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Pool:
    """Connections that wait for their next request."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: bytes) -> int:
        """The status of the answer; 0 if there is none."""
        try:
            streams = self._idle.pop() if self._idle else await self._connect()
            reader, writer = streams
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
        except (OSError, asyncio.IncompleteReadError):
            return 0
        if b"connection: close" in head.lower():
            writer.close()
        else:
            self._idle.append(streams)
        return int(head[9:12])

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)


def _length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))


async def send_open_loop(pool: Pool, payloads: Sequence[bytes], rate: float, seconds: float) -> Sent:
    """Send at random times (Poisson), `rate` a second on average."""
    loop, sent = asyncio.get_running_loop(), Sent()
    start = loop.time()

    async def send(due: float, payload: bytes) -> None:
        status = await pool.ask(payload)
        sent.due.append(round(due, 4))
        sent.latency.append(round(loop.time() - start - due, 5))
        sent.status.append(status)

    tasks = []
    for index, due in enumerate(_due_times(rate, seconds)):
        await asyncio.sleep(max(0, start + due - loop.time()))
        tasks.append(asyncio.create_task(send(due, payloads[index % len(payloads)])))
    await asyncio.gather(*tasks)
    return sent


async def send_closed_loop(
    pool: Pool, payloads: Sequence[bytes], num_clients: int, seconds: float
) -> Sent:
    """Have so many clients send one request after the other: what the server can do at most."""
    loop, sent = asyncio.get_running_loop(), Sent()
    start = loop.time()

    async def client(index: int) -> None:
        while (due := loop.time() - start) < seconds:
            status = await pool.ask(payloads[index % len(payloads)])
            sent.due.append(round(due, 4))
            sent.latency.append(round(loop.time() - start - due, 5))
            sent.status.append(status)
            index += num_clients

    await asyncio.gather(*(client(index) for index in range(num_clients)))
    return sent


def _due_times(rate: float, seconds: float) -> Iterator[float]:
    draws = random.Random(0)
    due = draws.expovariate(rate)
    while due < seconds:
        yield due
        due += draws.expovariate(rate)


def main() -> None:
    """Send, and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("photos", type=Path)
    parser.add_argument("category")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0: closed loop")
    parser.add_argument("--clients", type=int, default=64, help="of the closed loop")
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    payloads = requests(sorted(options.photos.glob("*.jpg")), options.category)
    pool = Pool(options.port)
    if options.rate:
        sent = asyncio.run(send_open_loop(pool, payloads, options.rate, options.seconds))
    else:
        sent = asyncio.run(send_closed_loop(pool, payloads, options.clients, options.seconds))
    json.dump(vars(sent), sys.stdout)


if __name__ == "__main__":
    main()
