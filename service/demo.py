"""The demonstration: a real server, a real model, and what each slice cost. Speaks to the service by HTTP alone."""

import base64
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from http.client import HTTPMessage, HTTPResponse
from importlib.resources import files
from typing import Any, TextIO
from urllib.parse import urlencode

MODEL = "robot_arm.onnx"
JOINTS = [0.3, -0.7, 1.1, 0.2, -0.4, 0.9]
SHADES = " ░▒▓█"
READY_SECONDS = 120


class _Client:
    """A few lines of HTTP, as any language has them."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, path: str, body: Any = None) -> tuple[Any, HTTPMessage]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310
            self.url + path, data, {"Content-Type": "application/json"} if data else {}, method=method
        )
        answer: HTTPResponse
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            text = answer.read()
            return json.loads(text) if text else None, answer.headers


def run(out: TextIO) -> int:
    """Start a server on a free port, slice a Jacobian, and stop it. Returns: the exit status."""
    with tempfile.TemporaryDirectory(prefix="jacobian-demo-") as folder:
        command = [
            sys.executable,
            "-m",
            "service",
            "serve",
            "--port",
            "0",
            "--data-dir",
            folder,
            "--log-level",
            "warning",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
            try:
                url = _address(server)
                out.write(f"a server listens on {url}; its worker loads torch ...\n")
                out.flush()
                _wait_until_ready(url)
                _show(_Client(url), out)
            finally:
                server.terminate()
    return 0


def _address(server: "subprocess.Popen[str]") -> str:
    if server.stdout is None or not (line := server.stdout.readline()):
        raise SystemExit("the server did not start; what it said is above")
    return line.removeprefix("listening on ").strip()


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            _Client(url).call("GET", "/readyz")
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit(f"no worker was ready within {READY_SECONDS} s") from None
            time.sleep(0.1)
        else:
            return


def _show(client: _Client, out: TextIO) -> None:
    model = (files("service") / "assets" / MODEL).read_bytes()
    body = {"format": "onnx", "model": base64.b64encode(model).decode()}
    graph, _ = client.call("POST", "/v1/graphs", body)
    operators = sum(graph["operators"].values())
    out.write(f"\nPOST /v1/graphs            {MODEL}: a 6-joint arm, {operators} ONNX operators\n")
    out.write(f"                           {graph['graph_id'][:30]}...\n")

    session, _ = client.call(
        "POST",
        "/v1/sessions",
        {"graph": {"format": "ref", "graph_id": graph["graph_id"]}, "inputs": {"q": [JOINTS]}},
    )
    for block in session["jacobians"]:
        rows = block["rows"]
        out.write(
            f"POST /v1/sessions          d {block['y']} / d {block['x']}: {block['shape']}, "
            f"{rows['cached']} of {rows['total']} rows evaluated\n"
        )

    path = f"/v1/sessions/{session['id']}/jacobian"
    for index in ("1:4", "0:6", "::-2,[0,5]", ":"):
        query = urlencode({"y": "rotation", "index": index}, safe=":,[]")
        part, headers = client.call("GET", f"{path}?{query}")
        out.write(
            f"GET  .../jacobian?{query:<32} shape {part['shape']!s:<7} rows computed "
            f"{headers['Jacobian-Rows-Computed']}, cached {headers['Jacobian-Rows-Cached']}\n"
        )
    out.write("\nd rotation / d q, nine entries of the hand's orientation by six joint angles:\n\n")
    out.write(picture(part["data"], part["shape"]))
    client.call("DELETE", f"/v1/sessions/{session['id']}")


def picture(data: Sequence[float], shape: Sequence[int]) -> str:
    """A matrix as text: shades for magnitude, relative to the largest, and the sign beside them."""
    rows, columns = shape
    largest = max((abs(v) for v in data), default=0.0) or 1.0
    lines = ["     " + "".join(f"q{c:<5}" for c in range(columns))]
    for r in range(rows):
        cells = ""
        for value in data[r * columns : (r + 1) * columns]:
            shade = SHADES[min(round(abs(value) / largest * (len(SHADES) - 1)), len(SHADES) - 1)]
            sign = " " if shade == " " else "-" if value < 0 else "+"
            cells += f"{sign}{shade * 4} "
        lines.append(f"  {r:<2} {cells}".rstrip())
    return "\n".join(lines) + f"\n\n  largest magnitude {largest:.4g}\n"
