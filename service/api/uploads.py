"""Sessions from files: a form (`multipart/form-data`) of the parts `session`, `graph` and `inputs`.

Parts larger than a megabyte wait on disk, and nothing of them stays behind, however the request ends.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from service.api.bodies import GRAPHS, SessionFiles, SessionPart
from service.api.graphs import check_graph
from service.api.reading import ApiLimits, apart, check, check_headers, parse_json, read_pieces, tensors
from service.api.responses import FORM
from service.errors import InvalidRequest, pointer
from service.tensors.files import read_arrays
from service.tensors.wire import Given

PARTS = tuple(SessionFiles.__annotations__)


@dataclass(frozen=True, slots=True)
class SessionForm:
    """A session as a form says it.

    Attributes:
        options: what the session is besides, checked.
        graph: one of the contract's forms, `model` as bytes where it was a file.
        inputs: values by name.
    """

    options: SessionPart
    graph: Mapping[str, Any]
    inputs: Mapping[str, Given]


async def read_session_form(request: Request, limits: ApiLimits) -> SessionForm:
    """Read a form.

    Raises:
        UnsupportedMediaType: it is none.
        TooLarge: the body, or an array of it, is larger than allowed.
        InvalidRequest: a broken form, an unknown, repeated or missing part, a file that cannot be read.
        Problem: what a session of JSON is refused for.
    """
    async with _parts(request, limits.body_bytes) as parts:
        size = sum(part.size or 0 if isinstance(part, UploadFile) else len(part) for part in parts.values())
        return await apart(size, lambda: _session(parts, limits))


def _session(parts: Mapping[str, UploadFile | str], limits: ApiLimits) -> SessionForm:
    said = parts.get("session", "{}")
    options = check(parse_json(said.file.read() if isinstance(said, UploadFile) else said.encode()), SessionPart)
    for name in ("graph", "inputs"):
        if (name in options) == (name in parts):
            wrong = "is given twice, as a part and in the session" if name in parts else "is missing"
            raise InvalidRequest(f"{name} {wrong}; it is a part, or in the part session", pointer("", name))
    return SessionForm(options, _graph(parts, options), _inputs(parts, options, limits))


def _graph(parts: Mapping[str, UploadFile | str], options: Mapping[str, Any]) -> Mapping[str, Any]:
    if "graph" in options:
        return check_graph(options["graph"], GRAPHS, "/graph")
    return {"format": "onnx", "model": _file(parts, "graph").file.read()}


def _inputs(
    parts: Mapping[str, UploadFile | str], options: Mapping[str, Any], limits: ApiLimits
) -> Mapping[str, Given]:
    if "inputs" in options:
        return tensors(options["inputs"], "/inputs", limits)
    return read_arrays(
        _file(parts, "inputs").file,
        "/inputs",
        elements=limits.tensor_elements,
        rank=limits.tensor_rank,
        total=limits.body_bytes,
    )


def _file(parts: Mapping[str, UploadFile | str], name: str) -> UploadFile:
    part = parts[name]
    if isinstance(part, UploadFile):
        return part
    raise InvalidRequest(f"the part {name} is a file; give it a filename", pointer("", name))


@asynccontextmanager
async def _parts(request: Request, limit: int) -> AsyncIterator[Mapping[str, UploadFile | str]]:
    """The parts of a form by name, their files open meanwhile."""
    check_headers(request, [FORM], limit)
    try:
        form = await _Parser(request, limit).parse()
    except MultiPartException as fault:
        raise InvalidRequest(f"the body is no form: {fault.message}", "") from fault
    try:
        parts: dict[str, UploadFile | str] = {}
        for name, part in form.multi_items():
            if name not in PARTS:
                raise InvalidRequest(f"there is no part {name!r}; the parts are {', '.join(PARTS)}", pointer("", name))
            if name in parts:
                raise InvalidRequest(f"the part {name} stands twice", pointer("", name))
            parts[name] = part
        yield parts
    finally:
        await form.close()


class _Parser(MultiPartParser):
    """Starlette's parser, under a limit, which also refuses a form that is cut off."""

    def __init__(self, request: Request, limit: int) -> None:
        pieces = self._whole(read_pieces(request, limit))
        count = len(PARTS)
        super().__init__(request.headers, pieces, max_files=count, max_fields=count, max_part_size=limit)
        self._ended = False

    def on_end(self) -> None:
        self._ended = True

    async def _whole(self, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for piece in pieces:
            yield piece
        if not self._ended:
            raise MultiPartException("it ends before its last boundary")
