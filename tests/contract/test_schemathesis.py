"""What a machine thinks of, from the document alone: schemathesis finds nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Server

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "use_after_free",
    "ensure_resource_availability",
    "missing_required_header",
)
"""Not `positive_data_acceptance`: a random graph, index or file is rightly refused."""
ENDLESS = "stream_evaluation_events"


@pytest.mark.parametrize(
    ("phases", "examples"),
    [
        pytest.param("examples,fuzzing,stateful", 2, id="small"),
        pytest.param("examples,coverage,fuzzing,stateful", 40, id="large", marks=pytest.mark.slow),
    ],
)
def test_nothing_is_found(server: Server, tmp_path: Path, phases: str, examples: int) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json"]
    command += ["--checks", ",".join(CHECKS), "--exclude-operation-id", ENDLESS]
    command += ["--phases", phases, "--max-examples", str(examples), "--seed", "1", "--no-color"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
