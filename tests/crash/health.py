"""Liveness and readiness, asked from outside."""

import time

import client
import harness

CHANGE_S = 5.0 * harness.TIME_FACTOR  # a full disk is looked at again every 0.2 s


def answer(engine, target):
    with client.Connection(engine.address) as connection:
        return connection.exchange(client.request("GET", target))


def is_live(engine):
    return answer(engine, "/livez").status == 200


def wait_for_readiness(engine, ready):
    """Waits until /readyz says so; returns the seconds that it took."""
    started = time.monotonic()
    while (answer(engine, "/readyz").status == 200) != ready:
        assert time.monotonic() - started < CHANGE_S, f"ready is not {ready}\n{engine.log_tail()}"
        time.sleep(0.01)
    return time.monotonic() - started


def unready_slug(engine):
    """Why it is not ready."""
    response = answer(engine, "/readyz")
    assert response.status == 503
    return response.problem()["slug"]
