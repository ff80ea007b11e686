/** What a client does, with openapi-fetch and the types that openapi-typescript writes: node solver.js URL. */

import createClient from "openapi-fetch";
import type { paths } from "./schema.d.ts";
import { plain, float64, solve } from "./arrays.js";

const client = createClient<paths>({ baseUrl: process.argv[2]! });

const { data: graph } = await client.POST("/v1/graphs", {
  body: { format: "expression", outputs: { r: "W @ x**2 - c", root: "sqrt(x)" } },
});
const { data: session } = await client.POST("/v1/sessions", {
  body: {
    graph: { format: "ref", graph_id: graph!.graph_id },
    inputs: { W: [[2, 1], [1, 3]], c: [17, 31], x: [1, -1] },
    xs: "x",
  },
});
const path = { session_id: session!.id };

const { data: row } = await client.GET("/v1/sessions/{session_id}/jacobian", {
  params: { path, query: { y: "r", index: "1,:" } },
});
const { data: nan } = await client.GET("/v1/sessions/{session_id}/jacobian", {
  params: { path, query: { y: "root", index: "1,:", encoding: "base64" } },
});
const { data: block } = await client.GET("/v1/sessions/{session_id}/jacobian.bin", {
  params: { path, query: { y: "r" } },
  parseAs: "arrayBuffer",
});
const { data: several } = await client.POST("/v1/sessions/{session_id}/jacobian", {
  params: { path },
  body: { slices: [{ y: "r", index: ":,0" }, { y: "root", index: "0,0" }], outputs: ["r"] },
});
const { data: elsewhere } = await client.POST("/v1/sessions/{session_id}/jacobian", {
  params: { path },
  body: { slices: [{ y: "r" }], at: { x: [1, 2] } },
});

let x = [1, 1];
let revision: number | null = null;
for (let step = 0; step < 6; step++) {
  const { data } = await client.POST("/v1/sessions/{session_id}/jacobian", {
    params: { path },
    body: { slices: [{ y: "r" }], inputs: { x }, outputs: ["r"] },
  });
  const change = solve(data!.slices[0]!.data!.map(Number), data!.outputs["r"]!.data!.map(Number));
  x = x.map((value, at) => value - change[at]!);
  revision = data!.revision;
}

const { error: problem } = await client.GET("/v1/sessions/{session_id}/jacobian", {
  params: { path, query: { y: "r", index: "9,:" } },
});
await client.DELETE("/v1/sessions/{session_id}", { params: { path } });
const { error: gone } = await client.GET("/v1/sessions/{session_id}", { params: { path } });

console.log(
  JSON.stringify({
    graph_id: graph!.graph_id,
    row: [row!.revision, row!.shape, row!.data],
    nan: plain(float64(Buffer.from(nan!.base64!, "base64"))),
    bytes: plain(float64(Buffer.from(block!))),
    slices: several!.slices.map((slice) => slice.data),
    output: several!.outputs["r"]!.data,
    elsewhere: [elsewhere!.revision, elsewhere!.slices[0]!.data],
    revision,
    solution: x,
    problem: [problem!.status, problem!.type, problem!.detail, problem!.errors![0]!.pointer],
    gone: [gone!.status, gone!.type],
  }),
);
