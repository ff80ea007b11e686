/** What a client does, with what @hey-api/openapi-ts writes: node solver.js URL. */

import { client } from "./client/client.gen.js";
import * as api from "./client/sdk.gen.js";
import { float64, plain, solve } from "./arrays.js";

client.setConfig({ baseUrl: process.argv[2]! });

const { data: graph } = await api.registerGraph({
  body: { format: "expression", outputs: { r: "W @ x**2 - c", root: "sqrt(x)" } },
  throwOnError: true,
});
const { data: session } = await api.createSession({
  body: {
    graph: { format: "ref", graph_id: graph.graph_id },
    inputs: { W: [[2, 1], [1, 3]], c: [17, 31], x: [1, -1] },
    xs: "x",
  },
  throwOnError: true,
});
const path = { session_id: session.id };

const { data: row } = await api.getJacobian({ path, query: { y: "r", index: "1,:" }, throwOnError: true });
const { data: nan } = await api.getJacobian({
  path,
  query: { y: "root", index: "1,:", encoding: "base64" },
  throwOnError: true,
});
const { data: block } = await api.getJacobianBytes({ path, query: { y: "r" }, throwOnError: true });
const { data: several } = await api.evaluateSlices({
  path,
  body: { slices: [{ y: "r", index: ":,0" }, { y: "root", index: "0,0" }], outputs: ["r"] },
  throwOnError: true,
});
const { data: elsewhere } = await api.evaluateSlices({
  path,
  body: { slices: [{ y: "r" }], at: { x: [1, 2] } },
  throwOnError: true,
});

let x = [1, 1];
let revision: number | bigint | null = null;
for (let step = 0; step < 6; step++) {
  const { data } = await api.evaluateSlices({
    path,
    body: { slices: [{ y: "r" }], inputs: { x }, outputs: ["r"] },
    throwOnError: true,
  });
  const change = solve(data.slices[0]!.data!.map(Number), data.outputs["r"]!.data!.map(Number));
  x = x.map((value, at) => value - change[at]!);
  revision = data.revision;
}

const { error: problem } = await api.getJacobian({ path, query: { y: "r", index: "9,:" } });
await api.deleteSession({ path });
const { error: gone } = await api.getSession({ path });

console.log(
  JSON.stringify({
    graph_id: graph.graph_id,
    row: [row.revision, row.shape, row.data],
    nan: plain(float64(Buffer.from(nan.base64!, "base64"))),
    bytes: plain(float64(Buffer.from(await (block as Blob).arrayBuffer()))),
    slices: several.slices.map((slice) => slice.data),
    output: several.outputs["r"]!.data,
    elsewhere: [elsewhere.revision, elsewhere.slices[0]!.data],
    revision,
    solution: x,
    problem: [problem!.status, problem!.type, problem!.detail, problem!.errors![0]!.pointer],
    gone: [gone!.status, gone!.type],
  }),
);
