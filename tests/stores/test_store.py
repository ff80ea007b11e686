"""One suite over the interface: every implementation passes it."""

import asyncio
import dataclasses
import itertools
import math
import string

import ml_dtypes
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from service.stores.base import GraphRecord, SessionRecord
from service.tensors.dtypes import DTYPES, NAMES

GRAPH = GraphRecord("sha256:1", b"\x00model", b'{"opset":21}')


def session(session_id="s", tenant="ann", **changes):
    record = SessionRecord(
        id=session_id,
        tenant=tenant,
        spec=b'{"ys":["y"]}',
        revision=1,
        inputs={"x": np.array([1.0, 2.0]), "W": np.eye(3, dtype=np.float32)},
        outputs=b"[]",
        created_at=1000.0,
        expires_at=2000.0,
        ttl=60.0,
    )
    return dataclasses.replace(record, **changes)


def assert_same(found, expected):
    for field in dataclasses.fields(SessionRecord):
        if field.name != "inputs":
            assert getattr(found, field.name) == getattr(expected, field.name), field.name
    assert list(found.inputs) == list(expected.inputs)
    for name, array in expected.inputs.items():
        assert found.inputs[name].dtype == array.dtype
        assert found.inputs[name].shape == array.shape
        assert found.inputs[name].tobytes() == array.tobytes()


# --- graphs ----------------------------------------------------------------------------------------------------------


def test_a_graph_comes_back(store):
    assert asyncio.run(store.put_graph("ann", GRAPH)) is True
    assert asyncio.run(store.get_graph("ann", GRAPH.graph_id)) == GRAPH


def test_a_graph_is_kept_once(store):
    asyncio.run(store.put_graph("ann", GRAPH))
    assert asyncio.run(store.put_graph("ann", GRAPH)) is False


def test_a_graph_belongs_to_its_tenant(store):
    asyncio.run(store.put_graph("ann", GRAPH))
    assert asyncio.run(store.get_graph("bob", GRAPH.graph_id)) is None
    assert asyncio.run(store.put_graph("bob", GRAPH)) is True


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_comes_back(store):
    asyncio.run(store.create(session()))
    assert_same(asyncio.run(store.get("ann", "s")), session())


def test_there_is_nothing_at_first(store):
    assert asyncio.run(store.get("ann", "s")) is None
    assert asyncio.run(store.get_graph("ann", "sha256:1")) is None
    assert asyncio.run(store.delete("ann", "s")) is False
    assert asyncio.run(store.list("ann", 0, 10, None)) == []
    assert asyncio.run(store.purge(math.inf)) == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_dtype_comes_back(store, name):
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(DTYPES[name].numpy)
    asyncio.run(store.create(session(inputs={"x": array})))
    assert_same(asyncio.run(store.get("ann", "s")), session(inputs={"x": array}))


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.array(1.5), id="0-d"),
        pytest.param(np.zeros((0, 3)), id="empty"),
        pytest.param(np.arange(6.0).reshape(2, 3).T, id="transposed"),
        pytest.param(np.arange(6.0)[::-2], id="strided"),
        pytest.param(np.array([math.nan, -math.inf, -0.0]), id="not-finite"),
        pytest.param(np.broadcast_to(np.float32(1), (2, 2)), id="broadcast"),
        pytest.param(np.zeros(300_000), id="large"),
    ],
)
def test_every_layout_comes_back(store, array):
    asyncio.run(store.create(session(inputs={"a/b ü'": array})))
    assert_same(asyncio.run(store.get("ann", "s")), session(inputs={"a/b ü'": array}))


def test_inputs_keep_their_order(store):
    inputs = {name: np.zeros(1) for name in ("z", "a", "m", "A")}
    asyncio.run(store.create(session(inputs=inputs)))
    assert list(asyncio.run(store.get("ann", "s")).inputs) == list(inputs)


def test_a_session_without_inputs_comes_back(store):
    asyncio.run(store.create(session(inputs={})))
    assert_same(asyncio.run(store.get("ann", "s")), session(inputs={}))


@pytest.mark.parametrize("name", ["s' OR '1'='1", "%", '"; DROP TABLE sessions; --', ""], ids=repr)
def test_names_are_only_names(store, name):
    asyncio.run(store.create(session()))
    assert asyncio.run(store.get("ann", name)) is None
    assert asyncio.run(store.get(name, "s")) is None
    assert asyncio.run(store.delete(name, name)) is False
    assert_same(asyncio.run(store.get("ann", "s")), session())


def test_a_session_belongs_to_its_tenant(store):
    asyncio.run(store.create(session()))
    assert asyncio.run(store.get("bob", "s")) is None
    assert asyncio.run(store.advance("bob", "s", 1, {}, b"", 3000.0)) is False
    asyncio.run(store.touch("bob", "s", 9000.0))
    assert asyncio.run(store.delete("bob", "s")) is False
    assert asyncio.run(store.list("bob", 0, 10, None)) == []
    assert_same(asyncio.run(store.get("ann", "s")), session())


def test_two_tenants_may_use_one_id_and_the_same_values(store):
    asyncio.run(store.create(session(tenant="ann")))
    asyncio.run(store.create(session(tenant="bob")))
    assert asyncio.run(store.delete("ann", "s")) is True
    assert_same(asyncio.run(store.get("bob", "s")), session(tenant="bob"))


def test_a_deleted_session_is_gone(store):
    asyncio.run(store.create(session()))
    assert asyncio.run(store.delete("ann", "s")) is True
    assert asyncio.run(store.get("ann", "s")) is None
    assert asyncio.run(store.delete("ann", "s")) is False
    assert asyncio.run(store.advance("ann", "s", 1, {}, b"", 3000.0)) is False


def test_values_outlive_the_sessions_that_share_them(store):
    for session_id in "stu":
        asyncio.run(store.create(session(session_id)))
    asyncio.run(store.delete("ann", "s"))
    asyncio.run(store.advance("ann", "t", 1, {"x": np.zeros(2)}, b"[]", 2000.0))
    assert_same(asyncio.run(store.get("ann", "u")), session("u"))


# --- revisions -------------------------------------------------------------------------------------------------------


def test_a_session_advances(store):
    asyncio.run(store.create(session()))
    inputs = {"x": np.array([3.0, 4.0]), "W": session().inputs["W"]}
    assert asyncio.run(store.advance("ann", "s", 1, inputs, b"[1]", 3000.0)) is True
    expected = session(revision=2, inputs=inputs, outputs=b"[1]", expires_at=3000.0)
    assert_same(asyncio.run(store.get("ann", "s")), expected)


@pytest.mark.parametrize("revision", [0, 2, -1, 2**62], ids=str)
def test_a_session_at_another_revision_stays(store, revision):
    asyncio.run(store.create(session()))
    assert asyncio.run(store.advance("ann", "s", revision, {"x": np.zeros(2)}, b"", 3000.0)) is False
    assert_same(asyncio.run(store.get("ann", "s")), session())


def test_of_many_at_once_one_advances(store):
    async def race():
        await store.create(session())
        points = [{"x": np.full(2, float(i))} for i in range(50)]
        return points, await asyncio.gather(*(store.advance("ann", "s", 1, p, b"[]", 2000.0) for p in points))

    points, won = asyncio.run(race())
    assert won.count(True) == 1
    assert_same(asyncio.run(store.get("ann", "s")), session(revision=2, inputs=points[won.index(True)]))


def test_the_event_loop_runs_on(store):
    async def both():
        writing = asyncio.ensure_future(store.create(session(inputs={"x": np.zeros(2_000_000)})))
        turns = 0
        while not writing.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert asyncio.run(both()) > 10


# --- expiry ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pushed", "expiry"), [(2500.0, 2500.0), (1500.0, 2000.0)], ids=["on", "not-back"])
def test_expiry_is_pushed_on_and_never_back(store, pushed, expiry):
    asyncio.run(store.create(session("touched")))
    asyncio.run(store.touch("ann", "touched", pushed))
    assert_same(asyncio.run(store.get("ann", "touched")), session("touched", expires_at=expiry))
    asyncio.run(store.create(session("advanced")))
    asyncio.run(store.advance("ann", "advanced", 1, {}, b"", pushed))
    assert asyncio.run(store.get("ann", "advanced")).expires_at == expiry


def test_purging_forgets_what_expired_before(store):
    for tenant, (session_id, expiry) in itertools.product(["ann", "bob"], [("old", 1.0), ("edge", 2.0), ("new", 3.0)]):
        asyncio.run(store.create(session(session_id, tenant, expires_at=expiry)))
    assert asyncio.run(store.purge(2.0)) == 2
    for tenant in ("ann", "bob"):
        assert asyncio.run(store.get(tenant, "old")) is None
        assert_same(asyncio.run(store.get(tenant, "edge")), session("edge", tenant, expires_at=2.0))
        assert_same(asyncio.run(store.get(tenant, "new")), session("new", tenant, expires_at=3.0))


# --- lists -----------------------------------------------------------------------------------------------------------


def test_a_list_is_newest_first_and_live(store):
    ages = {"a": 3.0, "b": 1.0, "c": 2.0, "d": 2.0}
    for session_id, created in ages.items():
        asyncio.run(store.create(session(session_id, created_at=created)))
    asyncio.run(store.create(session("expired", expires_at=1500.0)))
    asyncio.run(store.create(session("other", tenant="bob")))
    found = asyncio.run(store.list("ann", 1500.0, 100, None))
    assert [s.id for s in found] == ["a", "d", "c", "b"]
    for record in found:
        assert_same(record, session(record.id, created_at=ages[record.id]))


def test_pages_are_the_list_in_pieces(store):
    ids = string.ascii_letters[:23]
    for at, session_id in enumerate(ids):
        asyncio.run(store.create(session(session_id, created_at=float(at // 4))))
    pages, before = [], None
    while page := asyncio.run(store.list("ann", 0, 5, before)):
        pages.append([s.id for s in page])
        before = (page[-1].created_at, page[-1].id)
        asyncio.run(store.create(session(f"late{len(pages)}", created_at=99.0)))
    assert [len(page) for page in pages] == [5, 5, 5, 5, 3]
    assert [*itertools.chain(*pages)] == sorted(ids, key=lambda s: (ids.index(s) // 4, s), reverse=True)


# --- durability ------------------------------------------------------------------------------------------------------


def test_everything_is_there_after_reopening(opened, tmp_path):
    with opened(tmp_path) as store:
        asyncio.run(store.put_graph("ann", GRAPH))
        asyncio.run(store.create(session()))
        asyncio.run(store.advance("ann", "s", 1, {"x": np.array([7], ml_dtypes.bfloat16)}, b"[1]", 2500.0))
    with opened(tmp_path) as store:
        assert asyncio.run(store.get_graph("ann", GRAPH.graph_id)) == GRAPH
        expected = session(
            revision=2, inputs={"x": np.array([7], ml_dtypes.bfloat16)}, outputs=b"[1]", expires_at=2500.0
        )
        assert_same(asyncio.run(store.get("ann", "s")), expected)


def test_beside_a_dictionary(opened, tmp_path):
    """Any sequence of verbs does what it does to a dictionary of records."""
    folders = (tmp_path / str(number) for number in itertools.count())
    tenants = st.sampled_from(["ann", "bob"])
    ids = st.sampled_from(["s", "t", "u"])
    times = st.integers(0, 5).map(float)
    points = st.fixed_dictionaries(
        {"x": st.integers(0, 2).map(lambda v: np.full(3, v, np.int8)), "W": st.just(np.eye(2))}
    )

    class Machine(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.folder = next(folders)
            self.context = opened(self.folder)
            self.store = self.context.__enter__()
            self.loop = asyncio.Runner()
            self.records = {}

        def teardown(self):
            self.loop.close()
            self.context.__exit__(None, None, None)

        def do(self, coroutine):
            return self.loop.run(coroutine)

        def replace(self, key, **changes):
            self.records[key] = dataclasses.replace(self.records[key], **changes)

        @rule(tenant=tenants, session_id=ids, created=times, expires=times, inputs=points)
        def create(self, tenant, session_id, created, expires, inputs):
            if (tenant, session_id) not in self.records:
                record = session(session_id, tenant, created_at=created, expires_at=expires, inputs=inputs)
                self.do(self.store.create(record))
                self.records[tenant, session_id] = record

        @rule(tenant=tenants, session_id=ids, revision=st.integers(1, 3), inputs=points, expires=times)
        def advance(self, tenant, session_id, revision, inputs, expires):
            key = tenant, session_id
            held = key in self.records and self.records[key].revision == revision
            assert self.do(self.store.advance(*key, revision, inputs, b"[2]", expires)) is held
            if held:
                later = max(expires, self.records[key].expires_at)
                self.replace(key, revision=revision + 1, inputs=inputs, outputs=b"[2]", expires_at=later)

        @rule(tenant=tenants, session_id=ids, expires=times)
        def touch(self, tenant, session_id, expires):
            key = tenant, session_id
            self.do(self.store.touch(*key, expires))
            if key in self.records:
                self.replace(key, expires_at=max(expires, self.records[key].expires_at))

        @rule(tenant=tenants, session_id=ids)
        def delete(self, tenant, session_id):
            held = self.records.pop((tenant, session_id), None) is not None
            assert self.do(self.store.delete(tenant, session_id)) is held

        @rule(time=times)
        def purge(self, time):
            kept = {k: r for k, r in self.records.items() if r.expires_at >= time}
            assert self.do(self.store.purge(time)) == len(self.records) - len(kept)
            self.records = kept

        @rule(tenant=tenants, session_id=ids)
        def get(self, tenant, session_id):
            found, expected = self.do(self.store.get(tenant, session_id)), self.records.get((tenant, session_id))
            assert (found is None) == (expected is None)
            if expected is not None:
                assert_same(found, expected)

        @rule(tenant=tenants, now=times, limit=st.integers(1, 3), before=st.none() | st.tuples(times, ids))
        def list(self, tenant, now, limit, before):
            live = [r for r in self.records.values() if r.tenant == tenant and r.expires_at > now]
            older = [r for r in live if before is None or (r.created_at, r.id) < before]
            expected = sorted(older, key=lambda r: (r.created_at, r.id), reverse=True)[:limit]
            found = self.do(self.store.list(tenant, now, limit, before))
            assert len(found) == len(expected)
            for record, wanted in zip(found, expected, strict=True):
                assert_same(record, wanted)

        @rule()
        def reopen(self):
            self.context.__exit__(None, None, None)
            self.context = opened(self.folder)
            self.store = self.context.__enter__()

    run_state_machine_as_test(Machine, settings=settings(max_examples=20, stateful_step_count=25, deadline=None))
