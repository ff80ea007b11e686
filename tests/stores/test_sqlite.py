"""What only the embedded store has: a folder to itself, a file that can be damaged, a schema with a version."""

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing

import numpy as np
import pytest

from service import errors
from service.stores.base import SessionRecord
from service.stores.sqlite import DATABASE, SQLiteStore, StoreUnusable

WRITER = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    import numpy as np
    from service.stores.base import SessionRecord
    from service.stores.sqlite import SQLiteStore

    async def write(store, name):
        for number in range(1_000_000):
            session_id = f"{name}-{number}"
            inputs = {"x": np.full(1000, float(number)), "W": np.ones(1000)}
            await store.create(SessionRecord(session_id, "ann", b"{}", 1, inputs, b"[]", 0.0, 1.0, 1.0))
            print(session_id, 1, flush=True)
            await store.advance("ann", session_id, 1, {"x": -inputs["x"], "W": inputs["W"]}, b"[]", 1.0)
            print(session_id, 2, flush=True)

    asyncio.run(write(SQLiteStore.open(Path(sys.argv[1])), sys.argv[2]))
    """
)


def content(folder, query):
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        return database.execute(query).fetchall()


def session(session_id, **inputs):
    return SessionRecord(session_id, "ann", b"{}", 1, inputs, b"[]", 0.0, 1.0, 1.0)


def acknowledged_before_the_kill(folder, name, lines):
    """What a writing process said it had kept, killed once it has said that much: session -> revision."""
    command = [sys.executable, "-c", WRITER, str(folder), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        said = [writer.stdout.readline() for _ in range(lines)]
        writer.kill()
        said += [line for line in writer.stdout if line.endswith("\n")]
    return {session_id: int(revision) for session_id, revision in map(str.split, said)}


async def assert_kept(store, acknowledged):
    for session_id, revision in acknowledged.items():
        found = await store.get("ann", session_id)
        number = float(session_id.split("-")[1])
        assert found.revision >= revision
        np.testing.assert_array_equal(found.inputs["x"], np.full(1000, number if found.revision == 1 else -number))
        np.testing.assert_array_equal(found.inputs["W"], np.ones(1000))
    await store.close()


def test_killed_under_writes_it_loses_nothing_that_was_acknowledged(tmp_path):
    acknowledged = {}
    for number in range(5):
        acknowledged |= acknowledged_before_the_kill(tmp_path, f"round{number}", lines=10 + 3 * number)
        asyncio.run(assert_kept(SQLiteStore.open(tmp_path), acknowledged))
        assert content(tmp_path, "PRAGMA foreign_key_check") == []


def test_a_second_server_is_refused_until_the_first_has_gone(tmp_path):
    store = SQLiteStore.open(tmp_path)
    program = f"import pathlib, service.stores.sqlite as s; s.SQLiteStore.open(pathlib.Path({str(tmp_path)!r}))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert other.returncode != 0
    assert f"another server has the store in {tmp_path} open" in other.stderr
    with pytest.raises(StoreUnusable, match="another server"):
        SQLiteStore.open(tmp_path)
    asyncio.run(store.close())
    asyncio.run(SQLiteStore.open(tmp_path).close())


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda file: file.write_bytes(b"not a database, " * 1000), id="another-file"),
        pytest.param(lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]), id="cut-off"),
        pytest.param(lambda file: file.write_bytes(file.read_bytes()[:100] + b"\xff" * 5000), id="head-only"),
        pytest.param(lambda file: (file.unlink(), file.mkdir()), id="a-folder"),
        pytest.param(
            lambda file: file.write_bytes(file.read_bytes()[:-8192] + b"\xa5" * 8192), id="last-pages-overwritten"
        ),
    ],
)
def test_a_damaged_database_is_refused(tmp_path, damage):
    store = SQLiteStore.open(tmp_path)
    asyncio.run(store.create(session("s", x=np.random.default_rng(0).normal(size=5000))))
    asyncio.run(store.close())
    damage(tmp_path / DATABASE)
    with pytest.raises(StoreUnusable, match=DATABASE):
        SQLiteStore.open(tmp_path)


def test_a_later_schema_is_refused(tmp_path):
    asyncio.run(SQLiteStore.open(tmp_path).close())
    content(tmp_path, "PRAGMA user_version = 99")
    with pytest.raises(StoreUnusable, match="has schema 99"):
        SQLiteStore.open(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable, match="cannot hold a store"):
        SQLiteStore.open(tmp_path / "file")


def test_equal_values_are_kept_once_and_go_with_the_last_point(tmp_path):
    store = SQLiteStore.open(tmp_path)
    weights = np.arange(100.0)
    asyncio.run(store.create(session("s", W=weights, x=np.zeros(3))))
    asyncio.run(store.create(session("t", W=weights, V=weights.reshape(10, 10))))
    assert content(tmp_path, "SELECT count(*) FROM blobs") == [(2,)]
    asyncio.run(store.advance("ann", "s", 1, {"W": weights, "x": np.ones(3)}, b"[]", 1.0))
    assert content(tmp_path, "SELECT count(*) FROM blobs") == [(2,)]
    asyncio.run(store.delete("ann", "s"))
    assert content(tmp_path, "SELECT count(*) FROM blobs") == [(1,)]
    asyncio.run(store.purge(99.0))
    assert content(tmp_path, "SELECT (SELECT count(*) FROM blobs) + (SELECT count(*) FROM inputs)") == [(0,)]
    asyncio.run(store.close())


def test_an_input_too_large_for_the_database_leaves_nothing_behind(tmp_path):
    store = SQLiteStore.open(tmp_path)
    huge = np.broadcast_to(np.float64(0), (2**27 + 1,))
    with pytest.raises(errors.TooLarge, match="'W' has 1073741832 bytes"):
        asyncio.run(store.create(session("s", x=np.zeros(3), W=huge)))
    assert asyncio.run(store.get("ann", "s")) is None
    asyncio.run(store.close())


@pytest.mark.parametrize(("synchronous", "level"), [("normal", 1), ("full", 2)], ids=["normal", "full"])
def test_how_it_waits_for_the_disk(tmp_path, synchronous, level):
    store = SQLiteStore.open(tmp_path, synchronous)
    assert content(tmp_path, "PRAGMA journal_mode") == [("wal",)]
    # No one else can see how long a connection waits.
    assert store._database.execute("PRAGMA synchronous").fetchone() == (level,)
    asyncio.run(store.close())
