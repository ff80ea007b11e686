/** What a client does, with what openapi-generator's `typescript-fetch` writes: node solver.js URL. */

import * as api from "./client/index.js";
import { float64, plain, solve } from "./arrays.js";

const configuration = new api.Configuration({ basePath: process.argv[2]! });
const graphs = new api.GraphsApi(configuration);
const sessions = new api.SessionsApi(configuration);
const jacobians = new api.JacobiansApi(configuration);

/** The problem that a call ends with. */
async function problemOf(call: Promise<unknown>): Promise<api.Problem> {
  try {
    await call;
  } catch (error) {
    if (error instanceof api.ResponseError) return api.ProblemFromJSON(await error.response.json());
    throw error;
  }
  throw new Error("the call should have failed");
}

const graph = await graphs.registerGraph({
  graphDefinition: { format: "expression", outputs: { r: "W @ x**2 - c", root: "sqrt(x)" } },
});
const { id: sessionId } = await sessions.createSession({
  sessionCreate: {
    graph: { format: "ref", graphId: graph.graphId },
    inputs: { W: [[2, 1], [1, 3]], c: [17, 31], x: [1, -1] },
    xs: "x",
  },
});
const row = await jacobians.getJacobian({ sessionId, y: "r", index: "1,:" });
const nan = await jacobians.getJacobian({ sessionId, y: "root", index: "1,:", encoding: "base64" });
const block = await jacobians.getJacobianBytes({ sessionId, y: "r" });
const several = await jacobians.evaluateSlices({
  sessionId,
  slicesRequest: { slices: [{ y: "r", index: ":,0" }, { y: "root", index: "0,0" }], outputs: ["r"] },
});
const elsewhere = await jacobians.evaluateSlices({
  sessionId,
  slicesRequest: { slices: [{ y: "r" }], at: { x: [1, 2] } },
});

let x = [1, 1];
let revision: number | null = null;
for (let step = 0; step < 6; step++) {
  const answer = await jacobians.evaluateSlices({
    sessionId,
    slicesRequest: { slices: [{ y: "r" }], inputs: { x }, outputs: ["r"] },
  });
  const change = solve(answer.slices[0]!.data!, answer.outputs["r"]!.data!.map(Number));
  x = x.map((value, at) => value - change[at]!);
  revision = answer.revision;
}

const problem = await problemOf(jacobians.getJacobian({ sessionId, y: "r", index: "9,:" }));
await sessions.deleteSession({ sessionId });
const gone = await problemOf(sessions.getSession({ sessionId }));

console.log(
  JSON.stringify({
    graph_id: graph.graphId,
    row: [row.revision, row.shape, row.data],
    nan: plain(float64(Buffer.from(nan.base64!, "base64"))),
    bytes: plain(float64(Buffer.from(await block.arrayBuffer()))),
    slices: several.slices.map((slice) => slice.data),
    output: several.outputs["r"]!.data,
    elsewhere: [elsewhere.revision, elsewhere.slices[0]!.data],
    revision,
    solution: x,
    problem: [problem.status, problem.type, problem.detail, problem.errors![0]!.pointer],
    gone: [gone.status, gone.type],
  }),
);
