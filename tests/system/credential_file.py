"""Files of credentials for tests: written whole, replaced in one step, with mode 0600."""

import hashlib
import json
import os
import pathlib


def bearer(token):
    return ("Authorization", f"Bearer {token}")


def entry(name, token, scopes=("ingest",), **more):
    """An entry; `more` are its optional keys (studies, centers, expires, not_before)."""
    return {"name": name, "sha256": hashlib.sha256(token.encode()).hexdigest(),
            "scopes": list(scopes), **more}


class CredentialFile:
    def __init__(self, path, entries):
        self.path = pathlib.Path(path)
        self.write(entries)

    def write(self, entries):
        self.write_text(json.dumps({"credentials": list(entries)}))  # JSON is YAML

    def write_text(self, text, mode=0o600):
        """The engine never sees half of it."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.chmod(mode)
        os.replace(new, self.path)

    @property
    def options(self):
        return "--credentials", self.path
