"""What a client does, with the package that openapi-python-client writes: python solver.py URL."""

import json
import sys
from base64 import b64decode

import numpy as np
from jacobian_client import Client
from jacobian_client.api.graphs import register_graph
from jacobian_client.api.jacobians import evaluate_slices, get_jacobian, get_jacobian_bytes
from jacobian_client.api.sessions import create_session, delete_session, get_session
from jacobian_client.models import (
    Encoding,
    ExpressionGraph,
    ExpressionGraphOutputs,
    GraphRef,
    Problem,
    SessionCreate,
    SessionCreateInputs,
    SliceRequest,
    SlicesRequest,
    SlicesRequestAt,
    SlicesRequestInputs,
)

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)


def values(mapping, **names):
    """One of the client's maps of names, filled."""
    mapping.additional_properties = names
    return mapping


def array(data, shape):
    return np.array(data, float).reshape(shape)


def plain(numbers):
    return ["NaN" if np.isnan(number) else number for number in numbers]


graph = register_graph.sync(
    client=client,
    body=ExpressionGraph(
        format_="expression", outputs=values(ExpressionGraphOutputs(), r="W @ x**2 - c", root="sqrt(x)")
    ),
)
session = create_session.sync(
    client=client,
    body=SessionCreate(
        graph=GraphRef(format_="ref", graph_id=graph.graph_id),
        inputs=values(SessionCreateInputs(), W=[[2, 1], [1, 3]], c=[17, 31], x=[1, -1]),
        xs="x",
    ),
)
row = get_jacobian.sync(session.id, client=client, y="r", index="1,:")
nan = get_jacobian.sync(session.id, client=client, y="root", index="1,:", encoding=Encoding.BASE64)
block = get_jacobian_bytes.sync(session.id, client=client, y="r")
several = evaluate_slices.sync(
    session.id,
    client=client,
    body=SlicesRequest(slices=[SliceRequest(y="r", index=":,0"), SliceRequest(y="root", index="0,0")], outputs=["r"]),
)
elsewhere = evaluate_slices.sync(
    session.id, client=client, body=SlicesRequest(slices=[SliceRequest(y="r")], at=values(SlicesRequestAt(), x=[1, 2]))
)

x = np.ones(2)
for _ in range(6):
    step = evaluate_slices.sync(
        session.id,
        client=client,
        body=SlicesRequest(
            slices=[SliceRequest(y="r")], inputs=values(SlicesRequestInputs(), x=x.tolist()), outputs=["r"]
        ),
    )
    jacobian, residual = step.slices[0], step.outputs["r"]
    x -= np.linalg.solve(array(jacobian.data, jacobian.shape), array(residual.data, residual.shape))

problem = get_jacobian.sync(session.id, client=client, y="r", index="9,:")
assert isinstance(problem, Problem)
delete_session.sync_detailed(session.id, client=client)
gone = get_session.sync_detailed(session.id, client=client)

json.dump(
    {
        "graph_id": graph.graph_id,
        "row": [row.revision, row.shape, row.data],
        "nan": plain(np.frombuffer(b64decode(nan.base64), "<f8")),
        "bytes": plain(np.frombuffer(block.payload.read(), "<f8")),
        "slices": [entry.data for entry in several.slices],
        "output": several.outputs["r"].data,
        "elsewhere": [elsewhere.revision, elsewhere.slices[0].data],
        "revision": step.revision,
        "solution": x.tolist(),
        "problem": [problem.status, problem.type_, problem.detail, problem.errors[0].pointer],
        "gone": [gone.status_code, gone.parsed.type_],
    },
    sys.stdout,
)
