"""What a client does, with the package that openapi-generator's `python` writes: python solver.py URL."""

import json
import sys
from base64 import b64decode

import jacobian_client as api
import numpy as np

client = api.ApiClient(api.Configuration(host=sys.argv[1]))
graphs, sessions, jacobians = api.GraphsApi(client), api.SessionsApi(client), api.JacobiansApi(client)


def array(data, shape):
    return np.array(data, float).reshape(shape)


def plain(numbers):
    return ["NaN" if np.isnan(number) else number for number in numbers]


def problem_of(call, *arguments, **options):
    """The problem that a call ends with."""
    try:
        call(*arguments, **options)
    except api.ApiException as error:
        return error.data
    raise AssertionError("the call should have failed")


graph = graphs.register_graph(
    api.GraphDefinition(api.ExpressionGraph(format="expression", outputs={"r": "W @ x**2 - c", "root": "sqrt(x)"}))
)
session = sessions.create_session(
    api.SessionCreate(
        graph=api.Graph(api.GraphRef(format="ref", graph_id=graph.graph_id)),
        inputs={"W": [[2, 1], [1, 3]], "c": [17, 31], "x": [1, -1]},
        xs="x",
    )
)
row = jacobians.get_jacobian(session.id, y="r", index="1,:")
nan = jacobians.get_jacobian(session.id, y="root", index="1,:", encoding=api.Encoding.BASE64)
block = jacobians.get_jacobian_bytes(session.id, y="r")
several = jacobians.evaluate_slices(
    session.id,
    api.SlicesRequest(
        slices=[api.SliceRequest(y="r", index=":,0"), api.SliceRequest(y="root", index="0,0")], outputs=["r"]
    ),
)
elsewhere = jacobians.evaluate_slices(session.id, api.SlicesRequest(slices=[api.SliceRequest(y="r")], at={"x": [1, 2]}))

x = np.ones(2)
for _ in range(6):
    step = jacobians.evaluate_slices(
        session.id, api.SlicesRequest(slices=[api.SliceRequest(y="r")], inputs={"x": x.tolist()}, outputs=["r"])
    )
    jacobian, residual = step.slices[0], step.outputs["r"]
    x -= np.linalg.solve(array(jacobian.data, jacobian.shape), array(residual.data, residual.shape))

problem = problem_of(jacobians.get_jacobian, session.id, y="r", index="9,:")
sessions.delete_session(session.id)
gone = problem_of(sessions.get_session, session.id)

json.dump(
    {
        "graph_id": graph.graph_id,
        "row": [row.revision, row.shape, row.data],
        "nan": plain(np.frombuffer(b64decode(nan.var_base64), "<f8")),
        "bytes": plain(np.frombuffer(block, "<f8")),
        "slices": [entry.data for entry in several.slices],
        "output": several.outputs["r"].data,
        "elsewhere": [elsewhere.revision, elsewhere.slices[0].data],
        "revision": step.revision,
        "solution": x.tolist(),
        "problem": [problem.status, problem.type, problem.detail, problem.errors[0].pointer],
        "gone": [gone.status, gone.type],
    },
    sys.stdout,
)
