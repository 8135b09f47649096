"""Submissions to send: the forms of the CDISC pilot study where they are, else made-up ones.

Environment: SLUICE_DATA is the folder with cdisc-pilot-forms.ndjson, by default ../shared/data
beside the repository.
"""

import json
import os
import pathlib
import random
import uuid

from harness import REPOSITORY

PILOT_COUNT = 5071
PILOT_BYTES_MIN, PILOT_BYTES_MAX = 257, 874

# name, prefix of its items, items, highest score: as in the pilot study's instruments
INSTRUMENTS = (
    ("MINI-MENTAL STATE", "MMITM", 6, 8),
    ("MODIFIED HACHINSKI ISCHEMIC SCORE", "MHITM", 13, 2),
    ("ALZHEIMER'S DISEASE ASSESSMENT SCALE", "ACITM", 15, 10),
    ("CLINICIAN'S INTERVIEW-BASED IMPRESSION OF CHANGE", "CIBIC", 9, 7),
    ("DISABILITY ASSESSMENT FOR DEMENTIA", "DADIT", 40, 1),
    ("NEUROPSYCHIATRIC INVENTORY", "NPITM", 45, 12),
)
REMARKS = ("", "", "", "dizzy since Tuesday", "Schwindel und Übelkeit", "頭痛がする",
           "ça va 🙂", 'said "better", then\tleft', "C:\\home\\diary", "line one\nline two")


def pilot():
    """The 5,071 forms of the pilot study, or as many synthetic ones of the same shape."""
    default = REPOSITORY / "../shared/data"
    path = pathlib.Path(os.environ.get("SLUICE_DATA", default)) / "cdisc-pilot-forms.ndjson"
    if not path.exists():
        return synthetic(PILOT_COUNT)
    return path.read_bytes().splitlines()


def _synthetic_form(source, timestamp):
    name, prefix, item_count, score_max = source.choice(INSTRUMENTS)
    center = source.randint(701, 718)
    form = {
        "submissionId": str(uuid.UUID(int=source.getrandbits(128), version=4)),
        "studyId": "SYNTHETIC01",
        "centerId": str(center),
        "patientId": f"01-{center}-{source.randint(1001, 1400)}",
        "instrument": name,
        "visit": f"WEEK {source.randint(0, 26)}",
        "timestamp": timestamp,
        "scores": {f"{prefix}{n:02}": source.randint(0, score_max)
                   for n in range(1, item_count + 1)},
    }
    remark = source.choice(REMARKS)
    if remark:
        form["remark"] = remark
    pretty = source.random() < 0.01 and item_count <= 15
    body = json.dumps(form, ensure_ascii=source.random() < 0.5, indent=1 if pretty else None,
                      separators=None if pretty else (",", ":")).encode()
    return body + b" " * max(0, PILOT_BYTES_MIN - len(body))


def synthetic(count, seed=1):
    """`count` forms of the pilot study's shape and size, in the order of time; every body differs
    from every other. A few are pretty-printed, with newlines; some have text beyond ASCII."""
    source = random.Random(seed)
    timestamp = 1341573753
    forms = []
    while len(forms) < count:
        timestamp += source.randint(0, 90)
        body = _synthetic_form(source, timestamp)
        assert PILOT_BYTES_MIN <= len(body) <= PILOT_BYTES_MAX
        forms.append(body)
    return forms


def synthetic_registry():
    """A registry, as YAML, that some of the synthetic forms are outside of in every way that a form
    can be: centres, instruments and items that it lacks, scores beyond its ranges, missing items,
    windows that they are late for."""
    documents = []
    for name, prefix, item_count, score_max in INSTRUMENTS[1:]:
        first = 2 - item_count % 2 if item_count < 40 else 21  # the longest form has 20 too many
        items = "".join(
            f"      - {{id: {prefix}{n:02}, type: integer, min: 0, max: {max(1, score_max - n % 3)},"
            f" required: true}}\n" for n in range(first, item_count + 2))
        documents.append(f'instrument: "{name}"\nversions:\n  - version: "1"\n    items:\n{items}')
    uses = "".join(f'  - instrument: "{name}"\n    windows: [{{from: "08:00", to: "20:00"}}]\n'
                   for name, *_ in INSTRUMENTS[1:])
    centers = "".join(f'  - {{id: "{n}", planned_enrolment: {n}}}\n' for n in range(702, 718))
    documents.append(f'study: SYNTHETIC01\nversion: "synthetic 1"\nutc_offset: "-05:00"\n'
                     f"centers:\n{centers}instruments:\n{uses}")
    return "---\n".join(documents)


def awkward():
    """Valid submissions with everything in them that a careless engine changes on its way."""
    deep = '{"a":[' * 15 + '"deep"' + "]}" * 15  # 31 containers with the root
    required = '"patientId":"01-701-1001","timestamp":1341573753'
    documents = [
        '{"submissionId":"awkward-whitespace",\r\n\t"patientId" : "01-701-1001"  ,\n'
        '  "timestamp":\t1341573753 , "scores" : { } }\r\n\n ',
        '{"submissionId":"awkward-escapes",' + required + ',"scores":{"\\u0041\\/\\"\\\\":'
        '"\\b\\f\\n\\r\\t \\ud83d\\ude42 \\u00e9"}}',
        '{"submissionId":"awkward-utf8",' + required + ','
        '"scores":{"é":"ß","漢字":"🙂","\u2028":null}}',
        '{"submissionId":"\\u0061wkward-member-name",' + required + ',"\\u0073cores":{}}',
        '{"submissionId":"awkward-numbers",' + required + ',"scores":{"a":1E400,"b":-0.0,"c":'
        '12345678901234567890123456789,"d":0.10000000000000000555,"e":1e-999,"f":2.50}}',
        '{"submissionId":"awkward-rfc3339","patientId":"01-701-1001",'
        '"timestamp":"2012-07-06T13:22:33.123456789+02:00","scores":{"a":null}}',
        '{"submissionId":"awkward-depth",' + required + ',"scores":{},"more":' + deep + "}",
        '{"submissionId":"awkward-everything","studyId":"S","centerId":null,' + required + ','
        '"instrument":"I","formVersion":"1.2","visit":"V","timezone":"Europe/Berlin",'
        '"answers":[1,true,{}],"amends":"awkward-utf8","reason":"second thoughts","scores":{}}',
        '{' + required + ',"scores":{"no submissionId":1}}',
        '{"submissionId":"' + "i" * 128 + '",' + required + ',"scores":{}}',
    ]
    return [document.encode() for document in documents]
