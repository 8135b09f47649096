"""What each request is answered with: statuses, headers, receipts and problem documents.

All tests share one engine on one core; fixture `stored` pins what each of them may store.
"""

import hashlib
import json
import re

import pytest

import client
import forms
import harness
from client import Connection, post, post_chunked, request, submission

BODY_BYTES_MAX = 65536  # the default of body_bytes_max


@pytest.fixture
def connection(shared_engine):
    with Connection(shared_engine.address) as connection:
        yield connection


def body_of(size):
    """A valid submission of exactly `size` bytes."""
    frame = submission(more="")
    return submission(more="x" * (size - len(frame)))


def test_a_submission_is_answered_with_its_receipt(connection, stored):
    body = submission(submissionId="receipt-1", studyId="S", centerId="C")
    response = connection.exchange(post(body))
    receipt = response.receipt()
    stored.append(receipt)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["location"] == "/v1/submissions/receipt-1"
    assert receipt["submissionId"] == "receipt-1"
    assert receipt["sha256"] == hashlib.sha256(body).hexdigest()
    assert receipt["sequence"] >= 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", receipt["receivedAt"])


def test_a_submission_without_an_id_gets_a_uuid_version_7(connection, stored):
    ids = []
    for _ in range(2):  # the same bytes twice are two submissions
        response = connection.exchange(post(submission()))
        stored.append(response.receipt())
        ids.append(response.receipt()["submissionId"])
        assert response.headers["location"] == f"/v1/submissions/{ids[-1]}"
    uuid7 = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert all(re.fullmatch(uuid7, each) for each in ids)
    assert ids[0] != ids[1]
    assert ids[0][:13] <= ids[1][:13]  # milliseconds


def test_a_stored_body_is_shown_unchanged(shared_engine, connection, stored):
    for body in forms.awkward():
        receipt = connection.exchange(post(body)).receipt()
        stored.append(receipt)
        place = ("--journal", receipt["journal"], "--from", receipt["sequence"], "--limit", 1)
        assert harness.cat_raw(shared_engine.data, *place) == body + b"\n"
        [record] = harness.cat(shared_engine.data, *place)
        assert record["body"] == json.loads(body)
        assert record["submissionId"] == receipt["submissionId"]


@pytest.mark.parametrize("target", ["/", "/v1", "/v1/submission", "/v1/submissionsX", "/livez/",
                                    "/LIVEZ", "//livez", "/v1/submissions/../../livez"])
def test_an_unknown_path_is_404(connection, stored, target):
    problem = connection.exchange(request("GET", target)).problem()
    assert (problem["status"], problem["slug"]) == (404, "not-found")


@pytest.mark.parametrize("method,target,allowed", [
    ("GET", "/v1/submissions", {"POST"}),
    ("PUT", "/v1/submissions", {"POST"}),
    ("DELETE", "/v1/submissions", {"POST"}),
    ("DELETE", "/livez", {"GET", "HEAD"}),
    ("OPTIONS", "/readyz", {"GET", "HEAD"}),
])
def test_a_wrong_method_is_405_and_says_what_is_allowed(
        connection, stored, method, target, allowed):
    response = connection.exchange(request(method, target))
    assert response.status == 405
    assert response.problem()["slug"] == "method-not-allowed"
    assert set(re.split(r",\s*", response.headers["allow"])) == allowed


@pytest.mark.parametrize("headers", [
    [],
    [("Content-Type", "text/plain")],
    [("Content-Type", "application/jsonp")],
    [("Content-Type", "application/json; charset=iso-8859-1")],
    [("Content-Type", "application/json"), ("Content-Encoding", "gzip")],
])
def test_any_other_content_type_is_415(connection, stored, headers):
    body = submission()
    length = ("Content-Length", len(body))
    response = connection.exchange(request("POST", client.SUBMISSIONS, [length, *headers], body))
    assert response.status == 415
    assert response.problem()["slug"] == "unsupported-media-type"


@pytest.mark.parametrize("content_type", [
    "application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"])
def test_json_in_utf8_is_taken_however_it_is_spelled(connection, stored, content_type):
    headers = [("content-type", content_type), ("content-length", len(submission()))]
    response = connection.exchange(request("POST", client.SUBMISSIONS, headers, submission()))
    stored.append(response.receipt())


VALID = submission()
MALFORMED = {
    "no bytes": (b"", 0),
    "no value": (b" ", None),
    "truncated": (VALID[:-1], None),
    "trailing comma": (VALID[:-1] + b",}", len(VALID)),
    "something behind": (VALID + b" x", len(VALID) + 1),
    "two values": (VALID + VALID, len(VALID)),
    "single quotes": (b"{'patientId':1}", 1),
    "NaN": (submission(more=float("nan")), len(VALID) + 9),
    "leading zero": (VALID[:-1] + b',"more":01}', None),
    "bare point": (VALID[:-1] + b',"more":1.}', None),
    "bad literal": (VALID[:-1] + b',"more":nul}', None),
    "byte order mark": (b"\xef\xbb\xbf" + VALID, 0),
    "not UTF-8": (VALID[:-1] + b',"more":"\xff"}', len(VALID) + 8),
    "overlong UTF-8": (VALID[:-1] + b',"more":"\xc0\xaf"}', len(VALID) + 8),
    "UTF-8 surrogate": (VALID[:-1] + b',"more":"\xed\xa0\x80"}', len(VALID) + 8),
    "unpaired surrogate": (VALID[:-1] + b',"more":"\\ud800"}', None),
    "raw control character": (VALID[:-1] + b',"more":"\x01"}', None),
    "bad escape": (VALID[:-1] + b',"more":"\\x"}', None),
    "duplicate member": (VALID[:-1] + b',"patientId":"P-2"}', None),
    "duplicate by escape": (VALID[:-1] + b',"pat\\u0069entId":"P-2"}', None),
    "duplicate item": (submission()[:-1] + b',"more":{"a":1,"b":2,"a":3}}', None),
    "too deep": (VALID[:-1] + b',"more":' + b"[" * 32 + b"]" * 32 + b"}", None),
    "far too deep": (b"[" * 30000, None),
}


@pytest.mark.parametrize("body,offset", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_json_is_400_and_says_where(connection, stored, body, offset):
    problem = connection.exchange(post(body)).problem()
    assert (problem["status"], problem["slug"]) == (400, "malformed-json")
    named = re.search(r"\bbyte (\d+)\b", problem["detail"])
    assert named and int(named[1]) <= len(body)
    assert offset is None or int(named[1]) == offset
    stored.append(connection.exchange(post(submission())).receipt())  # the connection goes on


INVALID = {
    "not an object": (b"[]", ""),
    "a string": (b'"patientId"', ""),
    "no patient": (submission(patientId=None), "/patientId"),
    "no timestamp": (submission(timestamp=None), "/timestamp"),
    "no scores": (submission(scores=None), "/scores"),
    "null patient": (b'{"patientId":null,"timestamp":1,"scores":{}}', "/patientId"),
    "wrong case": (b'{"PatientId":"P","timestamp":1,"scores":{}}', "/patientId"),
    "patient is a number": (submission(patientId=7), "/patientId"),
    "patient is empty": (submission(patientId=""), "/patientId"),
    "patient is too long": (submission(patientId="x" * 129), "/patientId"),
    "patient holds NUL": (submission(patientId="a\0b"), "/patientId"),
    "id is an object": (submission(submissionId={}), "/submissionId"),
    "study is false": (submission(studyId=False), "/studyId"),
    "time without offset": (submission(timestamp="2012-07-06T13:22:33"), "/timestamp"),
    "no such day": (submission(timestamp="2013-02-29T13:22:33Z"), "/timestamp"),
    "no such hour": (submission(timestamp="2012-07-06T25:22:33Z"), "/timestamp"),
    "negative time": (submission(timestamp=-1), "/timestamp"),
    "time with exponent": (b'{"patientId":"P","timestamp":1e9,"scores":{}}', "/timestamp"),
    "time out of range": (submission(timestamp=9223372036), "/timestamp"),
    "time is true": (submission(timestamp=True), "/timestamp"),
    "scores are a list": (submission(scores=[1]), "/scores"),
    "a score is true": (submission(scores={"Q1": 1, "Q2": True}), "/scores/Q2"),
    "a score is a list": (submission(scores={"a/b~c": []}), "/scores/a~1b~0c"),
    "answers are a number": (submission(answers=1), "/answers"),
}


@pytest.mark.parametrize("body,pointer", INVALID.values(), ids=INVALID.keys())
def test_an_invalid_submission_is_422_and_points_at_the_member(connection, stored, body, pointer):
    problem = connection.exchange(post(body)).problem()
    assert (problem["status"], problem["slug"]) == (422, "invalid-submission")
    assert problem.get("pointer", "") == pointer
    stored.append(connection.exchange(post(submission())).receipt())  # the connection goes on


@pytest.mark.parametrize("encode", [post, lambda body: post_chunked(body, [1000] * 70)],
                         ids=["length", "chunked"])
def test_a_body_at_the_limit_is_stored(shared_engine, connection, stored, encode):
    body = body_of(BODY_BYTES_MAX)
    receipt = connection.exchange(encode(body)).receipt()
    stored.append(receipt)
    place = ("--journal", receipt["journal"], "--from", receipt["sequence"])
    assert harness.cat_raw(shared_engine.data, *place) == body + b"\n"


@pytest.mark.parametrize("encode", [post, lambda body: post_chunked(body, [1000] * 70)],
                         ids=["length", "chunked"])
def test_a_body_one_byte_over_the_limit_is_413(connection, stored, encode):
    problem = connection.exchange(encode(body_of(BODY_BYTES_MAX + 1))).problem()
    assert (problem["status"], problem["slug"]) == (413, "body-too-large")


def test_an_announced_body_over_the_limit_is_413_before_it_is_sent(connection, stored):
    headers = [client.JSON_TYPE, ("Content-Length", BODY_BYTES_MAX + 1)]
    assert connection.exchange(request("POST", client.SUBMISSIONS, headers)).status == 413


def test_a_body_of_unknown_length_is_411(connection, stored):
    response = connection.exchange(request("POST", client.SUBMISSIONS, [client.JSON_TYPE]))
    assert response.status == 411
    assert response.problem()["slug"] == "length-required"


def test_a_header_section_that_is_too_large_is_431(connection, stored):
    headers = [(f"X-Filler-{n}", "x" * 1000) for n in range(100)]
    response = connection.exchange(request("GET", "/livez", headers))
    assert response.status == 431
    assert response.problem()["slug"] == "headers-too-large"
    connection.rest()


def test_too_many_header_lines_are_431(connection, stored):
    headers = [(f"X-{n}", "x") for n in range(70)]
    assert connection.exchange(request("GET", "/livez", headers)).status == 431


@pytest.mark.parametrize("length", [300, 2000])
def test_a_target_that_is_too_long_is_414(connection, stored, length):
    problem = connection.exchange(request("GET", "/" + "a" * length)).problem()
    assert (problem["status"], problem["slug"]) == (414, "uri-too-long")


@pytest.mark.parametrize("target", ["/livez", "/readyz"])
def test_probes_answer_200_to_get_and_head(connection, stored, target):
    for _ in range(2):  # so that a body behind the HEAD's answer would be noticed
        assert connection.exchange(request("HEAD", target), to_head=True).status == 200
        assert connection.exchange(request("GET", target)).status == 200
    connection.finish_sending()
    assert connection.rest() == b""


def test_an_expectation_is_met_before_the_body_comes(connection, stored):
    body = submission()
    expect = ("Expect", "100-continue")
    connection.send(post(body, [expect])[:-len(body)])
    assert connection.response().status == 100
    stored.append(connection.exchange(body).receipt())
    whole = connection.exchange(post(body, [expect]))  # did not wait
    stored.append((whole if whole.status == 201 else connection.response()).receipt())


def test_an_expectation_is_not_met_for_a_body_that_is_too_large(connection, stored):
    headers = [client.JSON_TYPE, ("Content-Length", BODY_BYTES_MAX + 1), ("Expect", "100-continue")]
    assert connection.exchange(request("POST", client.SUBMISSIONS, headers)).status == 413


def test_any_other_expectation_is_417(connection, stored):
    problem = connection.exchange(post(submission(), [("Expect", "a miracle")])).problem()
    assert (problem["status"], problem["slug"]) == (417, "expectation-failed")


def test_a_trace_id_is_stored_and_named_in_problems(shared_engine, connection, stored):
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    parent = ("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01")
    receipt = connection.exchange(post(submission(), [parent])).receipt()
    stored.append(receipt)
    place = ("--journal", receipt["journal"], "--from", receipt["sequence"])
    [record] = harness.cat(shared_engine.data, *place)
    assert record["traceId"] == trace_id
    for bad in (post(b"{", [parent]), post(b"[]", [parent]), request("GET", "/", [parent])):
        assert connection.exchange(bad).problem()["traceId"] == trace_id


def test_problems_without_a_trace_get_different_trace_ids(connection, stored):
    zero = ("traceparent", f"00-{'0' * 32}-00f067aa0ba902b7-01")  # invalid, so ignored
    requests = [request("GET", "/"), request("GET", "/"), request("GET", "/", [zero])]
    assert len({connection.exchange(each).problem()["traceId"] for each in requests}) == 3
