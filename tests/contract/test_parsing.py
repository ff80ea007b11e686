"""JSON in pieces is JSON: what it says and what is refused do not depend on where it is cut."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.api.parsing import loads

NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.text(st.sampled_from('ab"\\,1[]{}: '), max_size=6)
ARRAYS = st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=12), max_leaves=40)
VALUES = st.recursive(
    ARRAYS | WORDS | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=10,
)
BODIES = st.builds(
    lambda value, separators: json.dumps(value, separators=separators).encode(),
    st.dictionaries(WORDS, VALUES, max_size=4),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]),
)
PIECES = st.integers(1, 20)


def outcome(parse: Any, body: bytes) -> Any:
    try:
        return parse(body)
    except orjson.JSONDecodeError as fault:
        return str(fault)


@given(BODIES, PIECES)
@settings(max_examples=100, deadline=None)
def test_it_says_what_one_call_says(body: bytes, piece: int) -> None:
    assert loads(body, piece) == orjson.loads(body)


@given(BODIES, PIECES, st.data())
@example(b'{"x":[1,2,3,[4,5]}', 2, None)
@example(b'{"x":[1,2],[3,4]}', 1, None)
@example(b'{"x":[1,2]],"y":[3,[4,5]}', 1, None)
@example(b'{"x":[01,2,3]}', 1, None)
@example(b'{"x":[1,2,]}', 1, None)
@settings(max_examples=100, deadline=None)
def test_it_refuses_what_one_call_refuses(body: bytes, piece: int, data: Any) -> None:
    damaged = bytearray(body)
    if data is not None:
        damaged[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.sampled_from(b'[],{}"1-e. \\'))
    assert outcome(lambda text: loads(text, piece), bytes(damaged)) == outcome(orjson.loads, bytes(damaged))


@pytest.mark.parametrize("shape", [(200_000,), (400, 500), (2, 3, 40_000)], ids=str)
def test_large_arrays_are_read_in_pieces(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).standard_normal(shape)
    body = json.dumps({"inputs": {"x": array.tolist(), "label": '",[1,2'}}).encode()
    value = loads(body)
    assert value["inputs"]["label"] == '",[1,2'
    np.testing.assert_array_equal(value["inputs"]["x"], array)
