"""Certificates for tests, made with the openssl command: authorities and what they sign."""

import subprocess


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


class Authority:
    """A CA whose certificate is `path`; keys are P-256."""

    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        self.path, self.key = directory / f"{name}.pem", directory / f"{name}.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", self.key, "-out", self.path, "-days", 30, "-subj", f"/CN={name}")

    def sign(self, name):
        """(certificate, key) for `name` at 127.0.0.1; the key is readable by its owner only."""
        stem = self.directory / f"{self.name}-{name}"
        request, extensions = stem.with_suffix(".csr"), stem.with_suffix(".ext")
        certificate, key = stem.with_suffix(".pem"), stem.with_suffix(".key")
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        _openssl("x509", "-req", "-in", request, "-CA", self.path, "-CAkey", self.key, "-days", 30,
                 "-CAcreateserial", "-extfile", extensions, "-out", certificate)
        key.chmod(0o600)
        return certificate, key
