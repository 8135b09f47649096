"""Fails when an object of the engine library other than the allowed ones refers to a lock.

usage: no_locks.py LIBRARY ALLOWED-OBJECT...
"""

import os
import re
import subprocess
import sys

library, *allowed = sys.argv[1:]
LOCKS = re.compile(r" U (pthread_(mutex|rwlock|spin|cond|barrier)_\w+|sem_\w+|mtx_\w+|cnd_\w+)")

listing = subprocess.run(["nm", "-A", library], check=True, capture_output=True, text=True).stdout
users = {}
for line in listing.splitlines():
    found = LOCKS.search(line)
    if found:
        users.setdefault(os.path.basename(line.split(":")[1]), set()).add(found.group(1))

unexpected = {name: calls for name, calls in users.items() if name not in allowed}
for name, calls in sorted(unexpected.items()):
    print(f"{name} refers to {', '.join(sorted(calls))}")
missing = set(allowed) - set(users)
for name in sorted(missing):  # then this check looks at the wrong thing
    print(f"{name} was expected to refer to a lock and does not")
sys.exit(1 if unexpected or missing else 0)
