"""Clients made by generators from the document: each is built, and does against a real server what a user would do.

Every program registers a graph, opens a session at nested arrays, reads slices in each form, takes Newton's steps,
meets a problem, deletes the session, and prints what it got.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOCUMENT = HERE.parent.parent / "openapi" / "openapi.json"
CONFIGURATIONS = DOCUMENT.parent
NODE_MODULES = Path(sys.prefix) / "npm" / "node_modules"
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
GO_LIBRARIES = Path("/usr/share/gocode")
JARS = [Path("/usr/share/java") / f"{name}.jar" for name in ("httpmime", "jsr305", "geronimo-annotation-1.3-spec")]
TIMEOUT_SECONDS = 600


def required(*tools, files=()):
    """Skips the test where a tool or a file is missing."""
    missing = [tool for tool in tools if shutil.which(tool, path=PATH) is None]
    missing += [str(path) for path in files if not path.exists()]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: see openapi/README.md")


def run(*command, cwd, **environment):
    """What a command prints."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": PATH, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def run_node(script, *arguments, cwd):
    return run("node", str(script), *arguments, cwd=cwd)


def run_generator(configuration, folder):
    run(
        "openapi-generator-cli", "generate", "-i", DOCUMENT, "-c", CONFIGURATIONS / configuration, "-o", folder, cwd="."
    )


def run_typescript(program, folder, url):
    """What a program prints that is compiled beside its client."""
    sources = [HERE / "package.json", *(HERE / "typescript").iterdir(), HERE / program / "solver.ts"]
    for source in sources:
        shutil.copy(source, folder)
    run_node("node_modules/.bin/tsc", cwd=folder)
    return run_node("out/solver.js", url, cwd=folder)


def check(printed):
    """Asserts what every client must have got."""
    got = json.loads(printed)
    assert re.fullmatch("sha256:[0-9a-f]{64}", got["graph_id"])
    assert got["row"] == [1, [2], [2.0, -6.0]]
    assert got["nan"] == [0.0, "NaN"]
    assert got["bytes"] == [4.0, -2.0, 2.0, -6.0]
    assert got["slices"] == [[4.0, 2.0], [0.5]]
    assert got["output"] == [-14.0, -27.0]
    assert got["elsewhere"] == [None, [4.0, 4.0, 2.0, 12.0]]
    assert got["revision"] == 7
    assert got["solution"] == pytest.approx([2.0, 3.0], abs=1e-9)
    status, kind, detail, pointer = got["problem"]
    assert (status, kind, pointer) == (422, "urn:jacobian:problem:invalid-index", "#/query/index")
    assert "index 9 is out of bounds" in detail
    assert got["gone"] == [404, "urn:jacobian:problem:not-found"]


@pytest.fixture
def node_folder(tmp_path):
    """A folder where Node finds the pinned packages."""
    required("node", files=[NODE_MODULES])
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    return tmp_path


def test_openapi_python_client(server, tmp_path):
    required("openapi-python-client")
    package = tmp_path / "jacobian_client"
    run("openapi-python-client", "generate", "--path", DOCUMENT, "--output-path", package, "--meta", "none", cwd=".")
    program = HERE / "openapi_python_client" / "solver.py"
    check(run(sys.executable, program, server.url, cwd=tmp_path, PYTHONPATH=str(tmp_path)))


def test_openapi_typescript(server, node_folder):
    run_node("node_modules/.bin/openapi-typescript", str(DOCUMENT), "-o", "schema.d.ts", cwd=node_folder)
    check(run_typescript("openapi_typescript", node_folder, server.url))


@pytest.mark.clients
def test_hey_api(server, node_folder):
    configuration = str(CONFIGURATIONS / "hey-api.yaml")
    run_node("node_modules/.bin/openapi-ts", "-f", configuration, "-i", str(DOCUMENT), cwd=node_folder)
    check(run_typescript("hey_api", node_folder, server.url))


@pytest.mark.clients
def test_generator_typescript(server, node_folder):
    required("openapi-generator-cli", "java")
    run_generator("typescript-fetch.yaml", node_folder / "client")
    check(run_typescript("generator_typescript", node_folder, server.url))


@pytest.mark.clients
def test_generator_python(server, tmp_path):
    required("openapi-generator-cli", "java")
    run_generator("python.yaml", tmp_path)
    program = HERE / "generator_python" / "solver.py"
    check(run(sys.executable, program, server.url, cwd=tmp_path, PYTHONPATH=str(tmp_path)))


@pytest.mark.clients
def test_generator_go(server, tmp_path):
    required("openapi-generator-cli", "java", "go", files=[GO_LIBRARIES / "src" / "gopkg.in" / "validator.v2"])
    run_generator("go.yaml", tmp_path / "src" / "jacobian")
    shutil.copytree(HERE / "generator_go", tmp_path / "src" / "solver")
    path = f"{tmp_path}{os.pathsep}{GO_LIBRARIES}"
    run("go", "build", "solver", cwd=tmp_path, GO111MODULE="off", GOFLAGS="", GOPATH=path)
    check(run(tmp_path / "solver", server.url, cwd=tmp_path))


@pytest.mark.clients
def test_generator_java(server, tmp_path):
    required("openapi-generator-cli", "java", "javac", files=JARS)
    run_generator("java.yaml", tmp_path)
    generator = find_spec("openapi_generator_cli").submodule_search_locations[0]
    jackson = Path(generator) / "openapi-generator.jar"
    jars = os.pathsep.join(map(str, [jackson, *JARS]))
    program = HERE / "generator_java" / "Solver.java"
    run("javac", "-cp", jars, "-sourcepath", "src/main/java", "-d", "classes", program, cwd=tmp_path)
    check(run("java", "-cp", f"classes{os.pathsep}{jars}", "Solver", server.url, cwd=tmp_path))
