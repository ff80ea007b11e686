"""The pages beside the code say what the code does."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.api.application import openapi_document
from service.errors import PROBLEMS
from service.graphs.functions import FUNCTIONS, SECTIONS
from service.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "docs" / "decisions", ROOT / "openapi")
    for path in folder.glob("*.md")
)
README = (ROOT / "README.md").read_text()
ADDRESS = "localhost:8000"


def page(name):
    return (ROOT / "docs" / name).read_text()


def rows(text):
    """The cells of every row of a page's tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def quoted(text):
    return re.findall(r"`([^`]+)`", text)


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_every_setting_is_documented_with_its_default():
    documented = {quoted(c[0])[0]: quoted(c[1])[0] for c in rows(page("settings.md")) if "JACOBIAN_" in c[0]}
    fields = {f"JACOBIAN_{name.upper()}": str(field.default) for name, field in Settings.model_fields.items()}
    assert documented == fields


def test_every_problem_is_documented_with_its_status():
    documented = {quoted(c[0])[0]: int(c[1]) for c in rows(page("problems.md")) if quoted(c[0])}
    assert documented == {name: problem.status for name, problem in PROBLEMS.items()}


def test_every_function_of_the_expression_language_has_a_meaning_and_a_name_of_its_own():
    tables = [(names, function) for section in SECTIONS.values() for names, function in section.items()]
    assert [names for names, function in tables if not function.__doc__] == []
    assert sorted(name for names, _ in tables for name in names.split()) == sorted(FUNCTIONS)


@pytest.mark.parametrize("name", ["operators", "expressions"])
def test_pages_made_from_the_code_are_up_to_date(name):
    made = runpy.run_path(str(ROOT / "docs" / "generate.py"))[f"{name}_page"]()
    assert page(f"{name}.md") == made, "run `make docs`"


def test_the_committed_document_is_the_one_that_is_served():
    assert (ROOT / "openapi" / "openapi.json").read_bytes() == openapi_document(), "run `make openapi`"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
    assert [t for t in targets if not (path.parent / t).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_of_make_are_targets(path):
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(), re.MULTILINE)
    assert set(named) <= set(targets)


def test_ci_runs_the_command_of_the_readme():
    assert "make test" in README
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("\nmake test")


def test_every_decision_is_listed():
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))


# --- blocks that run --------------------------------------------------------------------------------------------------


def commands(block):
    """Each command of a console block, with the output that is shown: a command's further lines are indented."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.rstrip("\n").split("\n")
        end = next((i for i, line in enumerate(lines) if i and not line.startswith(" ")), len(lines))
        yield "\n".join(lines[:end]), "\n".join(lines[end:])


def rounded(text):
    """Numbers at ten digits: the last bits are those of a machine."""
    return re.sub(r"-?\d+\.\d{6,}(?:e-?\d+)?", lambda m: f"{float(m[0]):.10g}", text)


def shows(expected, got):
    """Whether an output is what is shown of it, `...` standing for anything."""
    pattern = ".*".join(re.escape(part) for part in rounded(expected).split("..."))
    return re.fullmatch(pattern, rounded(got), re.DOTALL) is not None


@pytest.mark.skipif(shutil.which("curl") is None, reason="the session in the README is one of curl")
def test_the_session_in_curl(server):
    session = "".join(blocks(README, "console"))
    shown_id = re.search(r"^\$ ID=(\S+)$", session, re.MULTILINE)[1]
    real_id = None
    for command, expected in commands(session):
        if command.startswith("ID="):
            continue
        words = shlex.split(command.replace(ADDRESS, server.url.removeprefix("http://")).replace("$ID", real_id or ""))
        assert words[0] == "curl"
        got = subprocess.run([*words, "--globoff"], capture_output=True, text=True, check=True).stdout
        real_id = real_id or re.search(r'"id":"([^"]+)"', got)[1]
        assert shows(expected, got.replace(real_id, shown_id))


def test_the_solver_in_python(server):
    (script,) = blocks(README, "python")
    run = [sys.executable, "-c", script.replace(f"http://{ADDRESS}", server.url)]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout in blocks(README, "text")


@pytest.mark.slow
def test_the_demo():
    run = subprocess.run(
        [sys.executable, "-m", "service", "demo"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    got = re.sub(r"127\.0\.0\.1:\d+", "", re.sub(r" +$", "", run, flags=re.MULTILINE)).strip()
    shown = [re.sub(r"127\.0\.0\.1:\d+", "", text).strip() for text in blocks(README, "text")]
    assert got in shown
