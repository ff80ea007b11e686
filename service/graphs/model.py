"""What a canonical model is, and reading one.

Canonical: nodes in order, local functions inlined, `Constant` nodes turned into initializers, no dead nodes, the
domain "ai.onnx" written "", intermediate values numbered, every tensor's content in `raw_data`. Whoever holds such
bytes trusts them.
"""

import difflib
from collections.abc import Collection, Iterator

import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]

from service import errors
from service.link.messages import SessionNames

OPSET = 21
"""The opset that expressions are written in, and that of a model without an operator of ai.onnx."""

OLDEST_OPSET = 1
"""The oldest opset that is read; the catalogue says for each operator from which one on."""


def load(model: bytes) -> onnx.ModelProto:
    """The model that the bytes hold.

    Raises:
        InvalidGraph: the bytes are no ModelProto.
    """
    try:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(model)
    except DecodeError as fault:
        raise errors.InvalidGraph("the bytes are not a serialized ONNX ModelProto", "/model") from fault
    return proto


def dump(model: onnx.ModelProto) -> bytes:
    """The bytes of a model, the same for equal models.

    Raises:
        TooLarge: more than protobuf can hold.
    """
    try:
        content: bytes = model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as fault:
        raise errors.TooLarge("the graph takes more than the 2 GiB of a serialized ONNX model") from fault
    return content


def opsets(model: onnx.ModelProto) -> dict[str, int]:
    """The version of each domain's operator set."""
    return {o.domain: o.version for o in model.opset_import}


def plain_domain(domain: str) -> str:
    """A domain as models here write it: ai.onnx is ""."""
    return "" if domain == "ai.onnx" else domain


def bodies(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """A node's subgraphs by attribute, in the attributes' order."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.name, attribute.g


def unread(names: SessionNames) -> set[str]:
    """Inputs that a session differentiates by and gives, whether or not the graph reads them."""
    return set(names.xs) & set(names.inputs)


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for _, body in bodies(node):
            yield from all_nodes(body)


def operator(node: onnx.NodeProto) -> str:
    """An operator's name as clients read it: the domain before it, unless it is ai.onnx."""
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def label(node: onnx.NodeProto, position: int, trail: str = "") -> str:
    """How a message names a node: by its name, else by its position."""
    name = f'"{node.name}"' if node.name else str(position)
    return f"node {name} ({operator(node)}){trail}"


def nearest(name: str, names: Collection[str]) -> str | None:
    """The name that was probably meant: the same letters in another order, else the most alike; None where none is."""
    letters = sorted(name)
    anagrams = (other for other in names if sorted(other) == letters)
    alike = difflib.get_close_matches(name, names, 1)
    return next(anagrams, None) or (alike[0] if alike else None)
