"""No credential, no write; no writing for another study or centre; nothing secret in any log line.

Environment: SLUICE_ROUTE_LIST is the program that prints the engine's table of routes; without it
the test that compares the matrix with that table is skipped.
"""

import dataclasses
import datetime
import hashlib
import json
import os
import re
import subprocess
import threading
import time

import pytest

import client
import forms
import harness
from client import Connection, post, post_chunked, request, submission
from credential_file import CredentialFile, bearer, entry
from ledger import Ledger
from load import CHUNKED, PIPELINED, PLAIN, Load

STUDY, CENTER = "TRIAL-7", "701"
GOOD = "good-" + "g" * 43
TOKENS = {
    "wrong": "wrong-token",
    "expired": "expired-token",
    "not yet valid": "future-token",
    "wrong scope": "reader-token",
    "bound elsewhere": "elsewhere-token",
    "unbound": "unbound-token",
    "right": GOOD,
}
ENTRIES = [
    entry("expired", TOKENS["expired"], expires="2026-01-01T00:00:00Z"),
    entry("future", TOKENS["not yet valid"], not_before="2099-01-01T00:00:00Z"),
    entry("reader", TOKENS["wrong scope"], scopes=["read", "admin"]),
    entry("elsewhere", TOKENS["bound elsewhere"], studies=["TRIAL-8"], centers=["801"]),
    entry("unbound", TOKENS["unbound"]),
    entry("site-701", GOOD, studies=["TRIAL-6", STUDY], centers=["700", CENTER],
          not_before="2026-01-01T00:00:00+01:00", expires="2099-01-01T00:00:00Z"),
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """One engine that asks for credentials, with an admin listener."""
    from conftest import running_fleet
    directory = tmp_path_factory.mktemp("credentials")
    file = CredentialFile(directory / "credentials.yaml", ENTRIES)
    with running_fleet(directory) as fleet:
        yield fleet.start(directory / "data", cores=harness.ONE_CORE,
                          options=[*file.options, "--admin", "127.0.0.1:0"])


# --- the matrix ---------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Presented:
    """What comes with a request, and what a route answers to it: (status, slug). `members` are of
    the submission, for routes that take one; None leaves one out."""
    headers: list
    answer: tuple
    challenge: str | None = None
    members: dict = dataclasses.field(default_factory=dict)


RIGHT = (None, None)  # as without credentials
INVALID = (401, "invalid-token"), 'Bearer error="invalid_token"'


def ingest_cases():
    good = [bearer(GOOD)]
    cases = {
        "none": Presented([], (401, "unauthenticated"), "Bearer"),
        "another scheme": Presented([("Authorization", f"Basic {GOOD}")],
                                    (401, "unauthenticated"), "Bearer"),
        "empty": Presented([("Authorization", "Bearer ")], *INVALID),
        "malformed": Presented([("Authorization", f"Bearer {GOOD} {GOOD}")], *INVALID),
        "one byte more": Presented([bearer(GOOD + "g")], *INVALID),
        "one byte less": Presented([bearer(GOOD[:-1])], *INVALID),
        "other case": Presented([bearer(GOOD.upper())], *INVALID),
        "the digest": Presented([bearer(hashlib.sha256(GOOD.encode()).hexdigest())], *INVALID),
        "the name": Presented([bearer("site-701")], *INVALID),
        "longest": Presented([bearer("x" * 128)], *INVALID),
        "too long": Presented([bearer("x" * 129)], *INVALID),
        "far too long": Presented([bearer("x" * 4000)], *INVALID),
        "wrong scope": Presented([bearer(TOKENS["wrong scope"])], (403, "insufficient-scope"),
                                 'Bearer error="insufficient_scope"'),
        "bound elsewhere": Presented([bearer(TOKENS["bound elsewhere"])],
                                     (403, "study-not-allowed")),
        "wrong study": Presented(good, (403, "study-not-allowed"), members={"studyId": "TRIAL-8"}),
        "no study": Presented(good, (403, "study-not-allowed"), members={"studyId": None}),
        "wrong centre": Presented(good, (403, "center-not-allowed"), members={"centerId": "801"}),
        "no centre": Presented(good, (403, "center-not-allowed"), members={"centerId": None}),
        "right": Presented(good, RIGHT),
        "right, other study of its list": Presented(good, RIGHT, members={"studyId": "TRIAL-6"}),
        "right, study by escapes": Presented(good, RIGHT, members={"studyId": STUDY}),
        "unbound": Presented([bearer(TOKENS["unbound"])], RIGHT,
                             members={"studyId": "any", "centerId": None}),
    }
    for name in ("wrong", "expired", "not yet valid"):
        cases[name] = Presented([bearer(TOKENS[name])], *INVALID)
    return cases


def open_cases():
    """A route for everybody does not even look."""
    return {name: dataclasses.replace(case, answer=RIGHT, challenge=None, members={})
            for name, case in ingest_cases().items()}


# One row per route, by (method, path): its scope, the listeners it is on, what it answers to the
# right credential, and the cases. A route that has no row here fails test_every_route_has_a_row.
ROWS = {
    ("POST", "/v1/submissions"): ("ingest", {"public"}, 201, ingest_cases()),
    ("GET", "/livez"): (None, {"public", "admin"}, 200, open_cases()),
    ("GET", "/readyz"): (None, {"public", "admin"}, 200, open_cases()),
}
MATRIX = [(route, listener, case) for route, (_, listeners, _, cases) in ROWS.items()
          for listener in sorted(listeners) for case in cases]


def test_every_route_has_a_row():
    program = os.environ.get("SLUICE_ROUTE_LIST")
    if not program:
        pytest.skip("no SLUICE_ROUTE_LIST")
    listing = subprocess.run([program], check=True, capture_output=True, timeout=60).stdout
    routes = [json.loads(line) for line in listing.splitlines()]
    assert {(route["method"], route["path"]) for route in routes} == set(ROWS)
    for route in routes:
        scope, listeners, _, _ = ROWS[route["method"], route["path"]]
        assert route["scope"] == scope
        assert {name for name in ("public", "admin") if route[name]} == listeners


def message(method, path, case):
    if method != "POST":
        return request(method, path, case.headers)
    members = {"studyId": STUDY, "centerId": CENTER, **case.members}
    return post(submission(**members), case.headers)


@pytest.mark.parametrize("route,listener,name", MATRIX,
                         ids=[f"{m} {p}-{l}-{c}" for (m, p), l, c in MATRIX])
def test_each_route_answers_each_credential_as_the_matrix_says(engine, route, listener, name):
    _, _, right_status, cases = ROWS[route]
    case = cases[name]
    status, slug = case.answer
    before = len(harness.cat(engine.data))
    address = engine.address if listener == "public" else engine.admin_address()
    with Connection(address) as connection:
        response = connection.exchange(message(*route, case))
        assert response.headers.get("www-authenticate") == case.challenge
        if slug is None:
            assert response.status == right_status
        else:
            problem = response.problem()
            assert (problem["status"], problem["slug"]) == (status, slug)
            if status == 403 and slug != "insufficient-scope":
                member = {"study-not-allowed": "studyId", "center-not-allowed": "centerId"}[slug]
                assert problem["pointer"] == f"/{member}"
                left_out = case.members.get(member, "") is None
                assert (f"add the member {member}" in problem["detail"]) == left_out
        # the connection goes on, and what was said before does not count for the next request
        assert connection.exchange(request("GET", "/livez")).status == 200
        again = post(submission(studyId=STUDY, centerId=CENTER))
        assert connection.exchange(again).status == (401 if listener == "public" else 404)
    stored = harness.cat(engine.data)[before:]
    writes = slug is None and route[0] == "POST"
    assert len(stored) == (1 if writes else 0)
    if writes:
        token = case.headers[0][1].removeprefix("Bearer ")
        names = {entry_["sha256"]: entry_["name"] for entry_ in ENTRIES}
        assert stored[0]["credential"] == names[hashlib.sha256(token.encode()).hexdigest()]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_another_method_on_a_guarded_path_needs_the_credential_first(engine, method):
    with Connection(engine.address) as connection:
        assert connection.exchange(request(method, client.SUBMISSIONS)).status == 401
        wrong = connection.exchange(request(method, client.SUBMISSIONS, [bearer("wrong")]))
        assert wrong.status == 401
        right = connection.exchange(request(method, client.SUBMISSIONS, [bearer(GOOD)]))
        assert right.status == 405


def test_two_authorization_headers_are_malformed(engine):
    headers = [bearer(TOKENS["wrong"]), bearer(GOOD)]
    with Connection(engine.address) as connection:
        problem = connection.exchange(post(submission(), headers)).problem()
        assert (problem["status"], problem["slug"]) == (400, "malformed-request")
        connection.rest()


@pytest.mark.parametrize("token,status", [(None, 401), ("wrong", 401), ("reader-token", 403)])
def test_a_refusal_does_not_wait_for_the_body(engine, token, status):
    headers = [] if token is None else [bearer(token)]
    body = submission(studyId=STUDY, centerId=CENTER)
    for head in (post(body, [*headers, ("Expect", "100-continue")])[:-len(body)],
                 post_chunked(body, [], headers)[:-len(body) - 10]):
        with Connection(engine.address) as connection:
            response = connection.exchange(head)
            assert response.status == status and response.closes
            connection.rest()


def test_pipelined_requests_stand_each_for_itself(engine):
    body = submission(studyId=STUDY, centerId=CENTER)
    elsewhere = submission(studyId="TRIAL-8", centerId=CENTER)
    good = [bearer(GOOD)]
    whole = [(post(body, good), 201), (post(body), 401), (post(body, good), 201),
             (post(elsewhere, good), 403), (post(body, [bearer("no")]), 401),
             (post(body, good), 201)] * 20
    before = len(harness.cat(engine.data))
    with Connection(engine.address) as connection:
        connection.send(b"".join(data for data, _ in whole))
        for _, status in whole:
            assert connection.response().status == status
    assert len(harness.cat(engine.data)) == before + 60


# --- reload -------------------------------------------------------------------------------------

RELOADED = r"event=reloaded object=credentials"


def try_token(address, token):
    with Connection(address) as connection:
        return connection.exchange(post(submission(), [bearer(token)])).status


def test_a_reload_under_load_refuses_nobody_wrongly(fleet, tmp_path, seeded):
    """One token stays, one comes, one goes, twenty times, while the first carries the load."""
    keeps, rounds = entry("keeps", "token-keeps"), 20
    file = CredentialFile(tmp_path / "c.yaml", [keeps, entry("round-0", "token-0")])
    data = tmp_path / "data"
    engine = fleet.start(data, options=file.options)
    made = forms.synthetic(24000 if not harness.SANITIZER else 6000)
    ledger = Ledger(made)
    reloads_done = threading.Event()
    faults = []

    def carry_load():
        try:
            transports = [PLAIN, PIPELINED, CHUNKED]
            step = len(made) // 60
            for number, first in enumerate(range(0, len(made), step)):
                load = Load(engine.address, ledger, seeded, transports[number % 3],
                            connections=16, headers=[bearer("token-keeps")])
                load.run(range(first, min(first + step, len(made))))
                if reloads_done.is_set():
                    return
        except BaseException as fault:  # shown by the test's own thread
            faults.append(fault)

    thread = threading.Thread(target=carry_load)
    thread.start()
    try:
        for number in range(1, rounds + 1):
            assert try_token(engine.address, f"token-{number - 1}") == 201
            file.write([keeps, entry(f"round-{number}", f"token-{number}")])
            assert try_token(engine.address, f"token-{number - 1}") == 201, "not before SIGHUP"
            assert try_token(engine.address, f"token-{number}") == 401
            engine.reload()
            engine.wait_for_log(RELOADED, number)
            assert try_token(engine.address, f"token-{number - 1}") == 401
            assert try_token(engine.address, f"token-{number}") == 201
            assert thread.is_alive(), faults or "the load was over too early"
    finally:
        reloads_done.set()
        thread.join()
    assert not faults, faults[0]
    acknowledged = len(ledger.acknowledged)
    records = harness.cat(data)
    loaded = [record for record in records if record["sha256"] in ledger.index_of]
    assert len(loaded) == acknowledged and {record["credential"] for record in loaded} == {"keeps"}
    harness.verify(data)


def test_many_signals_make_reloads_that_all_end(fleet, tmp_path):
    file = CredentialFile(tmp_path / "c.yaml", [entry("a", "token-a")])
    engine = fleet.start(tmp_path / "data", options=[*file.options, "--admin", "127.0.0.1:0"])
    for _ in range(300):
        engine.reload()
    file.write([entry("b", "token-b")])
    engine.reload()
    deadline = time.monotonic() + harness.START_S
    while try_token(engine.address, "token-b") != 201:  # signals merge: no count to wait for
        assert time.monotonic() < deadline
    assert try_token(engine.address, "token-a") == 401


@pytest.mark.parametrize("fault,complaint", [
    (lambda file: file.write_text("credentials:\n- name: [\n"), r"c\.yaml:3: this is not YAML"),
    (lambda file: file.write_text("credentials:\n- name: a\n  nonsense: 1\n"), r"c\.yaml:3: "),
    (lambda file: file.write([]), r"c\.yaml:1: there are 0 entries"),
    (lambda file: file.write_text(file.path.read_text(), mode=0o644), r"chmod o-rwx"),
    (lambda file: file.path.unlink(), r"cannot read .*c\.yaml"),
], ids=["no YAML", "unknown key", "empty", "readable by all", "gone"])
def test_a_reload_that_fails_leaves_the_old_credentials_in_force(fleet, tmp_path, fault, complaint):
    file = CredentialFile(tmp_path / "c.yaml", [entry("a", "token-a")])
    engine = fleet.start(tmp_path / "data", options=file.options)
    fault(file)
    engine.reload()
    engine.wait_for_log(r"event=reload-failed object=credentials error=\"[^\n]*" + complaint)
    assert try_token(engine.address, "token-a") == 201
    assert try_token(engine.address, "token-b") == 401
    file.write([entry("b", "token-b")])
    engine.reload()
    engine.wait_for_log(RELOADED)
    assert try_token(engine.address, "token-a") == 401
    assert try_token(engine.address, "token-b") == 201


def test_a_token_that_is_revoked_while_its_body_comes_writes_nothing(fleet, tmp_path):
    file = CredentialFile(tmp_path / "c.yaml", [entry("a", "token-a"), entry("b", "token-b")])
    engine = fleet.start(tmp_path / "data", options=file.options)
    body = submission()
    with Connection(engine.address) as revoked, Connection(engine.address) as kept:
        for connection, token in ((revoked, "token-a"), (kept, "token-b")):
            assert connection.exchange(request("GET", "/livez")).status == 200
            connection.send(post(body, [bearer(token)])[:-10])
        # the engine has read the headers when a later request on the same ingress is answered;
        # without that the answer would be the same, by the other way
        file.write([entry("b", "token-b")])
        engine.reload()
        engine.wait_for_log(RELOADED)
        assert revoked.exchange(body[-10:]).problem()["slug"] == "invalid-token"
        kept.exchange(body[-10:]).receipt()
    assert [record["credential"] for record in harness.cat(engine.data)] == ["b"]


def test_a_token_ends_with_its_time(fleet, tmp_path):
    ends = int(time.time()) + 3
    text = datetime.datetime.fromtimestamp(ends, datetime.timezone.utc).strftime("%FT%TZ")
    file = CredentialFile(tmp_path / "c.yaml", [entry("a", "token-a", expires=text)])
    engine = fleet.start(tmp_path / "data", options=file.options)
    with Connection(engine.address) as connection:
        while True:
            began = time.time()
            response = connection.exchange(post(submission(), [bearer("token-a")]))
            if response.status == 401:
                break
            assert began < ends and response.receipt()["receivedAt"] < text
        assert time.time() >= ends
        for _ in range(3):
            again = connection.exchange(post(submission(), [bearer("token-a")]))
            assert again.problem()["slug"] == "invalid-token"


# --- start --------------------------------------------------------------------------------------

@pytest.mark.parametrize("where,listen,options", [
    ("--listen 0.0.0.0:0", "0.0.0.0:0", []),
    ("--listen [::]:0", "[::]:0", []),
    ("--admin 0.0.0.0:0", "127.0.0.1:0", ["--admin", "0.0.0.0:0"]),
])
def test_without_credentials_only_loopback_is_served(tmp_path, where, listen, options):
    done = harness.serve_to_exit(tmp_path / "data", listen=listen, options=options)
    assert done.returncode == 78 and done.stdout == ""
    assert where in done.stderr and "--credentials" in done.stderr
    assert not (tmp_path / "data").exists()


def test_with_credentials_every_address_may_be_served(tmp_path):
    file = CredentialFile(tmp_path / "c.yaml", [entry("a", "token-a")])
    command = harness.serve_command(tmp_path / "data", {}, harness.ONE_CORE, "0.0.0.0:0",
                                    file.options)
    with open(tmp_path / "log", "wb") as log, subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log) as process:
        try:
            ready = re.fullmatch(rb"sluice: ready on http://0\.0\.0\.0:(\d+)\n",
                                 process.stdout.readline())
            assert ready, (tmp_path / "log").read_text()
            address = "127.0.0.1", int(ready[1])
            assert (try_token(address, "token-a"), try_token(address, "x")) == (201, 401)
        finally:
            process.terminate()
        assert process.wait(harness.STOP_S) == 0


def test_on_loopback_without_credentials_the_engine_says_so_once(fleet, tmp_path):
    engine = fleet.start(tmp_path / "data", options=["--admin", "127.0.0.1:0"])
    with Connection(engine.address) as connection:
        connection.exchange(post(submission(), [bearer("ignored")])).receipt()
    engine.reload()
    engine.wait_for_log("nothing to reload")
    assert engine.log().count("event=no-credentials") == 1
    assert "credential" not in harness.cat(engine.data)[0]


@pytest.mark.parametrize("text,mode", [("credentials: 1\n", 0o600), (None, 0o604)])
def test_a_file_that_cannot_be_used_stops_the_start(tmp_path, text, mode):
    file = CredentialFile(tmp_path / "c.yaml", [entry("a", "token-a")])
    file.write_text(text or file.path.read_text(), mode)
    done = harness.serve_to_exit(tmp_path / "data", options=file.options)
    assert done.returncode == 78 and str(file.path) in done.stderr


def test_the_file_may_be_named_in_the_configuration(fleet, tmp_path):
    file = CredentialFile(tmp_path / "c.yaml", [entry("a", "token-a")])
    config = tmp_path / "config.yaml"
    config.write_text(f"credentials: {file.path}\n")
    engine = fleet.start(tmp_path / "data", options=["--config", config])
    assert (try_token(engine.address, "token-a"), try_token(engine.address, "x")) == (201, 401)


def test_sluice_token_makes_a_token_and_its_entry(fleet, tmp_path):
    options = ["--name", "app-1", "--study", STUDY, "--center", '7"0\\1', "--expires",
               "2099-01-01T00:00:00Z"]
    made = [harness.run("token", *options), harness.run("token", "--name", "b", "--scope", "admin")]
    tokens = [done.stdout.decode() for done in made]
    assert all(re.fullmatch(r"sluice_[A-Za-z0-9_-]{43}\n", token) for token in tokens)
    assert tokens[0] != tokens[1]
    entries = "".join(done.stderr.decode() for done in made)
    assert not any(token.strip() in entries for token in tokens)
    file = CredentialFile(tmp_path / "c.yaml", [])
    file.write_text("credentials:\n" + entries)
    engine = fleet.start(tmp_path / "data", options=file.options)
    headers = [bearer(tokens[0].strip())]
    with Connection(engine.address) as connection:
        body = submission(studyId=STUDY, centerId='7"0\\1')
        connection.exchange(post(body, headers)).receipt()
        wrong = connection.exchange(post(body, [bearer(tokens[1].strip())]))
        assert wrong.problem()["slug"] == "insufficient-scope"
    assert harness.run("token").returncode == 64
    assert harness.run("token", "--name", "a", "more").returncode == 64


# --- nothing secret in any log line --------------------------------------------------------------

SECRETS = {"token": "zT0kenZZ", "patient": "zPatientZZ", "payload": "zPayloadZZ"}


def assert_no_secret(text, where):
    for name, secret in SECRETS.items():
        assert secret not in text, f"{name} in {where}: {text}"


def errors_of_every_kind(token):
    """Requests with a secret token, patient and payload in them that are refused, each by another
    rule; (name, bytes, whether the connection goes on)."""
    patient, payload = SECRETS["patient"], SECRETS["payload"]
    good = [bearer(token)]
    whole = submission(patientId=patient, studyId=STUDY, centerId=CENTER, more=payload)
    length = ("Content-Length", len(whole))
    secret_json = f'"patientId":"{patient}","more":"{payload}"'.encode()
    yield "none", post(whole), True
    yield "wrong", post(whole, [bearer(token + payload)]), True
    yield "scheme", post(whole, [("Authorization", f"Basic {token}")]), True
    yield "malformed token", post(whole, [("Authorization", f"Bearer {token} {token}")]), True
    yield "study", post(submission(patientId=patient, studyId="other", centerId=CENTER), good), True
    yield "centre", post(submission(patientId=patient, studyId=STUDY, centerId="x"), good), True
    yield "no JSON", post(b"{" + secret_json, good), True
    yield "bad literal", post(b"{" + secret_json + b',"a":nulx}', good), True
    yield "duplicate", post(b"{" + secret_json + b"," + secret_json + b"}", good), True
    yield "not UTF-8", post(b"{" + secret_json + b',"a":"\xff"}', good), True
    yield "no timestamp", post(b"{" + secret_json + b',"scores":{}}', good), True
    yield "patient too long", post(submission(patientId=patient * 20), good), True
    yield "timestamp", post(submission(patientId=patient, timestamp=payload), good), True
    yield "score", post(submission(patientId=patient, scores={"Q": [payload]}), good), True
    yield "not found", request("GET", "/v1/nothing?" + payload, good), True
    yield "method", request("PUT", client.SUBMISSIONS, [*good, length], whole), True
    yield "media", request("POST", client.SUBMISSIONS, [*good, length], whole), True
    yield "expectation", post(whole, [*good, ("Expect", payload)]), True
    yield "length", request("POST", client.SUBMISSIONS, [client.JSON_TYPE, *good]), True
    yield "too large", post(whole + b" " * 70000, good)[:9000], False
    yield "target", request("GET", "/" + payload * 40, good), False
    yield "headers", request("GET", "/livez", [*good, ("X", payload * 2000)]), False
    yield "count", request("GET", "/livez", [*good, *[("X", payload)] * 80]), False
    yield "coding", post(whole, [*good, ("Transfer-Encoding", payload)]), False
    yield "twice", post(whole, [*good, *good]), False
    yield "version", post(whole, good).replace(b"HTTP/1.1", b"HTTP/3.7"), False
    yield "key", post(whole, [*good, ("Idempotency-Key", payload + " " + token)]), False
    yield "control", post(whole, [*good, ("X", payload + "\0")]), False
    yield "folded", post(whole, [("X", payload + "\r\n " + token)]), False


def test_no_secret_is_in_any_log_line_or_error(fleet, tmp_path):
    token = SECRETS["token"] + "-right"
    bound = {"studies": [STUDY], "centers": [CENTER]}
    file = CredentialFile(tmp_path / "c.yaml", [entry("a", token, **bound)])
    settings = {"body_deadline_ms": harness.scaled_ms(300),
                "header_deadline_ms": harness.scaled_ms(300)}
    engine = fleet.start(tmp_path / "data", settings, options=file.options)
    whole = submission(patientId=SECRETS["patient"], studyId=STUDY, centerId=CENTER,
                       more=SECRETS["payload"])
    receipts = 0
    for name, data, goes_on in errors_of_every_kind(token):
        with Connection(engine.address) as connection:
            response = connection.exchange(data)
            assert 400 <= response.status < 600, name
            assert_no_secret(response.body.decode() + str(response.headers), name)
            if goes_on and not response.closes:
                connection.exchange(post(whole, [bearer(token)])).receipt()
                receipts += 1
            else:
                assert_no_secret(connection.rest().decode(), name)
    for data in (post(whole, [bearer(token)])[:-5], post(whole, [bearer(token)])[:150]):
        with Connection(engine.address) as connection:  # both deadlines
            connection.send(data)
            assert_no_secret(connection.rest().decode(), "a request that takes too long")
        with Connection(engine.address) as connection:
            connection.send(data)
            connection.reset()
    for text in (f"credentials:\n- {token}: a\n", f"{token}\n", f"credentials:\n- sha256: {token}\n",
                 f"credentials:\n- name: {token} b\n", f"credentials:\n- name: {token}\n  {token}: 1",
                 f"credentials:\n- name: a\n  expires: {token}\n", f"credentials: &{token} *x\n"):
        count = len(re.findall("event=reload-failed", engine.log()))
        file.write_text(text)
        engine.reload()
        engine.wait_for_log("event=reload-failed", count + 1)
    engine.terminate()
    assert engine.wait() == 0
    assert receipts >= 15 and len(harness.cat(engine.data)) == receipts
    for line in engine.log().splitlines():
        assert_no_secret(line, "the log")
    assert_no_secret(engine.printed.decode(), "stdout")
