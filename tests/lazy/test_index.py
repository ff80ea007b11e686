import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import errors
from service.lazy.index import DIGITS_LIMIT, LENGTH_LIMIT, parse, whole


@pytest.mark.parametrize(
    ("text", "index"),
    [
        pytest.param("0", (0,), id="integer"),
        pytest.param("-5", (-5,), id="negative"),
        pytest.param("-0", (0,), id="minus-zero"),
        pytest.param("()", (), id="empty-tuple"),
        pytest.param(" ( ) ", (), id="empty-tuple-blanks"),
        pytest.param("0,", (0,), id="trailing-comma"),
        pytest.param("...", (...,), id="ellipsis"),
        pytest.param("0, ..., 1", (0, ..., 1), id="ellipsis-between"),
        pytest.param(":", (slice(None),), id="colon"),
        pytest.param("::", (slice(None),), id="two-colons"),
        pytest.param("1:4", (slice(1, 4),), id="start-stop"),
        pytest.param("1::2", (slice(1, None, 2),), id="start-step"),
        pytest.param("::-1", (slice(None, None, -1),), id="backwards"),
        pytest.param(":-2,1", (slice(None, -2), 1), id="stop-and-integer"),
        pytest.param("[0,2,5],:", ([0, 2, 5], slice(None)), id="list"),
        pytest.param("[-1,]", ([-1],), id="list-trailing-comma"),
        pytest.param("[]", ([],), id="empty-list"),
        pytest.param("0,:,[0,2]", (0, slice(None), [0, 2]), id="integer-beside-list"),
        pytest.param(" 1 : 4 ,\t[ 0 , - 2 ]\n", (slice(1, 4), [0, -2]), id="blanks-everywhere"),
        pytest.param("9" * DIGITS_LIMIT, (10**DIGITS_LIMIT - 1,), id="longest-integer"),
    ],
)
def test_reads(text, index):
    assert parse(text) == index


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("", "nothing at the end", id="empty"),
        pytest.param("   ", "nothing at the end", id="blank"),
        pytest.param(",", "',' at position 1", id="comma-alone"),
        pytest.param("0,,1", "',' at position 3", id="two-commas"),
        pytest.param("0 1", "'1' at position 3", id="no-comma"),
        pytest.param("1-2", "'-2' at position 2", id="arithmetic"),
        pytest.param("--1", "'-' at position 1", id="two-minuses"),
        pytest.param("+1", "'+1' at position 1", id="plus"),
        pytest.param("01", "'01' at position 1", id="leading-zero"),
        pytest.param("1_000", "'1_000' at position 1", id="underscore"),
        pytest.param("0x1", "'0x1' at position 1", id="hexadecimal"),
        pytest.param("٣", "'٣' at position 1", id="arabic-digit"),
        pytest.param("1\u00a0", "at position 1", id="no-break-space"),
        pytest.param("True", "'True' at position 1", id="true"),
        pytest.param("False", "'False' at position 1", id="false"),
        pytest.param("[True, False, True]", "'True' at position 2", id="mask"),
        pytest.param("None", "'None' at position 1", id="none"),
        pytest.param(":, None", "'None' at position 4", id="none-second"),
        pytest.param("None:2", "'None' at position 1", id="none-start"),
        pytest.param("1.0", "'1.0' at position 1", id="float"),
        pytest.param("0.5:2", "'0.5' at position 1", id="float-start"),
        pytest.param("1:2.0", "'2.0' at position 3", id="float-stop"),
        pytest.param("'0'", "\"'0'\" at position 1", id="quoted"),
        pytest.param("....", "'....' at position 1", id="four-dots"),
        pytest.param("..", "'..' at position 1", id="two-dots"),
        pytest.param("..., ...", "a second '...' at position 6", id="two-ellipses"),
        pytest.param("::0", "a step of zero at position 3", id="step-zero"),
        pytest.param("1:2:-0", "a step of zero at position 5", id="step-minus-zero"),
        pytest.param("1:2:3:4", "':' at position 6", id="three-colons"),
        pytest.param("[0", "nothing at the end", id="list-open"),
        pytest.param("[0,,1]", "',' at position 4", id="list-two-commas"),
        pytest.param("[,]", "',' at position 2", id="list-comma-alone"),
        pytest.param("[0 1]", "'1' at position 4", id="list-no-comma"),
        pytest.param("0]", "']' at position 2", id="list-closed-only"),
        pytest.param("[[0]]", "'[' at position 2", id="nested-list"),
        pytest.param("[0:2]", "':' at position 3", id="slice-in-list"),
        pytest.param("[0],[1]", "a second list at position 5", id="two-lists"),
        pytest.param("(0,)", "'(' at position 1", id="tuple"),
        pytest.param("(),", "'(' at position 1", id="empty-tuple-comma"),
        pytest.param("9" * (DIGITS_LIMIT + 1), f"{DIGITS_LIMIT + 1} digits at position 1", id="long-integer"),
        pytest.param("__import__('os')", "'__import__' at position 1", id="code"),
    ],
)
def test_refuses_with_the_position(text, told):
    with pytest.raises(errors.InvalidIndex) as caught:
        parse(text)
    assert told in caught.value.detail


def test_refuses_a_long_text():
    with pytest.raises(errors.InvalidIndex, match=f"the limit is {LENGTH_LIMIT}"):
        parse(" " * (LENGTH_LIMIT + 1))


@pytest.mark.parametrize("word", [" ", "-", "[", ":", "- ", ",", "x"], ids=repr)
def test_long_nonsense_is_refused_at_once(word):
    with pytest.raises(errors.InvalidIndex):
        parse(word * (LENGTH_LIMIT // len(word)))


def test_reads_a_long_list():
    numbers = list(range(10_000))
    assert parse(f"[{','.join(map(str, numbers))}]") == (numbers,)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)], ids=str)
def test_an_index_left_out_is_the_whole_block(shape):
    block = np.arange(np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(block[parse(whole(shape))], block)


@given(st.text(st.sampled_from("0123456789-:,[]. ()NT"), max_size=20))
@settings(max_examples=100, deadline=None)
def test_what_is_read_is_what_python_reads(text):
    """Whatever is accepted means in Python just the same, evaluated between NumPy's brackets."""
    try:
        index = parse(text)
    except errors.InvalidIndex:
        return

    class Brackets:
        def __getitem__(self, item):
            return item if isinstance(item, tuple) else (item,)

    assert eval(f"brackets[{text.strip()}]", {"brackets": Brackets()}) == index
