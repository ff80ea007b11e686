"""Writes the pages that are made from the code: `make docs`."""

import inspect
from pathlib import Path

from service.catalogue import EXPRESSION, FAMILIES, INSTEAD, Operator
from service.graphs.functions import SECTIONS, usage

OPERATORS = Path(__file__).parent / "operators.md"
EXPRESSIONS = Path(__file__).parent / "expressions.md"
INTRODUCTION = """# Operators

Graphs may have these operators. `GET /v1/operators` answers the same as JSON.

- **Opsets** are the versions at which an operator's meaning changes; the first is the oldest that is understood. A
  node is read by the version that its model imports.
- **Differentiable** says whether a gradient flows through any of the inputs. Elsewhere it is zero: through comparisons,
  rounding, integers.
- Operators of other domains than ONNX's own are written with theirs: `com.microsoft.Gelu`.
- dtypes are ONNX's for that version, of which the service has `float16`, `bfloat16`, `float32`, `float64`, `int8`,
  `int16`, `int32`, `int64`, `uint8` and `bool`.

This page is made by `make docs` from the table that the service checks graphs against.
"""
REFUSALS = """
## What to do instead

A graph with any other operator is refused with `unsupported-operator`, which names every such node. For these the
answer also says what to do instead.

| operator | instead |
| --- | --- |
"""
FUNCTIONS = """## Functions

Names are NumPy's, else PyTorch's. From here on this page is made by `make docs` from the table by which calls are
checked.
"""


def operators_page() -> str:
    """`operators.md`: the catalogue, family by family, then advice for what is refused."""
    families = {name: [o for o in family if o.domain != EXPRESSION] for name, family in FAMILIES.items()}
    sections = "".join(_section(name, family) for name, family in families.items() if family)
    return INTRODUCTION + sections + REFUSALS + "".join(f"| `{op}` | {advice} |\n" for op, advice in INSTEAD.items())


def _section(name: str, family: list[Operator]) -> str:
    title = "ai.onnx.ml" if name == "ml" else name.replace("_", " ").capitalize()
    head = f"\n## {title}\n\n| operator | opsets | differentiable | not supported |\n| --- | --- | --- | --- |\n"
    return head + "".join(_row(o) for o in family)


def _row(operator: Operator) -> str:
    name = ".".join(filter(None, (operator.domain, operator.name)))
    versions = ", ".join(map(str, operator.versions))
    return f"| `{name}` | {versions} | {'yes' if operator.differentiable else 'no'} | {operator.unsupported} |\n"


def expressions_page() -> str:
    """`expressions.md`: what is written there before the functions, then the functions, section by section."""
    written, _, _ = EXPRESSIONS.read_text().partition(FUNCTIONS.splitlines()[0])
    head = "| function | synonyms | meaning |\n| --- | --- | --- |\n"
    sections = (
        f"\n### {title}\n\n{head}"
        + "".join(_call(names.split(), function.__doc__) for names, function in section.items())
        for title, section in SECTIONS.items()
    )
    return written + FUNCTIONS + "".join(sections)


def _call(names: list[str], docstring: str | None) -> str:
    first, *synonyms = names
    meaning = inspect.cleandoc(docstring or "").splitlines()[0].removesuffix(".")
    return f"| `{usage(first)}` | {', '.join(f'`{name}`' for name in synonyms)} | {meaning} |\n"


if __name__ == "__main__":
    OPERATORS.write_text(operators_page())
    EXPRESSIONS.write_text(expressions_page())
