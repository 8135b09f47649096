"""record_json_parse accepts exactly what Python's json accepts under the stricter rules of json.h.

Two parsers that share no code decide on a generated corpus: documents made from a grammar with
edge cases, their mutations, and mutations of real questionnaires. SLUICE_JSON_CHECK is the path
of the json_check program. The seed is printed (conftest.py); SLUICE_SEED repeats a run.
"""

import json
import os
import pathlib
import re
import struct
import subprocess

import pytest

DEPTH_MAX = 32
ROOT = pathlib.Path(__file__).resolve().parents[2]
ERROR_NAMES = (
    "OK EMPTY SYNTAX UTF8 STRING_CONTENT NUMBER_FORM TOO_DEEP DUPLICATE TRAILING TOO_LARGE"
).split()


# ---- The reference ----


class Number(str):
    """A number as its characters, so that no digit is lost in the comparison."""


class Rejected(ValueError):
    pass


def object_of_pairs(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Rejected("duplicate member")
    return members


def reject_constant(name):
    raise Rejected(name)


def check_value(value, depth):
    if isinstance(value, Number):
        return
    if isinstance(value, str):
        value.encode("utf-8")  # raises on an unpaired surrogate
    elif isinstance(value, (dict, list)):
        if depth == DEPTH_MAX:
            raise Rejected("too deep")
        for child in value:
            check_value(child, depth + 1)
        if isinstance(value, dict):
            for child in value.values():
                check_value(child, depth + 1)


def reference(body):
    """(True, value) or (False, None)."""
    try:
        text = body.decode("utf-8")  # strict: no surrogates, no overlong forms
        if text.startswith("\ufeff"):
            raise Rejected("byte order mark")
        value = json.loads(
            text,
            strict=True,
            object_pairs_hook=object_of_pairs,
            parse_constant=reject_constant,
            parse_int=Number,
            parse_float=Number,
        )
        check_value(value, 0)
    except (ValueError, RecursionError):  # includes UnicodeError and JSONDecodeError
        return False, None
    return True, value


def parse_numbers_as_text(text):
    return json.loads(text, object_pairs_hook=object_of_pairs, parse_int=Number, parse_float=Number)


# ---- The corpus ----

NUMBERS = (
    "0 -0 1 -1 10 0.5 -0.0 1e5 1E+5 1e-5 1.25e10 1e400 -1e-400 9007199254740993 9223372036854775808 "
    "1234567890123456789012345678901234567890 0.1234567890123456789012345678901234567890 0e0 0E-0"
).split()
BAD_NUMBERS = (
    "01 -01 00 1. .5 -.5 +1 1e 1e+ 1E- - -- -a 1.e5 1.5.5 1e5.5 0x10 1_000 1,5 NaN -NaN Infinity "
    "-Infinity 123abc 1e5e5 0b1 1f ١"
).split()
LITERALS = ["true", "false", "null"]
BAD_LITERALS = ["truex", "True", "nul", "nulll", "fals", "TRUE", "tru", "t", "undefined", "nullnull"]
STRING_PARTS = (
    "a b score é ü 漢字 😀 \u007f \u0080 \u2028 \ufeff \uffff \\n \\t \\\\ \\\" \\/ \\b \\f \\r \\u0041 \\u00e9 "
    "\\u0000 \\ud83d\\ude00 \\uD834\\uDD1E \\uFFFF \\u001f \\\\\\\\ // ' {} [] : , \\u0022 \\u005C"
).split(" ")
BAD_STRING_PARTS = [
    "\\x41", "\\'", "\\u12", "\\u12G4", "\\ud800", "\\udc00", "\\udc00\\ud800", "\\ud800\\ud800", "\\ud83dx", "\\udc00\\udc00",
    "\\ud800\\u0041", "\\ud83d\\n", "\\U0041", "\\", "\n", "\t", "\0", "\x1f", "\\\n", "\\ ", "\\u+123", "\\u 123",
    "\\u-123", "\\ud800\\", "\\ud800\\u", "\\ud800\\udbff", "\\ud800\\ue000", "\\1", "\\é",
]  # fmt: skip
BAD_BYTES = [
    b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc2", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xe2\x82", b"\xe2",
    b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfe", b"\xff", b"\xc3(", b"\xe2\x28\xa1",
]  # fmt: skip
GOOD_BYTES = [b"\xc2\x80", b"\xdf\xbf", b"\xe0\xa0\x80", b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xf4\x8f\xbf\xbf"]
SPACES = ["", "", "", " ", "\n", "\t", "\r", " \r\n\t "]
BAD_SPACES = ["\f", "\v", "\0", "\x1a", "\x0c", "\u00a0", "\u2028", "\ufeff", "/**/", "//"]
TOKENS = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"1", b"-", b"true", b"null", b'"a"', b" ", b"e", b"."]
MUTATED = list(b'{}[],:"\\ \n\t-+.eE0123456789abu/tfn\x00\x0c\x1a\x1f\x7f\x80\xbf\xc2\xe2\xed\xf0\xff')


class Generator:
    def __init__(self, source):
        self.random = source
        self.fault_rate = 0.0

    def fault(self):
        return self.random.random() < self.fault_rate

    def space(self):
        return self.random.choice(BAD_SPACES if self.fault() else SPACES)

    def string(self, long=True):
        parts = self.random.choices(STRING_PARTS, k=self.random.choice([0, 1, 1, 2, 3]))
        if long and self.random.random() < 0.03:  # across the blocks of 64 bytes
            parts.append("x" * self.random.randint(50, 200))
            parts.append(self.random.choice(STRING_PARTS))
        if self.fault():
            parts.insert(self.random.randint(0, len(parts)), self.random.choice(BAD_STRING_PARTS))
        return '"' + "".join(parts) + '"'

    def scalar(self):
        kind = self.random.random()
        if kind < 0.4:
            return self.random.choice(BAD_NUMBERS if self.fault() else NUMBERS)
        if kind < 0.6:
            return self.random.choice(BAD_LITERALS if self.fault() else LITERALS)
        return self.string()

    def name(self, index):
        if self.random.random() < 0.05:
            return '"a"' if self.random.random() < 0.5 else '"\\u0061"'
        return self.string(long=False)[:-1] + str(index) + '"'

    def value(self, room):
        if room == 0 or self.random.random() < 0.35:
            return self.scalar()
        count = self.random.choice([0, 1, 2, 3, 5])
        opening, closing = self.random.choice(["{}", "[]"])
        children = []
        for index in range(count):
            name = ""
            if opening == "{":
                name = self.name(index) + self.space() + ("" if self.fault() else ":") + self.space()
            children.append(self.space() + name + self.value(room - 1) + self.space())
        comma = "" if self.fault() else "," if not self.fault() else ",,"
        text = comma.join(children)
        if self.fault():
            text += self.random.choice([",", ":", "1", '"', "]", "}"])
        if self.fault():
            closing = self.random.choice(["]", "}", ""])
        return opening + (text or self.space()) + closing

    def document(self):
        self.fault_rate = self.random.choice([0.0, 0.0, 0.01, 0.05])
        text = self.space() + self.value(self.random.randint(0, 5)) + self.space()
        if self.fault():
            text += self.random.choice(["1", '"a"', "{}", ",", "}", "x", "\0"])
        return text.encode("utf-8")

    def mutation(self, body):
        body = bytearray(body)
        for _ in range(self.random.choice([1, 1, 1, 2, 3])):
            at = self.random.randint(0, len(body))
            kind = self.random.randint(0, 6)
            if kind == 0:
                del body[at:]
            elif kind == 1:
                del body[at : at + self.random.randint(1, 4)]
            elif kind == 2:
                body.insert(at, self.random.choice(MUTATED))
            elif kind == 3 and at < len(body):
                body[at] = self.random.choice(MUTATED)
            elif kind == 4 and at < len(body):
                body[at] ^= 1 << self.random.randint(0, 7)
            elif kind == 5:
                body[at:at] = self.random.choice(BAD_BYTES + GOOD_BYTES)
            else:
                end = min(len(body), at + self.random.randint(1, 12))
                to = self.random.randint(0, len(body))
                body[to:to] = body[at:end]
        return bytes(body)

    def nested(self):
        depth = self.random.choice([1, 2, 31, 32, 33, 34, 64, 200])
        opening, closing = "", ""
        for _ in range(depth):
            kind = self.random.choice("[{")
            opening += kind if kind == "[" else '{"a":'
            closing = ("]" if kind == "[" else "}") + closing
        inner = self.random.choice(["", "1", "[]", "{}", '"x"']) if opening[-1] == "[" else "1"
        return (opening + inner + closing).encode()

    def tokens(self):
        return b"".join(self.random.choices(TOKENS, k=self.random.randint(0, 8)))

    def around_a_block(self):
        """Something critical where one block of 64 bytes ends and the next begins."""
        piece = self.random.choice([b'"', b"\\\\", b'\\"', b"\\u0041", "é".encode(), b"\\", b"\n"] + BAD_BYTES)
        filler = b"x" * (64 * self.random.randint(1, 3) - self.random.randint(0, 8))
        return b'["' + filler + piece + b'y",1]'

    def with_bytes(self):
        piece = self.random.choice(BAD_BYTES + GOOD_BYTES)
        return b'["' + b"x" * self.random.randint(0, 70) + piece + self.random.choice([b'"]', b"", b'x"]', b'",1]'])


def fixed_documents():
    texts = NUMBERS + BAD_NUMBERS + LITERALS + BAD_LITERALS
    texts += ['"' + part + '"' for part in STRING_PARTS + BAD_STRING_PARTS]
    bodies = [text.encode("utf-8") for text in texts]
    bodies += [b'"' + part + b'"' for part in BAD_BYTES + GOOD_BYTES] + BAD_BYTES + GOOD_BYTES
    bodies += [b"", b" ", b"\n\t\r ", b"\0", b"1\0", b"\0001", b"{}\0", b"\xef\xbb\xbf{}", b"\xef\xbb\xbf", b"\xfe\xff"]
    bodies += [b"1 2", b'"a" "b"', b'"a""b"', b'["a""b"]', b'["a"b]', b'[1"b"]', b"{}{}", b"[][]", b"[1]]", b"nullx"]
    bodies += [b"[1 2]", b"[1:2]", b"{1:2}", b'{"a" 1}', b'{"a":}', b'{"a"}', b'{"a":1,}', b"[,1]", b"[1,]", b"{,}"]
    bodies += [b'{\\"a":1}', b'["\\"]', b'"\\', b'"', b'"a', b"[", b"{", b"]", b"}", b",", b":", b'{"a":1', b"[1", b"[1,"]
    bodies += [bytes([byte]) for byte in range(256)] + [bytes([0x5B, byte, 0x5D]) for byte in range(256)]
    bodies += [b'["' + bytes([byte]) + b'"]' for byte in range(256)]
    bodies += [b'["\\' + bytes([byte]) + b'"]' for byte in range(256)]
    bodies += [b"[1" + bytes([byte]) + b"]" for byte in range(256)]
    bodies += [b'["a"' + bytes([byte]) + b"]" for byte in range(256)]
    return bodies


def generated_documents(generator, count):
    makers = [generator.document] * 8 + [generator.tokens] * 3 + [generator.nested, generator.around_a_block]
    makers += [generator.with_bytes]
    bodies = [generator.random.choice(makers)() for _ in range(count)]
    return bodies + [generator.mutation(generator.document()) for _ in range(count // 2)]


def real_lines():
    folder = pathlib.Path(os.environ.get("SLUICE_DATA") or ROOT.parent / "shared" / "data")
    path = folder / "cdisc-pilot-forms.ndjson"
    if not path.exists():
        pytest.skip(f"real questionnaires are not here: {path} does not exist; set SLUICE_DATA to their folder")
    return path.read_bytes().splitlines()


# ---- The comparison ----


@pytest.fixture
def generator(seeded):
    return Generator(seeded)


def run_json_check(bodies, *arguments, environment=None):
    program = os.environ.get("SLUICE_JSON_CHECK")
    if not program:
        pytest.fail("SLUICE_JSON_CHECK is not set: it is the path of the json_check program")
    done = subprocess.run(
        [program, *arguments],
        input=b"".join(struct.pack("<I", len(body)) + body for body in bodies),
        stdout=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        timeout=120,
        check=True,
    )
    lines = done.stdout.decode("utf-8").split("\n")[:-1]
    assert len(lines) == len(bodies)
    return lines


def describe(body, line, expected):
    match = re.fullmatch(r"error (\d+) (\d+)", line)
    said = f"{ERROR_NAMES[int(match[1])]} at {match[2]}" if match else line[:300]
    return f"{body[:300]!r}: json_check says {said}, the reference {'accepts' if expected else 'rejects'}"


def disagreements(bodies, **options):
    found = []
    accepted = 0
    for body, line in zip(bodies, run_json_check(bodies, "--values", **options)):
        expected, value = reference(body)
        accepted += expected
        if expected:
            agrees = line.startswith("ok ") and parse_numbers_as_text(line[3:]) == value
        else:
            match = re.fullmatch(r"error ([1-9]) (\d+)", line)
            agrees = match is not None and int(match[2]) <= len(body)
        if not agrees:
            found.append(describe(body, line, expected))
    return found, accepted / len(bodies)


def assert_agreement(bodies, **options):
    found, accepted_share = disagreements(bodies, **options)
    assert not found, f"{len(found)} of {len(bodies)}:\n" + "\n".join(found[:20])
    assert 0.05 < accepted_share < 0.95, "a corpus that is all valid or all invalid shows nothing"


def test_agrees_on_every_known_edge_case():
    assert_agreement(fixed_documents())


def test_agrees_on_generated_documents_and_their_mutations(generator):
    assert_agreement(generated_documents(generator, 40000))


def test_agrees_where_the_cpu_has_no_vector_instructions(generator):
    bodies = fixed_documents() + generated_documents(generator, 10000)
    assert_agreement(bodies, environment={"SIMDJSON_FORCE_IMPLEMENTATION": "fallback"})


def test_agrees_on_mutations_of_real_questionnaires(generator):
    lines = real_lines()
    bodies = [generator.mutation(generator.random.choice(lines)) for _ in range(20000)]
    assert_agreement(bodies + generator.random.sample(lines, min(len(lines), 600)))


def test_accepts_every_real_questionnaire():
    lines = real_lines()
    found, accepted_share = disagreements(lines)
    assert not found and accepted_share == 1


def test_without_values_the_line_is_only_the_verdict():
    lines = run_json_check([b'{"a":[1]}', b"[01]", b"", b"[" * 33])
    assert lines == ["ok", "error 5 2", "error 1 0", "error 6 32"]
