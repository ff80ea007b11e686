"""A worker's process: `python -m service.engine`, started by the supervisor with a connected socket."""

from __future__ import annotations

import argparse
import json
import logging
import socket
import threading
import time
from collections import deque

from service import errors
from service.engine import device, warmup
from service.engine.handlers import Answers, Worker, refusal
from service.link import messages
from service.link.channel import WorkerChannel
from service.link.messages import Limits

BEAT_SECONDS = 1.0

_LOG = logging.getLogger("service.engine")


def main() -> None:
    """Serve requests until the serving process closes the socket."""
    parser = argparse.ArgumentParser(prog="service.engine")
    parser.add_argument("--socket", type=int, required=True, help="file descriptor of the connected socket")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), required=True)
    parser.add_argument("--index", type=int, required=True, help="which of the devices")
    parser.add_argument("--memory-bytes", type=int, required=True)
    parser.add_argument("--resident-bytes", type=int, required=True)
    parser.add_argument("--limits", type=lambda text: Limits(**json.loads(text)), required=True)
    parser.add_argument("--log-level", required=True)
    options = parser.parse_args()
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")

    channel = WorkerChannel(socket.socket(fileno=options.socket))
    chosen = device.prepare(options.device, options.index, options.memory_bytes)
    worker = Worker(chosen, options.limits, options.resident_bytes)
    threading.Thread(target=_beat, args=(channel,), daemon=True).start()
    warmup.warm(worker)
    channel.send(0, messages.Ready(str(chosen)))
    try:
        _serve(channel, worker)
    except (EOFError, OSError):
        _LOG.info("the serving process has gone")


def _beat(channel: WorkerChannel) -> None:
    try:
        while True:
            channel.send(0, messages.Beat())
            time.sleep(BEAT_SECONDS)
    except OSError:
        return


def _serve(channel: WorkerChannel, worker: Worker) -> None:
    """Take turns among the requests: each yields after a batch; traces are made while there is none."""
    active: deque[tuple[int, Answers]] = deque()
    idle = False
    while True:
        for request, message, arrays in channel.receive(wait=idle and not active):
            if isinstance(message, messages.Cancel):
                active = deque((r, answers) for r, answers in active if r != message.request)
            else:
                active.append((request, worker.handle(message, arrays)))
        if not active:
            idle = not worker.pullbacks.work()
            continue
        request, answers = active.popleft()
        if _step(channel, worker, request, answers):
            active.append((request, answers))
        idle = False


def _step(channel: WorkerChannel, worker: Worker, request: int, answers: Answers) -> bool:
    """Send a request's next answer. Returns: whether there are more."""
    try:
        message, arrays = next(answers)
    except StopIteration:
        return False
    except errors.Problem as problem:
        channel.send(request, refusal(problem))
        return False
    except Exception as error:
        if device.is_out_of_memory(error):
            worker.free()
            short = errors.OutOfMemory("the worker has not enough memory for this graph at these inputs")
            channel.send(request, refusal(short))
        else:
            _LOG.exception("a request failed")
            channel.send(request, refusal(errors.Internal("the worker failed; its log has more")))
        return False
    channel.send(request, message, arrays)
    return isinstance(message, messages.RowsPart) and not message.last


if __name__ == "__main__":
    main()
