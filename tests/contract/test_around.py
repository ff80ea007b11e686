"""What is around the requests: connections, and bodies that are no requests."""

import http.client
import time

import pytest

from tests.contract.problems import check_problem


@pytest.mark.slow
def test_an_idle_connection_is_kept_for_more_than_a_minute(server):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read()
    socket = connection.sock
    time.sleep(65)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    assert connection.sock is socket


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_has_not_are_refused(client, number):
    body = '{"graph":{"format":"expression","outputs":{"y":"x"}},"inputs":{"x":[1.0,NUMBER]}}'.replace("NUMBER", number)
    answer = client.post("/v1/sessions", content=body, headers={"Content-Type": "application/json"})
    check_problem(answer, "invalid-request")
