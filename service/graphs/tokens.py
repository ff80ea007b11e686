"""The words of expressions, and the order in which expressions that refer to each other are read."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from service import errors
from service.graphs.building import Builder, pointer

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?)
    |(?P<name>[^\W\d]\w*)
    |(?P<string>'[^'\\\n]*'|"[^"\\\n]*")
    |(?P<mark>\.\.\.|\*\*|//|==|!=|<=|>=|<<|>>|:=|.))""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A word of an expression: `number`, `name`, `string`, `mark` or `end`, and its column from 1."""

    kind: str
    text: str
    column: int


def words_of(builder: Builder, output: str, text: object) -> list[Token]:
    """An expression's tokens, the last of them `end`."""
    builder.output, builder.column = output, 1
    if not output:
        raise errors.InvalidGraph("an output has a name", "/outputs")
    if not isinstance(text, str):
        raise errors.InvalidGraph(f'the expression of output "{output}" is a string', pointer(output))
    if len(text) > builder.limits.expression_length:
        raise errors.TooLarge(
            f"the expression has {len(text)} characters; the limit is {builder.limits.expression_length}",
            pointer(output),
        )
    matches = _TOKEN.finditer(text.rstrip())
    words = [Token(str(m.lastgroup), m[str(m.lastgroup)], m.start(str(m.lastgroup)) + 1) for m in matches]
    return [*words, Token("end", "", len(text) + 1)]


def in_order(words: Mapping[str, Sequence[Token]]) -> Iterator[str]:
    """The outputs, each after those that it refers to."""
    needs = {name: _referred(tokens) & words.keys() for name, tokens in words.items()}
    done: dict[str, bool] = {}
    walk: list[tuple[str, Iterator[str]]] = []
    for root in words:
        pending: str | None = root
        while pending is not None or walk:
            if pending is None:
                name, _ = walk.pop()
                done[name] = True
                yield name
            elif pending not in done:
                done[pending] = False
                walk.append((pending, iter(sorted(needs[pending]))))
            elif not done[pending]:
                path = [name for name, _ in walk]
                around = " -> ".join([*path[path.index(pending) :], pending])
                raise errors.InvalidGraph(f"the outputs refer to each other in a cycle: {around}", "/outputs")
            pending = next(walk[-1][1], None) if walk else None


def _referred(tokens: Sequence[Token]) -> set[str]:
    """The names that stand for arrays: no function's and no keyword's."""
    pairs = pairwise(tokens)
    return {a.text for a, b in pairs if a.kind == "name" and b.text not in {"(", "="}}
