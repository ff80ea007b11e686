"""Sessions from files."""

import io
import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from starlette.requests import Request

from service.api.reading import ApiLimits
from service.api.uploads import SessionForm, read_session_form
from service.errors import TooLarge
from tests.contract.conftest import OpenSession
from tests.contract.problems import check_problem

W = np.arange(6.0, dtype=np.float32).reshape(2, 3)
X = np.ones(3, np.float32)
BOUNDARY = "limit"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def model() -> bytes:
    """y = W @ x in float32."""
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in [("W", [2, 3]), ("x", [3])]
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])]
    graph = helper.make_graph([helper.make_node("MatMul", ["W", "x"], ["y"])], "g", inputs, outputs)
    made: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString()
    return made


MODEL = model()
EXPRESSION = {"format": "expression", "outputs": {"y": "W @ x"}}


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


TENSORS = safetensors.numpy.save({"W": W, "x": X})
FILES: dict[str, Any] = {"graph": ("model.onnx", MODEL), "inputs": ("inputs.npz", npz(W=W, x=X))}
OPTIONS: dict[str, Any] = {"xs": ["x"], "label": "from files"}


def said(value: Any) -> tuple[None, str, str]:
    return (None, json.dumps(value), "application/json")


def refusal(answer: httpx.Response, name: str, pointer: str | None = None) -> str:
    problem = check_problem(answer, name)
    assert [fault["pointer"] for fault in problem.get("errors", [])] == ([] if pointer is None else [pointer])
    detail: str = problem["detail"]
    return detail


@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/sessions/files"])
@pytest.mark.parametrize("inputs", [FILES["inputs"][1], TENSORS], ids=["npz", "safetensors"])
def test_a_session_is_opened_from_files(client: httpx.Client, path: str, inputs: bytes) -> None:
    parts = {"session": said(OPTIONS), "graph": FILES["graph"], "inputs": ("inputs", inputs)}
    answer = client.post(path, files=parts)
    assert answer.status_code == 201, answer.text
    session = answer.json()
    assert answer.headers["location"] == f"/v1/sessions/{session['id']}"
    assert answer.headers["etag"] == '"1"'
    assert session["label"] == "from files"
    assert [(block["y"], block["x"]) for block in session["jacobians"]] == [("y", "x")]
    block = client.get(f"/v1/sessions/{session['id']}/jacobian.npy")
    np.testing.assert_array_equal(np.load(io.BytesIO(block.content)), W, strict=True)


FORMS: dict[str, dict[str, Any]] = {
    "all-said": {"session": said({"graph": EXPRESSION, "inputs": {"W": W.tolist(), "x": [1, 1, 1]}})},
    "graph-said": {"session": said({"graph": EXPRESSION}), "inputs": ("inputs", npz(W=W, x=X))},
    "inputs-said": {"session": said({"inputs": {"W": W.tolist(), "x": [1, 1, 1]}}), "graph": FILES["graph"]},
    "no-options": FILES,
    "session-as-a-file": {"session": ("session.json", json.dumps(OPTIONS)), **FILES},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_what_is_no_file_may_be_said(client: httpx.Client, form: dict[str, Any]) -> None:
    answer = client.post("/v1/sessions/files", files=form)
    assert answer.status_code == 201, answer.text
    output = client.get(f"/v1/sessions/{answer.json()['id']}/outputs/y").json()
    assert output["data"] == [3.0, 12.0]


def test_files_and_json_open_the_same_session(client: httpx.Client, open_session: OpenSession) -> None:
    form = client.post("/v1/sessions", files=FILES).json()
    by_id = {"format": "ref", "graph_id": form["graph_id"]}
    said = open_session({"graph": by_id, "inputs": {"W": W.tolist(), "x": X.tolist()}})
    for member in ("graph_id", "inputs", "outputs"):
        assert said[member] == form[member]


@pytest.mark.parametrize(
    ("form", "pointer", "words"),
    [
        pytest.param({"inputs": FILES["inputs"]}, "/graph", "graph is missing", id="no-graph"),
        pytest.param({"graph": FILES["graph"]}, "/inputs", "inputs is missing", id="no-inputs"),
        pytest.param({**FILES, "session": said({"graph": EXPRESSION})}, "/graph", "twice", id="graph-twice"),
        pytest.param({**FILES, "session": said({"inputs": {}})}, "/inputs", "twice", id="inputs-twice"),
        pytest.param({**FILES, "weights": ("w", b"")}, "/weights", "the parts are session", id="unknown-part"),
        pytest.param({**FILES, "session": said({"xz": "x"})}, "/xz", "no such property", id="unknown-property"),
        pytest.param({**FILES, "session": said([])}, "", "object", id="session-not-object"),
        pytest.param({**FILES, "session": (None, "{")}, "", "not JSON", id="session-not-json"),
        pytest.param({**FILES, "inputs": (None, "text")}, "/inputs", "filename", id="inputs-not-a-file"),
        pytest.param({**FILES, "inputs": ("i", b"noise")}, "/inputs", "neither", id="inputs-of-noise"),
        pytest.param({**FILES, "inputs": ("i", npz(x=X))}, "/inputs/W", "W", id="input-missing"),
        pytest.param({**FILES, "inputs": ("i", npz(W=W, x=X, z=X))}, "/inputs/z", "z", id="input-unknown"),
        pytest.param({**FILES, "inputs": ("i", npz(W=W, x=X * 1j))}, "/inputs/x", "<c8", id="input-complex"),
        pytest.param(
            {**FILES, "inputs": ("i", npz(W=W, x=X.astype("f8")))}, "/inputs/x/dtype", "float32 is", id="input-float64"
        ),
    ],
)
def test_a_form_that_says_something_wrong(client: httpx.Client, form: Any, pointer: str, words: str) -> None:
    answer = client.post("/v1/sessions/files", files=form)
    assert words in refusal(answer, "invalid-request", pointer)


def test_shapes_and_graphs_are_checked(client: httpx.Client) -> None:
    short = {**FILES, "inputs": ("i", npz(W=W, x=X[:2]))}
    refusal(client.post("/v1/sessions", files=short), "shape-mismatch", "/inputs/x")
    noise = {**FILES, "graph": ("g", b"noise")}
    check_problem(client.post("/v1/sessions", files=noise), "invalid-graph")


def part(name: str, content: bytes, disposition: str = "form-data; filename=f") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: {disposition}; name="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
WHOLE = part("session", json.dumps(OPTIONS).encode()) + part("graph", MODEL) + part("inputs", TENSORS) + END


def post(client: httpx.Client, content: bytes, kind: str = MULTIPART) -> httpx.Response:
    return client.post("/v1/sessions/files", content=content, headers={"Content-Type": kind})


def test_the_whole_body_opens_a_session(client: httpx.Client) -> None:
    assert post(client, WHOLE).status_code == 201


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "last boundary", id="nothing"),
        pytest.param(b"noise", "no form", id="noise"),
        pytest.param(WHOLE[: -len(END)], "last boundary", id="no-end"),
        pytest.param(WHOLE[:-300], "last boundary", id="cut-off"),
        pytest.param(part("graph", MODEL) * 2 + END, "stands twice", id="part-twice"),
        pytest.param(part("graph", b"") * 4 + END, "Too many files", id="many-files"),
        pytest.param(part("session", b"{}", "form-data") * 4 + END, "Too many fields", id="many-fields"),
        pytest.param(f"--{BOUNDARY}\r\n\r\n{{}}\r\n".encode() + END, '"name" must', id="part-without-name"),
    ],
)
def test_a_form_that_is_broken(client: httpx.Client, content: bytes, words: str) -> None:
    assert words in check_problem(post(client, content), "invalid-request")["detail"]


def test_a_form_has_a_boundary_and_is_a_form(client: httpx.Client) -> None:
    assert "boundary" in refusal(post(client, WHOLE, "multipart/form-data"), "invalid-request", "")
    assert "multipart/form-data" in refusal(post(client, WHOLE, "application/json"), "unsupported-media-type")


@given(at=st.integers(0, len(WHOLE) - 1), value=st.integers(0, 255))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_form_is_refused_or_opens(client: httpx.Client, at: int, value: int) -> None:
    content = bytearray(WHOLE)
    content[at] = value
    assert post(client, bytes(content)).status_code in {201, 413, 415, 422}


def open_files(pid: int) -> set[str]:
    """The temporary files that a process holds open."""
    links = (link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir())
    return {str(link) for link in links if str(link).startswith("/tmp/") and "(deleted)" in str(link)}


@pytest.mark.parametrize("end", ["refused", "left"])
def test_no_temporary_file_stays(client: httpx.Client, server: Any, end: str) -> None:
    """Files above a megabyte wait on disk; they are gone when the request is, however it ends."""
    before = open_files(server.pid)
    large = part("inputs", bytes(3 * 2**20))
    if end == "refused":
        check_problem(post(client, large + part("weights", b"") + END), "invalid-request")
    else:
        url = httpx.URL(server.url)
        with socket.create_connection((url.host, url.port or 80)) as connection:
            headers = (
                "POST /v1/sessions/files HTTP/1.1",
                "Host: h",
                f"Content-Type: {MULTIPART}",
                "Content-Length: 9999999",
            )
            connection.sendall("\r\n".join((*headers, "", "")).encode() + large[:-2])
    deadline = time.monotonic() + 30
    while not open_files(server.pid) <= before:
        assert time.monotonic() < deadline
        time.sleep(0.1)


async def read(content: bytes, limit: int) -> SessionForm:
    """What is made of a body without a declared length, of pieces of 100 bytes."""
    pieces = [content[start : start + 100] for start in range(0, len(content), 100)]
    messages = iter([{"type": "http.request", "body": piece, "more_body": True} for piece in pieces])

    async def receive() -> Any:
        return next(messages, {"type": "http.request", "body": b"", "more_body": False})

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", MULTIPART.encode())]}
    return await read_session_form(Request(scope, receive), ApiLimits(body_bytes=limit))


async def test_the_limit_of_a_body_holds_while_it_comes_in() -> None:
    form = await read(WHOLE, len(WHOLE))
    assert form.options == OPTIONS
    np.testing.assert_array_equal(form.inputs["W"].array, W)
    with pytest.raises(TooLarge, match="the limit"):
        await read(WHOLE, len(WHOLE) - 1)


async def test_what_files_unpack_to_has_the_limit_of_a_body() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, x=np.zeros(10_000))
    with pytest.raises(TooLarge, match="20000 bytes together"):
        await read(part("graph", MODEL) + part("inputs", file.getvalue()) + END, 20_000)
