"""The page that says which tests hold the contract names tests that are there."""

import re

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "contract.md").read_text()
SECTIONS = (
    "Vocabulary",
    "Graphs: three ways to say one thing",
    "Tensors",
    "Sessions",
    "Slices",
    "Products and second derivatives",
    "Structure and sparse slices",
    "Long work",
    "Errors",
    "Around it",
)


def test_every_section_has_tests():
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    assert tuple(parts[1::2]) == SECTIONS
    for text in parts[2::2]:
        promises = [line for line in text.splitlines() if line.startswith("| ")][2:]
        assert promises
        assert [line for line in promises if "::test_" not in line] == []


def test_every_test_that_is_named_is_there():
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 100
    texts = {file: (ROOT / "tests" / file).read_text() for file in {file for file, _ in named}}
    missing = [
        f"{file}::{name}" for file, name in named if not re.search(rf"^(async )?def {name}\(", texts[file], re.M)
    ]
    assert missing == []
