"""Counts a meson test log: prints "PASSED FAILED".

A skipped test counts as neither; one that should fail and did counts as passed.
"""

import json
import sys

passed = failed = 0
with open(sys.argv[1], encoding="utf-8") as log:
    for line in log:
        result = json.loads(line)["result"]
        if result in ("OK", "EXPECTEDFAIL"):
            passed += 1
        elif result != "SKIP":
            failed += 1
print(passed, failed)
