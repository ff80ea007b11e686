"""The console script `jacobian-service`: arguments, and nothing else."""

import argparse
import logging
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from service import __version__, demo
from service.api.application import openapi_document
from service.api.protocol import Http1
from service.app import create_app
from service.settings import Settings
from service.stores.sqlite import StoreUnusable

KEEP_ALIVE_SECONDS = 75
DRAIN_SECONDS = 30


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns: the exit status."""
    options = _parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jacobian-service", description="Lazy Jacobians over HTTP.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve until SIGTERM or Ctrl-C")
    serve.add_argument("--host", help="address to listen on (JACOBIAN_HOST)")
    serve.add_argument("--port", type=int, help="port to listen on, 0 for a free one (JACOBIAN_PORT)")
    serve.add_argument("--data-dir", type=Path, help="folder for graphs and sessions (JACOBIAN_DATA_DIR)")
    serve.add_argument("--workers", type=int, help="worker processes, 0 for one a GPU, else one (JACOBIAN_WORKERS)")
    serve.add_argument("--log-level", help="debug, info, warning or error (JACOBIAN_LOG_LEVEL)")
    serve.set_defaults(run=_serve)

    show = commands.add_parser("demo", help="start a server, slice the Jacobian of a robot arm, show what it took")
    show.set_defaults(run=lambda options: demo.run(sys.stdout))

    document = commands.add_parser("openapi", help="write the OpenAPI document")
    document.add_argument("file", nargs="?", type=Path, help="where to; left out, to standard output")
    document.set_defaults(run=_openapi)

    version = commands.add_parser("version", help="say the version")
    version.set_defaults(run=_version)
    return parser


def _serve(options: argparse.Namespace) -> int:
    given = {name: value for name, value in vars(options).items() if name != "run" and value is not None}
    try:
        settings = Settings(**given)
    except ValueError as error:
        sys.stderr.write(f"jacobian-service: {error}\n")
        return 2
    level = settings.log_level.upper()
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        app = create_app(settings)
    except StoreUnusable as error:
        sys.stderr.write(f"jacobian-service: {error}\n")
        return 1
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Http1,
        log_config=None,
        access_log=settings.log_level == "debug",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        server_header=False,
    )
    server = _Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _finished)
    server.run()
    return 0 if server.started else 1


def _finished(number: int, frame: object) -> None:
    """What a signal does once the server has ended because of it: uvicorn raises it again then."""


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and say where."""
        await super().startup(sockets)
        for listening in (s for server in self.servers for s in server.sockets):
            host, port = listening.getsockname()[:2]
            sys.stdout.write(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}\n")
        sys.stdout.flush()


def _openapi(options: argparse.Namespace) -> int:
    if options.file is None:
        sys.stdout.buffer.write(openapi_document())
    else:
        options.file.write_bytes(openapi_document())
    return 0


def _version(options: argparse.Namespace) -> int:
    sys.stdout.write(f"jacobian-service {__version__}\n")
    return 0
