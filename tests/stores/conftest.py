import asyncio
from contextlib import contextmanager

import pytest

from service.stores.sqlite import SQLiteStore

STORES = [pytest.param(SQLiteStore.open, id="sqlite")]


@pytest.fixture(params=STORES)
def opened(request):
    """A context that opens the store of a folder and closes it at its end."""

    @contextmanager
    def context(folder):
        store = request.param(folder)
        try:
            yield store
        finally:
            asyncio.run(store.close())

    return context


@pytest.fixture
def store(opened, tmp_path):
    with opened(tmp_path / "store") as store:
        yield store
