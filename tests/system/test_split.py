"""A request means the same wherever the network cuts it: every byte boundary, two sends.

All cuts are tried at once, each on its own connection. Between the two parts one more request is
answered on another connection of the same ingress thread, which has then received every first part.
"""

import contextlib

import pytest

import client
from client import Connection
from harness import ONE_CORE
from ledger import Ledger, check_directory


def body(name):
    """With escapes, text beyond ASCII and newlines; `name` makes it unique."""
    return ('{"submissionId": "split-%s",\r\n "patientId": "Zoë \\u00e9",\n\n'
            ' "timestamp": 1341573753, "scores": {"Q\\"1": "頭痛\\n🙂", "Q2": null}}\n'
            % name).encode()


def with_length(name):
    return client.post(body(name)), [body(name)]


def in_one_byte_chunks(name):
    whole = body(name)
    return client.post_chunked(whole, [1] * len(whole)), [whole]


def in_mixed_chunks(name):
    return client.post_chunked(body(name), [1, 2, 17, 64, 1]), [body(name)]


def two_in_a_row(name):
    first, second = body(f"{name}-first"), body(f"{name}-second")
    return client.post(first) + client.post_chunked(second, [40]), [first, second]


@pytest.mark.parametrize("encode", [with_length, in_one_byte_chunks, in_mixed_chunks, two_in_a_row])
def test_a_request_cut_at_any_byte_is_stored_unchanged(fleet, tmp_path, encode):
    engine = fleet.start(tmp_path / "data", cores=ONE_CORE)
    cuts = range(1, len(encode(f"{0:05}")[0]))
    requests = [encode(f"{cut:05}") for cut in cuts]
    ledger = Ledger([sent for _, bodies in requests for sent in bodies])
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(Connection(engine.address)) for _ in cuts]
        for cut, connection, (whole, _) in zip(cuts, connections, requests):
            connection.send(whole[:cut])
        with Connection(engine.address) as barrier:
            assert barrier.exchange(client.request("GET", "/livez")).status == 200
        for cut, connection, (whole, _) in zip(cuts, connections, requests):
            connection.send(whole[cut:])
        index = 0
        for connection, (_, bodies) in zip(connections, requests):
            for _ in bodies:
                ledger.record(index, connection.response().receipt())
                index += 1
    check_directory(ledger, tmp_path / "data")
