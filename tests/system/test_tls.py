"""TLS 1.2 and 1.3: clients of three makes, certificates that are reloaded and asked for, hostile and
cut-up byte streams, and that nothing acknowledged over TLS is lost.
"""

import re
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

import client
import forms
import harness
from certificates import Authority
from client import Connection, ConnectionEnded, post, request, submission
from ledger import Ledger, check_directory
from test_allocations import counter, data_plane, environment, read_counts  # noqa: F401

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def pair(authority):
    return authority.sign("engine")


def settings_of(pair, **more):
    return {"tls_certificate": pair[0], "tls_key": pair[1], **more}


@pytest.fixture(scope="module")
def engine(tmp_path_factory, pair):
    from conftest import running_fleet
    directory = tmp_path_factory.mktemp("tls")
    with running_fleet(directory) as fleet:
        yield fleet.start(directory / "data", settings_of(pair), cores=harness.ONE_CORE)


def context_for(authority, version=None, certificate=None):
    context = ssl.create_default_context(cafile=authority.path)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # which Python sets
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


class TlsConnection(Connection):
    """A Connection over TLS; a stream that ends without close_notify is a fault."""

    def __init__(self, address, context, session=None):
        super().__init__(address)
        try:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost",
                                              suppress_ragged_eofs=False, session=session)
        except BaseException:
            self.socket.close()
            raise


# --- clients ------------------------------------------------------------------------------------

@pytest.mark.parametrize("version", VERSIONS)
def test_curl_submits(engine, authority, version):
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    url = "https://%s:%d/v1/submissions" % engine.address
    done = subprocess.run(
        ["curl", "-sS", "--cacert", authority.path, f"--tlsv{version}", "--tls-max", version, "-w",
         "%{http_code} %{ssl_verify_result}", "-H", "Content-Type: application/json", url, "-d",
         submission().decode()], capture_output=True, text=True, timeout=harness.COMMAND_S)
    assert done.stdout.endswith("201 0"), done


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS.keys())
def test_python_submits_and_the_end_is_announced(engine, authority, version):
    with TlsConnection(engine.address, context_for(authority, version)) as connection:
        for _ in range(20):
            connection.exchange(post(submission())).receipt()
        last = connection.exchange(post(submission(), [("Connection", "close")]))
        assert last.status == 201 and last.closes
        assert connection.rest() == b""  # SSLEOFError without a close_notify


@pytest.mark.parametrize("version", VERSIONS)
def test_s_client_submits(engine, authority, version):
    data = post(submission(), [("Connection", "close")])
    done = subprocess.run(
        ["openssl", "s_client", "-connect", "%s:%d" % engine.address, "-CAfile", authority.path,
         "-verify_return_error", "-ign_eof", "-quiet", "-tls" + version.replace(".", "_")],
        input=data, capture_output=True, timeout=harness.COMMAND_S)
    assert done.stdout.startswith(b"HTTP/1.1 201 "), done


@pytest.mark.parametrize("version", ["1", "1_1"])
def test_older_versions_are_refused(engine, version):
    done = subprocess.run(
        ["openssl", "s_client", "-connect", "%s:%d" % engine.address, "-cipher",
         "ALL:@SECLEVEL=0", "-tls" + version], input=b"", capture_output=True,
        timeout=harness.COMMAND_S)
    assert done.returncode != 0 and b"Cipher is (NONE)" in done.stdout, done


def test_the_protocol_is_negotiated(engine, authority):
    for offered, chosen in ((["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"),
                            ([], None)):
        context = context_for(authority)
        if offered:
            context.set_alpn_protocols(offered)
        with TlsConnection(engine.address, context) as connection:
            assert connection.socket.selected_alpn_protocol() == chosen
            connection.exchange(post(submission())).receipt()
    context = context_for(authority)
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError):
        TlsConnection(engine.address, context)


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS.keys())
def test_a_session_is_resumed_by_its_ticket(engine, authority, version):
    context = context_for(authority, version)
    with TlsConnection(engine.address, context) as first:
        first.exchange(post(submission())).receipt()
        session = first.socket.session
    with TlsConnection(engine.address, context, session) as second:
        assert second.socket.session_reused
        second.exchange(post(submission())).receipt()


def test_renegotiation_is_refused(engine):
    done = subprocess.run(
        ["openssl", "s_client", "-connect", "%s:%d" % engine.address, "-tls1_2"],
        input=b"R\n", capture_output=True, timeout=harness.COMMAND_S)
    assert b"no renegotiation" in done.stderr, done


def test_clear_text_on_a_tls_port_is_refused_and_stores_nothing(engine):
    before = len(harness.cat(engine.data))
    with Connection(engine.address) as connection:
        connection.send(post(submission()))
        assert not connection.rest().startswith(b"HTTP")
    assert len(harness.cat(engine.data)) == before


# --- cut-up streams -----------------------------------------------------------------------------

class Tunnel:
    """TLS over memory, so that a test decides where records and segments are cut."""

    def __init__(self, address, context):
        self.socket = socket.create_connection(address, timeout=client.ANSWER_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.received = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self, cut):
        """Sends what TLS has to send, in pieces of cut() bytes."""
        data = self.outgoing.read()
        while data:
            size = cut()
            self.socket.sendall(data[:size])
            data = data[size:]

    def _receive(self):
        some = self.socket.recv(1 << 16)
        if not some:
            raise ConnectionEnded("in a tunnel")
        self.incoming.write(some)

    def shake_hands(self, cut):
        while True:
            try:
                self.tls.do_handshake()
                return self.flush(cut)
            except ssl.SSLWantReadError:
                self.flush(cut)
                self._receive()

    def response(self):
        while (response := client.take_response(self.received)) is None:
            try:
                self.received += self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                self._receive()
        return response


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS.keys())
def test_every_byte_may_come_alone(engine, authority, version):
    with Tunnel(engine.address, context_for(authority, version)) as tunnel:
        tunnel.shake_hands(lambda: 1)
        for part in post(submission(submissionId="byte by byte")):
            tunnel.tls.write(bytes([part]))
        tunnel.flush(lambda: 1)
        assert tunnel.response().receipt()["submissionId"] == "byte by byte"


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS.keys())
def test_large_pipelined_bodies_in_records_of_odd_sizes(engine, authority, seeded, version):
    """More than the pipeline and the buffers hold, before the first answer is read."""
    bodies = [submission(submissionId=f"odd-{number}", more="x" * seeded.choice((1, 900, 60000)))
              for number in range(300)]
    stream = b"".join(post(body) for body in bodies)
    with Tunnel(engine.address, context_for(authority, version)) as tunnel:
        tunnel.shake_hands(lambda: 100)
        at, faults = 0, []
        while at < len(stream):  # before the thread: an SSL object belongs to one at a time
            size = seeded.choice((1, 17, 1460, 8191, 16383, 16384, 16385, 40000))
            tunnel.tls.write(stream[at:at + size])
            at += size

        def send():
            try:
                tunnel.flush(lambda: seeded.randint(1, 20000))
            except BaseException as fault:
                faults.append(fault)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            for number in range(len(bodies)):
                assert tunnel.response().receipt()["submissionId"] == f"odd-{number}"
        finally:
            thread.join(client.ANSWER_S)
        assert not faults


def test_sessions_share_few_buffers(fleet, tmp_path, authority, pair):
    """Every handshake and every answer needs a send buffer; those who get none wait their turn."""
    settings = settings_of(pair, send_buffers_max=8, receive_buffers_max=8, pipeline_depth_max=4)
    engine = fleet.start(tmp_path / "data", settings, cores=harness.ONE_CORE)
    context, lock, answered, faults = context_for(authority), threading.Lock(), [], []

    def exchange(own):
        try:
            for _ in range(3):
                with TlsConnection(engine.address, context) as connection:
                    connection.send(post(submission(more="x" * own * 100)) * 20)
                    receipts = [connection.response().receipt() for _ in range(20)]
                with lock:
                    answered.extend(receipts)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=exchange, args=(own,)) for own in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults, faults[0]
    assert len(answered) == len(harness.cat(engine.data)) == 40 * 3 * 20


# --- certificates -------------------------------------------------------------------------------

def presented(address, authority):
    with TlsConnection(address, context_for(authority)) as connection:
        return connection.socket.getpeercert(binary_form=True)


def test_a_certificate_is_reloaded_while_a_connection_stays_open(fleet, tmp_path, authority):
    first, second = authority.sign("first"), authority.sign("second")
    certificate, key = tmp_path / "engine.pem", tmp_path / "engine.key"

    def install(source, key_source):
        for path, content in ((certificate, source.read_bytes()), (key, key_source.read_bytes())):
            path.write_bytes(content)
            path.chmod(0o600)

    install(*first)
    engine = fleet.start(tmp_path / "data", settings_of((certificate, key)))
    der = [ssl.PEM_cert_to_DER_cert(pair[0].read_text()) for pair in (first, second)]
    with TlsConnection(engine.address, context_for(authority)) as open_one:
        open_one.exchange(post(submission())).receipt()
        assert presented(engine.address, authority) == der[0]
        install(second[0], first[1])
        engine.reload()
        engine.wait_for_log("event=reload-failed object=tls")
        assert presented(engine.address, authority) == der[0]
        for number, (pair, expected) in enumerate(((second, der[1]), (first, der[0])) * 5):
            install(*pair)
            engine.reload()
            engine.wait_for_log("event=reloaded object=tls", number + 1)
            assert presented(engine.address, authority) == expected
            open_one.exchange(post(submission())).receipt()
    assert re.search(r'reload-failed object=tls error="[^\n]*engine.key', engine.log())


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS.keys())
@pytest.mark.parametrize("auth", ["none", "optional", "required"])
def test_certificates_of_clients(fleet, tmp_path, authority, stranger, pair, auth, version):
    more = {"tls_client_auth": auth, **({"tls_client_ca": authority.path} if auth != "none" else {})}
    engine = fleet.start(tmp_path / "data", settings_of(pair, **more))
    cases = {"no certificate": (None, auth != "required"),
             "right": (authority.sign("client"), True),
             "of another authority": (stranger.sign("client"), auth == "none")}
    for name, (certificate, allowed) in cases.items():
        before = len(harness.cat(engine.data))
        context = context_for(authority, version, certificate)
        try:
            with TlsConnection(engine.address, context) as connection:
                status = connection.exchange(post(submission())).status
        except (ssl.SSLError, ConnectionEnded, ConnectionResetError, BrokenPipeError):
            status = None
        assert status == (201 if allowed else None), name
        assert len(harness.cat(engine.data)) == before + allowed, name


@pytest.mark.parametrize("change,complaint", [
    ({"tls_key": ""}, "go together"),
    ({"tls_certificate": "/nonexistent.pem"}, "/nonexistent.pem"),
    ({"tls_key": "/nonexistent.key"}, "/nonexistent.key"),
    ({"tls_client_auth": "perhaps"}, "none, optional or required"),
    ({"tls_client_auth": "required"}, "tls_client_ca"),
    ({"tls_client_auth": "required", "tls_client_ca": "/dev/null"}, "/dev/null"),
])
def test_a_configuration_that_cannot_work_stops_the_start(tmp_path, pair, change, complaint):
    done = harness.serve_to_exit(tmp_path / "data", settings_of(pair, **change) | change)
    assert done.returncode == 78 and complaint in done.stderr


def test_a_key_that_others_may_read_stops_the_start(tmp_path, authority):
    certificate, key = authority.sign("careless")
    key.chmod(0o644)
    done = harness.serve_to_exit(tmp_path / "data", settings_of((certificate, key)))
    assert done.returncode == 78 and "chmod o-rwx" in done.stderr


# --- hostile streams ----------------------------------------------------------------------------

def client_hello(authority):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context_for(authority).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def test_garbage_and_truncated_handshakes_harm_nobody(engine, authority, seeded):
    hello = client_hello(authority)
    before = len(harness.cat(engine.data))
    with TlsConnection(engine.address, context_for(authority)) as good:
        for number in range(300):
            data = bytearray(hello)
            if number % 3 == 0:
                data = bytearray(seeded.randbytes(seeded.randint(1, 3000)))
            elif number % 3 == 1:
                for _ in range(seeded.randint(1, 8)):
                    data[seeded.randrange(len(data))] = seeded.randrange(256)
            else:
                del data[seeded.randrange(len(data)):]
            with Connection(engine.address) as connection:
                connection.send(bytes(data))
                if seeded.random() < 0.3:
                    connection.reset()
                elif seeded.random() < 0.5:
                    connection.finish_sending()
            if number % 30 == 0:
                good.exchange(request("GET", "/livez"))
        good.exchange(post(submission())).receipt()
    assert len(harness.cat(engine.data)) == before + 1


def test_garbage_behind_a_handshake_ends_that_connection(engine, authority, seeded):
    before = len(harness.cat(engine.data))
    for number in range(30):
        with Tunnel(engine.address, context_for(authority)) as tunnel:
            tunnel.shake_hands(lambda: 1000)
            tunnel.tls.write(post(submission()))
            record = bytearray(tunnel.outgoing.read())
            record[seeded.randrange(5, len(record))] ^= 1 << seeded.randrange(8)
            tunnel.socket.sendall(bytes(record))
            with pytest.raises((ssl.SSLError, ConnectionEnded, ConnectionResetError)):
                tunnel.response()
    assert len(harness.cat(engine.data)) == before


@pytest.mark.parametrize("part", [0, 1, 100])
def test_a_handshake_that_never_ends_meets_the_header_deadline(fleet, tmp_path, authority, pair,
                                                               part):
    settings = settings_of(pair, header_deadline_ms=harness.scaled_ms(200),
                           idle_deadline_ms=3600000)
    engine = fleet.start(tmp_path / "data", settings)
    with Connection(engine.address) as connection:
        connection.send(client_hello(authority)[:part])
        assert connection.rest() == b""  # which the engine has to end
    with Tunnel(engine.address, context_for(authority)) as tunnel:  # answers, but never finishes
        tunnel.socket.sendall(client_hello(authority))
        with pytest.raises((ConnectionEnded, ConnectionResetError)):
            while True:
                tunnel._receive()


def test_a_stop_in_the_middle_of_a_body_stores_nothing(engine, authority):
    before = len(harness.cat(engine.data))
    for polite in (True, False):
        connection = TlsConnection(engine.address, context_for(authority))
        connection.send(post(submission())[:-3])
        if polite:
            try:
                connection.socket.unwrap()
            except (ssl.SSLError, OSError):
                pass
        connection.close()
    with TlsConnection(engine.address, context_for(authority)) as connection:
        connection.exchange(post(submission())).receipt()
    assert len(harness.cat(engine.data)) == before + 1


# --- promises -----------------------------------------------------------------------------------

def submit_all(engine, authority, ledger, indexes, lock):
    """Until the engine is gone."""
    try:
        with TlsConnection(engine.address, context_for(authority)) as connection:
            for index in indexes:
                response = connection.exchange(post(ledger.forms[index]))
                with lock:
                    ledger.record(index, response.receipt())
    except (ssl.SSLError, OSError, ConnectionEnded):
        pass


def test_what_was_acknowledged_over_tls_survives_a_kill(fleet, tmp_path, authority, pair):
    ledger, lock, data = Ledger(forms.synthetic(3000)), threading.Lock(), tmp_path / "data"
    for number in range(3):
        engine = fleet.start(data, settings_of(pair))
        todo = ledger.unacknowledged()
        goal = len(ledger.acknowledged) + 300
        threads = [threading.Thread(target=submit_all,
                                    args=(engine, authority, ledger, todo[first::4], lock))
                   for first in range(4)]
        for thread in threads:
            thread.start()
        while len(ledger.acknowledged) < goal and any(thread.is_alive() for thread in threads):
            threads[0].join(0.01)
        engine.kill()
        for thread in threads:
            thread.join()
        engine.wait()
        assert len(ledger.acknowledged) >= goal
    engine = fleet.start(data, settings_of(pair))
    check_directory(ledger, data, complete=False)


@pytest.mark.skipif(bool(harness.SANITIZER), reason="the sanitizer runtime allocates by itself")
@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS.keys())
def test_open_sessions_allocate_and_lock_nothing(
        fleet, tmp_path, authority, pair, counter, version):  # noqa: F811
    counts = tmp_path / "counts"
    engine = fleet.start(tmp_path / "data", settings_of(pair),
                         environment=environment(counter, counts))
    connections = [TlsConnection(engine.address, context_for(authority, version))
                   for _ in range(8)]
    try:
        for number in range(2000):
            if number == 200:
                before = data_plane(read_counts(counts))
            connections[number % 8].exchange(post(submission())).receipt()
        assert data_plane(read_counts(counts)) == before
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.skipif(bool(harness.SANITIZER), reason="a sanitizer has memory of its own")
@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS.keys())
def test_the_budget_bounds_what_a_session_takes(fleet, tmp_path, authority, pair, version):
    engine = fleet.start(tmp_path / "data", settings_of(pair), cores=harness.ONE_CORE)
    planned = int(re.search(r'pool="TLS sessions" count=\d+ bytes_each=(\d+)', engine.log())[1])
    context = context_for(authority, version)
    body, connections = submission(more="x" * 60000), []
    try:
        for number in range(250):
            connections.append(TlsConnection(engine.address, context))
            connections[-1].exchange(post(body)).receipt()
            if number == 49:
                before = engine.resident_bytes()
        taken = (engine.resident_bytes() - before) / 200
        print(f"{taken:.0f} bytes per session")
        assert 0 < taken <= planned
    finally:
        for connection in connections:
            connection.close()
