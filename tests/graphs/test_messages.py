"""What is wrong with an expression is said where it is wrong, with what would be right."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import errors
from service.graphs.compile import compile_graph
from service.link.messages import Limits
from tests.graphs.reference import LIMITS, compiled, expression

FAULTS = {
    "1 + tahn(x)": 'unknown function "tahn" at column 5 of output "y"; did you mean "tanh"?',
    "x +": 'the expression ends at column 4 of output "y"; something is missing',
    "": 'the expression ends at column 1 of output "y"; something is missing',
    "((x)": 'the expression ends at column 5 of output "y"; "," or ")" is wanted',
    "a < b < c": "comparisons do not chain; use logical_and(a < b, b < c)",
    "a and b": "unexpected 'and' at column 3 of output \"y\"; use logical_and(a, b)",
    "not a": "use logical_not(a)",
    "a & b": "unexpected '&' at column 3 of output \"y\"; use logical_and(a, b)",
    "a ^ b": "use ** for powers",
    "a // b": "unexpected '//' at column 3 of output \"y\"; use floor(a / b)",
    "a if c else b": "use where(c, a, b)",
    "lambda: 1": "unexpected 'lambda' at column 1",
    "sum(a for a in x)": "there are no comprehensions",
    "x.sum()": "unexpected '.' at column 2 of output \"y\"; there are no attributes; write sum(x) for x.sum()",
    "a = 1": "a comparison is ==",
    "{a}": "there are no dictionaries and sets",
    "[a, b]": 'a list or tuple stands only as an argument at column 1 of output "y"; use stack([a, b])',
    "a + [1, 2]": "a list or tuple stands only as an argument at column 5",
    "'text'": "stands only as an argument",
    "None": "stands only as an argument",
    "sin('text')": "sin(): x is an array or a number",
    "x[a]": "an index is made of constant integers, slices and ... at column 3",
    "x[0.5]": "an index is made of constant integers",
    "x[True]": "an index is made of constant integers",
    "x[None]": "use expand_dims(x, axis) for a new axis",
    "x[[0, 1]]": "use take(x, indices, axis)",
    "x[::0]": "the step of a slice is not 0",
    "x[..., ...]": "at most one ...",
    "x[]": "an index is an integer, a slice or ...",
    "x[0": 'at column 4 of output "y"; "," or "]" is wanted',
    "a b": "unexpected 'b' at column 3",
    "a $ b": "unexpected '$' at column 3",
    "3x": "malformed number '3x' at column 1",
    "0x10": "malformed number '0x10'",
    "1__0": "malformed number",
    "1e999": "too large for float64",
    "9 ** 9 ** 9": "the number is too large",
    "99999999999999999999": "write it with a point, as a float",
    "-(-9223372036854775807 - 1)": "takes more than 64 bits",
    "1e308 * 10": "the number is too large for float64",
    "arange(sqrt(-1))": "arange(): start is a constant number",
    "full(2, log(0))": "full(): fill_value is a constant number",
    "1 / 0": "division by zero at column 3",
    "sin()": "sin(): missing a required argument: 'x' at column 1 of output \"y\"; it is sin(x)",
    "sin(a, b)": "sin(): too many positional arguments",
    "sum(x, axes=0)": "it is sum(x, axis=None, keepdims=False)",
    "sum(x, axis=0, axis=1)": "axis stands twice",
    "sum(axis=0, x)": "positional arguments come before keywords",
    "max(a, b)": "for the larger of two write maximum(a, b)",
    "max(x, 0.5)": "max(): axis is a constant integer or a tuple of them",
    "sum(x, keepdims=2)": "sum(): keepdims is True or False",
    "sum(x, axis=())": "sum(): axis is a constant integer or a tuple of them",
    "reshape(x, y2)": "reshape(): shape is a constant integer or a tuple of them",
    "concatenate(a, b)": "concatenate(): arrays is a list of arrays",
    "concatenate([])": "concatenate(): arrays is a list of arrays",
    "dot([[1, 2], [3]], x)": "a ragged list is no array",
    "transpose(x, (0, 0))": "[0, 0] is no order of 2 axes",
    "norm(x, 3)": "ord is 1 or 2",
    "zeros(-1)": "sizes are 0 or more",
    "arange(0, 1, 0)": "the step is not 0",
    "argmax(x, keepdims=True)": "keepdims needs an axis",
    "einsum(x, x)": "einsum(): subscripts is a string in quotes",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_is_said_with_its_column(text: str) -> None:
    with pytest.raises(errors.InvalidGraph) as raised:
        compiled(expression(y=text))
    assert FAULTS[text] in raised.value.detail
    assert raised.value.faults[0].pointer == "/outputs/y"


@pytest.mark.parametrize(
    "source",
    [{"y": "y + 1"}, {"a": "b", "b": "c", "c": "a + 1"}, {"a": "b[0]", "b": "sum(c, axis=0)", "c": "-b"}],
    ids=["itself", "three", "two-of-three"],
)
def test_outputs_in_a_cycle(source: dict[str, str]) -> None:
    with pytest.raises(errors.InvalidGraph, match=r"in a cycle: .* -> "):
        compiled(expression(**source))


@pytest.mark.parametrize(
    ("source", "pointer"),
    [
        ({"format": "expression"}, "/outputs"),
        ({"format": "expression", "outputs": {}}, "/outputs"),
        ({"format": "expression", "outputs": ["x"]}, "/outputs"),
        ({"format": "expression", "outputs": {"": "x"}}, "/outputs"),
        ({"format": "expression", "outputs": {"a/b": 1}}, "/outputs/a~1b"),
        ({"format": "python"}, "/format"),
        ({}, "/format"),
    ],
    ids=["no-outputs", "empty", "a-list", "no-name", "no-text", "another-format", "no-format"],
)
def test_malformed_sources(source: dict[str, object], pointer: str) -> None:
    with pytest.raises(errors.InvalidGraph) as raised:
        compile_graph(source, LIMITS)
    assert raised.value.faults[0].pointer == pointer


def test_unknown_members_are_refused() -> None:
    with pytest.raises(errors.InvalidGraph, match='no member "output"'):
        compiled(expression(y="x") | {"output": "y"})


def test_the_ys_of_a_session_are_no_outputs_of_an_expression() -> None:
    assert [o.name for o in compiled(expression(y="x", z="2 * x"), "z", "w").info.outputs] == ["y", "z"]


@pytest.mark.parametrize(
    "text",
    [
        "(" * 65 + "x" + ")" * 65,
        "x" + "[0" * 100,
        "abs(" * 100 + "x" + ")" * 100,
        "2 ** " * 100 + "x",
        "a ** -" * 3000 + "a",
        "[" * 5000,
    ],
    ids=["parentheses", "indices", "calls", "powers", "signed-powers", "brackets"],
)
def test_depth_is_limited(text: str) -> None:
    with pytest.raises(errors.InvalidGraph, match="nested more than 64 deep"):
        compiled(expression(y=text))


@pytest.mark.parametrize(
    "text", ["+".join("x" * 1000), "-" * 1000 + "x", "1 - " * 1000 + "x"], ids=["sum", "signs", "literals"]
)
def test_length_is_not_depth(text: str) -> None:
    compiled(expression(y=text))


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("x + x + x + x", Limits(expression_length=10)),
        ("x * x + x * x", Limits(graph_nodes=2)),
        ("ones((1000, 1000))", Limits(tensor_elements=1000)),
        ("broadcast_to(x, 10 ** 15)", LIMITS),
        ("arange(10 ** 18)", LIMITS),
        ("arange(-1e308, 1e308)", LIMITS),
        ("linspace(0, 1, 10 ** 12)", LIMITS),
    ],
    ids=["length", "nodes", "elements", "broadcast", "arange", "arange-overflow", "linspace"],
)
def test_sizes_are_limited(text: str, limits: Limits) -> None:
    with pytest.raises(errors.TooLarge):
        compile_graph(expression(y=text), limits)


MARKS = list("()[]{},:.+-*/%@<>=!&|^~'\"#$ \n")
NAMES = [
    "x",
    "y",
    "e",
    "pi",
    "sin(",
    "sum(",
    "axis=",
    "reshape(",
    "stack([",
    "clip(",
    "einsum('ij,j'",
    "if",
    "for",
    "not",
]
NUMBERS = ["1", "0", "-1", "2.5", "1e400", "None", "True", "**", "//", "...", "==", "\ud800"]


@given(text=st.text() | st.lists(st.sampled_from(MARKS + NAMES + NUMBERS), max_size=30).map("".join))
@settings(max_examples=100, deadline=None)
def test_garbage_is_a_problem_and_nothing_else(text: str) -> None:
    with suppress(errors.InvalidGraph, errors.TooLarge):
        compiled(expression(y=text))
