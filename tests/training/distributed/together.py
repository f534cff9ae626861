"""Starts processes that train together, as torchrun does: forked, so that none imports torch anew."""

import os
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from facetry.runtime.workers import fork_context
from facetry.training.distributed.processes import Processes, process_group

TIMEOUT_S = 120


def launch(num: int, work: Callable[..., Any], *arguments: object) -> list[Any]:
    """Call `work(*arguments)` in `num` processes of one group; return what each returns."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = fork_context()
    begun = []
    for rank in range(num):
        ours, theirs = context.Pipe()
        process = context.Process(target=_join, args=(theirs, rank, num, port, work, arguments))
        process.start()
        theirs.close()
        begun.append((process, ours))
    try:
        return [_result(pipe) for _, pipe in begun]
    finally:
        for process, _ in begun:
            process.kill()
            process.join()


def _result(pipe: Connection) -> Any:
    assert pipe.poll(TIMEOUT_S), "it takes too long"
    result, trace = pipe.recv()
    assert not trace, trace
    return result


def _join(
    pipe: Connection,
    rank: int,
    num: int,
    port: int,
    work: Callable[..., Any],
    arguments: tuple[object, ...],
) -> None:
    known = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num, "LOCAL_WORLD_SIZE": num}
    known |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    os.environ.update({name: str(value) for name, value in known.items()})
    torch.set_num_threads(1)
    try:
        pipe.send((work(*arguments), ""))
    except BaseException:  # noqa: BLE001 - a process's boundary: the test says it
        pipe.send((None, traceback.format_exc()))


@contextmanager
def meeting(*, is_sharded: bool = False) -> Iterator[Processes]:
    """Join with the other processes; all leave when all are done."""
    with process_group(is_sharded=is_sharded) as processes:
        yield processes
        if not processes.is_main:
            assert processes.receive() == ()


def command(*arguments: str | Path) -> str:
    """Run a command line of Facetry; what it printed."""
    from facetry.cli.main import app

    with redirect_stdout(StringIO()) as printed:
        app([str(each) for each in arguments], standalone_mode=False)
    return printed.getvalue()
