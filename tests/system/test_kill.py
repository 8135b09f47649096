"""What was answered with 201 survives kill -9, byte for byte (promise P1).

Sends the 5,071 forms over many connections, kills the engine at random moments, restarts it on the
same directory, sends what was not acknowledged, and compares the directory with the receipts. A
submission whose answer the kill swallowed may be stored twice; none may be missing. A tail runs
through all of it: it sees everything once and nothing that is not there afterwards (promise P8).
Environment: SLUICE_KILL_ROUNDS is the number of fresh directories for every transport.
"""

import contextlib
import os

import pytest

import client
import forms
import harness
from ledger import Ledger, check_directory
from load import CHUNKED, IDLE_BESIDE, PIPELINED, PLAIN, SPLIT, Load, Trigger
from tailing import Loader, places_of

ROUNDS = 3 if harness.SANITIZER else 10  # of every transport
KILLS_MAX = 3
IDLE_SAMPLE = 50

SEGMENT_BYTES = 8 << 20  # cheap to create
SEGMENT_BYTES_SMALL = 1 << 20  # several are filled and sealed within one round


@pytest.fixture
def loader():
    loader = Loader()
    yield loader
    loader.stop()
    assert not loader.faults


def every_round():
    rounds = int(os.environ.get("SLUICE_KILL_ROUNDS") or ROUNDS)
    return [pytest.param(transport, number, id=f"{transport.name}-{number}")
            for transport in (PLAIN, PIPELINED, CHUNKED, SPLIT, IDLE_BESIDE)
            for number in range(rounds)]


def random_kill(engine, count, random):
    """At a random receipt, right after a random request was sent, or up to 5 ms later."""
    moment = random.randint(1, max(1, count * 9 // 10))
    delay_s = random.choice((0.0, random.uniform(0.0, 0.005)))
    counted = random.choice(("acks", "sends"))
    print(f"kill at {moment} {counted} of {count}, {delay_s * 1000:.2f} ms later")
    return Trigger(engine.kill, delay_s=delay_s, **{counted: moment})


@contextlib.contextmanager
def idle_connections(engine, count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(client.Connection(engine.address)) for _ in range(count)]


def start_engine(fleet, data, settings, loader):
    """The tail comes with the first engine, before anything is stored, and stays."""
    engine = fleet.start(data, settings)
    loader.start(data)
    return engine


def send_until_killed(engine, ledger, spare, transport, random):
    indexes = [index for index in ledger.unacknowledged() if index not in spare]
    load = Load(engine.address, ledger, random, transport, connections=random.randint(16, 48))
    with idle_connections(engine, transport.idle_connections):
        load.run(indexes, random_kill(engine, len(indexes), random))
    assert engine.wait() == -9


def send_the_rest(engine, ledger, spare, transport, random):
    """Sends what is not acknowledged; the `spare` forms go through some of the idle connections."""
    with idle_connections(engine, transport.idle_connections) as idle:
        rest = [index for index in ledger.unacknowledged() if index not in spare]
        Load(engine.address, ledger, random, transport, connections=16).run(rest)
        for connection, index in zip(random.sample(idle, min(len(idle), IDLE_SAMPLE)), spare):
            answer = connection.exchange(client.post(ledger.forms[index]))
            ledger.record(index, answer.receipt())


@pytest.mark.parametrize("transport,number", every_round())
def test_every_receipt_survives_kill_9(fleet, tmp_path, seeded, loader, transport, number):
    if not harness.open_files_at_least(2 * transport.idle_connections + 500):
        pytest.skip(f"the hard limit of open files is too low for {transport.name}")
    all_forms = forms.pilot() + forms.awkward()
    spare = range(len(all_forms), len(all_forms) + min(IDLE_SAMPLE, transport.idle_connections))
    ledger = Ledger(all_forms + forms.synthetic(len(spare), seed=2))
    settings = {"segment_bytes": SEGMENT_BYTES_SMALL if number % 3 == 2 else SEGMENT_BYTES}
    data = tmp_path / "data"

    for _ in range(seeded.randint(1, KILLS_MAX)):
        send_until_killed(start_engine(fleet, data, settings, loader), ledger, spare, transport,
                          seeded)
    engine = fleet.start(data, settings)
    send_the_rest(engine, ledger, spare, transport, seeded)
    check_directory(ledger, data)

    engine.kill()  # with nothing on its way: what is on disk is all that counts
    assert engine.wait() == -9
    fleet.start(data, settings)
    loader.check(places_of(check_directory(ledger, data)))


def test_kill_during_start_up_and_recovery_loses_nothing(fleet, tmp_path, seeded, loader):
    """The engine is killed again while it recovers, before it says that it is ready."""
    data = tmp_path / "data"
    settings = {"segment_bytes": SEGMENT_BYTES_SMALL}
    ledger = Ledger(forms.synthetic(1500, seed=3))
    engine = start_engine(fleet, data, settings, loader)
    load = Load(engine.address, ledger, seeded)
    load.run(ledger.unacknowledged(), Trigger(engine.kill, acks=seeded.randint(500, 1400)))
    assert engine.wait() == -9
    for _ in range(10):
        harness.kill_while_starting(data, settings, after_s=seeded.uniform(0.0, 0.03))
    engine = fleet.start(data, settings)
    Load(engine.address, ledger, seeded).run(ledger.unacknowledged())
    loader.check(places_of(check_directory(ledger, data)))
