"""How requests are read: the query and JSON."""

import asyncio
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from service.api.bodies import GRAPHS, SessionCreate
from service.api.graphs import check_graph
from service.api.reading import ApiLimits, check, choice, integer, parse_json, pointer, read_body, read_query, tensors
from service.errors import InvalidRequest, Problem, TooLarge, UnsupportedMediaType

NAMES = ("y", "x", "index")


@given(st.dictionaries(st.sampled_from(NAMES), st.text(st.characters(exclude_categories=["Cs"]))))
def test_a_query_is_read_as_it_was_written(query: dict[str, str]) -> None:
    assert read_query(urlencode(query).encode(), NAMES) == query


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param(b"indx=0", "indx", id="unknown"),
        pytest.param(b"index=0&index=0", "index", id="repeated"),
        pytest.param(b"index=%ff", "UTF-8", id="not-utf-8"),
        pytest.param(b"index=\xff", "UTF-8", id="raw-bytes"),
        pytest.param(b"&".join([b"y=1"] * 1000), "too many", id="many"),
    ],
)
def test_a_query_is_refused(text: bytes, named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        read_query(text, NAMES)


def test_an_unknown_parameter_is_told_the_known_ones() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_query(b"indx=0", NAMES)
    assert all(name in refused.value.detail for name in NAMES)
    assert [fault.pointer for fault in refused.value.faults] == ["#/query/indx"]


@pytest.mark.parametrize("text", ["0", "11", "-1", "1.0", "", "one", "٣", "1" * 5000], ids=ascii)
def test_integers_have_bounds(text: str) -> None:
    with pytest.raises(InvalidRequest):
        integer({"limit": text}, "limit", 1, 10)


def test_parameters_may_be_left_out() -> None:
    assert integer({}, "limit", 1, 10) is None
    assert choice({}, "encoding", ("base64",)) is None


def test_a_choice_has_few_values() -> None:
    assert choice({"encoding": "base64"}, "encoding", ("base64",)) == "base64"
    with pytest.raises(InvalidRequest, match="base64"):
        choice({"encoding": "hex"}, "encoding", ("base64",))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"{} {}", id="trailing"),
        pytest.param(b'{"a": NaN}', id="nan-token"),
        pytest.param(b'{"a": 1e999}', id="not-finite"),
        pytest.param(b'{"a": "\xff"}', id="not-utf-8"),
        pytest.param(b'{"a": "\\ud800"}', id="lone-surrogate"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte-order-mark"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep"),
    ],
)
def test_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not JSON"):
        parse_json(body)


def test_of_equal_keys_the_last_counts() -> None:
    assert parse_json(b'{"format": "nodes", "format": "expression"}') == {"format": "expression"}


GRAPH = {"format": "expression", "outputs": {"y": "x"}}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        pytest.param({"graph": None}, "/graph", id="graph-null"),
        pytest.param({"inputs": []}, "/inputs", id="inputs-list"),
        pytest.param({"ttl_seconds": "3600"}, "/ttl_seconds", id="number-as-text"),
        pytest.param({"ttl_seconds": True}, "/ttl_seconds", id="number-as-boolean"),
        pytest.param({"ttl_seconds": 0}, "/ttl_seconds", id="zero-ttl"),
        pytest.param({"ttl_seconds": None}, "/ttl_seconds", id="null"),
        pytest.param({"batch_axis": False}, "/batch_axis", id="axis-as-boolean"),
        pytest.param({"batch_axis": 1}, "/batch_axis", id="other-axis"),
        pytest.param({"dtype": "complex64"}, "/dtype", id="dtype"),
        pytest.param({"dtype": "float64\n"}, "/dtype", id="dtype-with-newline"),
        pytest.param({"cache": "none"}, "/cache", id="cache"),
        pytest.param({"a/b~c": 1}, "/a~1b~0c", id="unknown-and-escaped"),
    ],
)
def test_a_session_is_strict(change: dict[str, object], place: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check({"graph": GRAPH, "inputs": {}, **change}, SessionCreate)
    assert place in {fault.pointer.removesuffix("/str").rsplit("/int", 1)[0] for fault in refused.value.faults}


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param({}, id="least"),
        pytest.param({"batch_axis": None, "ys": "y", "xs": ["x", "x"], "dtype": "bfloat16"}, id="some"),
        pytest.param({"batch_axis": 0, "ttl_seconds": 3600, "cache": "session", "precision": "float64"}, id="others"),
    ],
)
def test_a_session_is_read(rest: dict[str, object]) -> None:
    body = {"graph": GRAPH, "inputs": {"x": [1, 2]}, **rest}
    assert check(body, SessionCreate) == body


@pytest.mark.parametrize(
    ("graph", "place"),
    [
        pytest.param([], "/graph", id="list"),
        pytest.param({}, "/graph/format", id="no-format"),
        pytest.param({"format": ["nodes"]}, "/graph/format", id="format-is-list"),
        pytest.param({"format": "expression"}, "/graph/outputs", id="no-outputs"),
        pytest.param({"format": "expression", "outputs": {"a/b": 1}}, "/graph/outputs/a~1b", id="no-text"),
        pytest.param({"format": "nodes", "opset": 21, "nodes": [{"op": "Add"}]}, "/graph/nodes/0/outputs", id="node"),
        pytest.param({"format": "onnx", "model": ""} | {"x": 1}, "/graph/x", id="unknown"),
    ],
)
def test_a_graph_is_strict(graph: object, place: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_graph(graph, GRAPHS, "/graph")
    assert [fault.pointer for fault in refused.value.faults] == [place]


def body_of(chunks: list[bytes], headers: dict[str, str], limit: int) -> bytes:
    """What is read of a request whose body comes in chunks."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        return messages.pop(0)

    scope = {"type": "http", "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()]}
    return asyncio.run(read_body(Request(scope, receive), ["application/json"], limit))


JSON = {"Content-Type": "Application/JSON; charset=utf-8"}


def test_a_body_is_read_to_its_end() -> None:
    assert body_of([b"{", b"", b"}"], JSON, 2) == b"{}"


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        pytest.param(JSON, TooLarge, id="chunked"),
        pytest.param({**JSON, "Content-Length": "3"}, TooLarge, id="declared"),
        pytest.param({**JSON, "Content-Encoding": "gzip"}, UnsupportedMediaType, id="encoded"),
        pytest.param({"Content-Type": "text/json"}, UnsupportedMediaType, id="other"),
        pytest.param({}, UnsupportedMediaType, id="none"),
    ],
)
def test_a_body_is_refused(headers: dict[str, str], refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        body_of([b"{}", b" "], headers, 2)


def test_tensors_have_places() -> None:
    with pytest.raises(Problem) as refused:
        tensors({"a/b": [1, None]}, "/inputs", ApiLimits())
    assert [fault.pointer for fault in refused.value.faults] == ["/inputs/a~1b/1"]


def test_pointers_are_escaped() -> None:
    assert pointer("/inputs", "a/b~c", 0) == "/inputs/a~1b~0c/0"
