"""The expression language: infix notation over named arrays, read by recursive descent and built as it is read.

Nothing is executed: a name is an array, a function is one of the table in `functions`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import onnx

from service import errors
from service.graphs import arrays, elementwise, functions
from service.graphs.building import Builder, Number, Value, literal
from service.graphs.functions import Argument
from service.graphs.model import unread
from service.graphs.tokens import Token, in_order, words_of
from service.link.messages import Limits, SessionNames

MEMBERS = ("format", "outputs")
CONSTANTS = {"pi": math.pi, "e": math.e}
TRUTHS = {"True": True, "False": False}

_LEVELS = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2, "@": 2}
_FOLDS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "%": lambda a, b: a % b,
}
_ADVICE = {
    "//": "use floor(a / b)",
    "&": "use logical_and(a, b)",
    "|": "use logical_or(a, b)",
    "~": "use logical_not(a)",
    "^": "use ** for powers",
    "and": "use logical_and(a, b)",
    "or": "use logical_or(a, b)",
    "not": "use logical_not(a)",
    "if": "use where(c, a, b)",
    "else": "use where(c, a, b)",
    "for": "there are no comprehensions; write the elements out",
    "lambda": "there are no functions but those of the table",
    "None": "use expand_dims(x, axis) for a new axis",
    "=": "a comparison is ==",
    ":=": "give it a name as an output of its own",
    ".": "there are no attributes; write sum(x) for x.sum()",
    "{": "there are no dictionaries and sets",
    "!": "use logical_not(a)",
}
_KEYWORDS = frozenset({"and", "or", "not", "if", "else", "for", "lambda", "in", "is", "None", "await", "yield"})


def read(source: Mapping[str, Any], limits: Limits, names: SessionNames) -> onnx.ModelProto:
    """The model of an `expression` graph. Names that are not outputs are its inputs; both are sorted by name.

    Args:
        source: `{"format": "expression", "outputs": {name: expression}}`.
        limits: for length, nesting and nodes.
        names: a session's; its `inputs` are inputs even if they are called as a constant.

    Raises:
        InvalidGraph: anything that is not the language, with the column.
        TooLarge: an expression that is too long or takes too many nodes.
    """
    for member in source:
        if member not in MEMBERS:
            raise errors.InvalidGraph(f'an expression has no member "{member}"; it has {", ".join(MEMBERS)}')
    given = source.get("outputs")
    if not isinstance(given, dict) or not given:
        raise errors.InvalidGraph('an expression graph has "outputs": {"y": "sin(x)"}', "/outputs")
    hiding = {*names.inputs, *given}
    constants = {name: literal(v) for name, v in CONSTANTS.items() if name not in hiding}
    builder = Builder(limits, frozenset(given))
    words = {name: words_of(builder, name, given[name]) for name in sorted(given)}
    values: dict[str, Value] = {}
    inputs = unread(names) - set(given)

    def value_of(name: str) -> Value:
        if name not in values and name not in constants:
            inputs.add(name)
        return values.get(name) or constants.get(name) or Value(name)

    for name in in_order(words):
        builder.output = name
        values[name] = _Parser(builder, words[name], value_of).whole()
    return builder.finish(sorted(inputs), {name: values[name] for name in words})


@dataclass(slots=True)
class _Parser:
    builder: Builder
    words: Sequence[Token]
    value_of: Callable[[str], Value]
    at: int = 0
    depth: int = 0

    def whole(self) -> Value:
        """The value of the whole expression."""
        value = self.value(self.expression)
        if self.next.kind != "end":
            raise self.unexpected()
        return value

    # --- words

    @property
    def next(self) -> Token:
        return self.words[self.at]

    def take(self) -> Token:
        token = self.next
        self.at += 1
        return token

    def skip(self, mark: str) -> bool:
        """Whether the next word is that mark; it is then passed."""
        found = self.next.kind == "mark" and self.next.text == mark
        self.at += found
        return found

    def unexpected(self, wanted: str = "") -> errors.InvalidGraph:
        """The problem that the next word cannot stand here."""
        self.builder.column = self.next.column
        if self.next.kind == "end":
            return self.builder.fault("the expression ends", wanted or "something is missing")
        return self.builder.fault(f"unexpected {self.next.text!r}", _ADVICE.get(self.next.text, wanted))

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """One level of nesting."""
        if self.depth >= self.builder.limits.graph_depth:
            self.builder.column = self.next.column
            raise self.builder.fault(f"nested more than {self.depth} deep", "give parts a name as outputs of their own")
        self.depth += 1
        yield
        self.depth -= 1

    def value(self, parse: Callable[[], Argument]) -> Value:
        """What is parsed, as an array."""
        token = self.next
        return self.operand(parse(), token)

    def operand(self, argument: Argument, token: Token) -> Value:
        """An argument as an array: lists, tuples, strings and None are none."""
        if isinstance(argument, Value):
            return argument
        self.builder.column = token.column
        if isinstance(argument, list):
            raise self.builder.fault("a list or tuple stands only as an argument", "use stack([a, b])")
        raise self.builder.fault(f"{argument!r} stands only as an argument", _ADVICE.get(str(argument), ""))

    # --- grammar, loosest first

    def expression(self) -> Argument:
        token = self.next
        left = self.terms(1)
        if self.next.text not in functions.COMPARISONS:
            return left
        mark = self.take()
        right = self.value(partial(self.terms, 1))
        self.builder.column = mark.column
        value = functions.COMPARISONS[mark.text](self.builder, self.operand(left, token), right)
        if self.next.text in functions.COMPARISONS:
            raise self.unexpected("comparisons do not chain; use logical_and(a < b, b < c)")
        return value

    def terms(self, level: int) -> Argument:
        token = self.next
        left = self.signed()
        while self.next.kind == "mark" and _LEVELS.get(self.next.text, 0) >= level:
            mark = self.take()
            right = self.value(partial(self.terms, _LEVELS[mark.text] + 1))
            left = self.operate(mark, self.operand(left, token), right)
        return left

    def signed(self) -> Argument:
        signs: list[Token] = []
        while self.next.kind == "mark" and self.next.text in {"+", "-"}:
            signs.append(self.take())
        if not signs:
            return self.power()
        value = self.value(self.power)
        for sign in reversed(signs):
            if sign.text == "-":
                self.builder.column = sign.column
                value = elementwise.negative(self.builder, value)
        return value

    def power(self) -> Argument:
        token = self.next
        base = self.indexed()
        if not (self.next.kind == "mark" and self.next.text == "**"):
            return base
        mark = self.take()
        with self.deeper():
            exponent = self.value(self.signed)
        return self.operate(mark, self.operand(base, token), exponent)

    def indexed(self) -> Argument:
        token = self.next
        value = self.primary()
        while self.next.kind == "mark" and self.next.text in {"[", "."}:
            if self.next.text == ".":
                raise self.unexpected()
            mark = self.take()
            with self.deeper():
                entries = self.index()
            self.builder.column = mark.column
            value = arrays.index(self.builder, self.operand(value, token), entries)
        return value

    def primary(self) -> Argument:
        token = self.next
        match token.kind:
            case "number":
                return self.number()
            case "string":
                return self.take().text[1:-1]
            case "name" if token.text in _KEYWORDS and token.text != "None":
                raise self.unexpected()
            case "name":
                self.take()
                if self.skip("("):
                    with self.deeper():
                        return self.call(token)
                return self.named(token)
            case "mark" if token.text in {"(", "["}:
                self.take()
                with self.deeper():
                    return self.grouped(")" if token.text == "(" else "]")
        raise self.unexpected()

    def number(self) -> Value:
        token = self.take()
        self.builder.column = token.column
        if self.next.kind in {"name", "number"} and self.next.column == token.column + len(token.text):
            raise self.builder.fault(f"malformed number {token.text + self.next.text!r}")
        try:
            number: Number = float(token.text) if set(".eE") & set(token.text) else int(token.text)
        except ValueError as fault:
            raise self.builder.fault(f"malformed number {token.text[:40]!r}") from fault
        return self.builder.literal(number)

    def named(self, token: Token) -> Argument:
        if token.text == "None":
            return None
        if token.text in TRUTHS:
            return literal(TRUTHS[token.text])
        return self.value_of(token.text)

    def grouped(self, closing: str) -> Argument:
        """What stands in parentheses or brackets: a value, or with a comma (or in brackets) a list."""
        items, commas = self.items(closing)
        if closing == ")" and len(items) == 1 and not commas:
            return items[0]
        return items

    def items(self, closing: str) -> tuple[list[Argument], int]:
        items: list[Argument] = []
        commas = 0
        while not self.skip(closing):
            items.append(self.expression())
            if self.skip(","):
                commas += 1
            elif self.next.text != closing:
                raise self.unexpected(f'"," or "{closing}" is wanted')
        return items, commas

    def call(self, token: Token) -> Value:
        """The rest of a call, after its opening parenthesis."""
        if token.text not in functions.FUNCTIONS:
            self.builder.column = token.column
            raise self.builder.unknown("function", token.text, list(functions.FUNCTIONS))
        positional: list[Argument] = []
        named: dict[str, Argument] = {}
        while not self.skip(")"):
            following = self.words[self.at + 1] if self.next.kind == "name" else None
            if following is not None and following.text == "=":
                name = self.take().text
                self.take()
                if name in named:
                    raise self.unexpected(f"{name} stands twice")
                named[name] = self.expression()
            elif named:
                raise self.unexpected("positional arguments come before keywords")
            else:
                positional.append(self.expression())
            if not self.skip(",") and self.next.text != ")":
                raise self.unexpected('"," or ")" is wanted')
        self.builder.column = token.column
        return functions.call(self.builder, token.text, positional, named)

    def index(self) -> list[arrays.Entry]:
        """The entries of an index, after its opening bracket."""
        entries: list[arrays.Entry] = []
        while not self.skip("]"):
            entries.append(self.entry())
            if not self.skip(",") and self.next.text != "]":
                raise self.unexpected('"," or "]" is wanted')
        if not entries:
            raise self.builder.fault("an empty index", "an index is an integer, a slice or ...")
        return entries

    def entry(self) -> arrays.Entry:
        if self.skip("..."):
            return ...
        bounds = [self.bound()]
        while len(bounds) < 3 and self.skip(":"):
            bounds.append(self.bound())
        if len(bounds) > 1:
            return slice(*bounds)
        if bounds[0] is None:
            raise self.unexpected("an index is an integer, a slice or ...")
        return bounds[0]

    def bound(self) -> int | None:
        """A constant integer, None where there is none before the next mark."""
        if self.next.text in {":", ",", "]"}:
            return None
        token = self.next
        value = self.expression()
        if isinstance(value, Value) and type(value.literal) is int:
            return value.literal
        self.builder.column = token.column
        advice = _ADVICE["None"] if value is None else "use take(x, indices, axis) for others"
        raise self.builder.fault("an index is made of constant integers, slices and ...", advice)

    # --- numbers

    def operate(self, mark: Token, left: Value, right: Value) -> Value:
        self.builder.column = mark.column
        if left.literal is not None and right.literal is not None and mark.text != "@":
            return self.fold(mark.text, left.literal, right.literal)
        return functions.OPERATORS[mark.text](self.builder, left, right)

    def fold(self, mark: str, left: Number, right: Number) -> Value:
        """Literal arithmetic, which makes a literal again."""
        try:
            if mark == "**":
                return self.builder.literal(_power(left, right))
            return self.builder.literal(_FOLDS[mark](left, right))
        except ZeroDivisionError as fault:
            raise self.builder.fault("division by zero") from fault
        except OverflowError as fault:
            raise self.builder.fault("the number is too large") from fault


def _power(base: Number, exponent: Number) -> Number:
    """Python's power; NaN for a negative base with a fraction as exponent."""
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        if exponent * (abs(base).bit_length() - 1) > 64:
            raise OverflowError
        return int(base**exponent)
    result: float | complex = float(base) ** float(exponent)
    return math.nan if isinstance(result, complex) else result
