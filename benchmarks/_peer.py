"""nrfcredstore doing the serial part of a board, for `line.py`: `python _peer.py CA.pem
CERTIFICATE.pem PORT…`.

Runs in whatever Python has nrfcredstore and pyserial, without this project. Prints its version and,
for each port, the seconds from opening to the last check and those in which it did not wait for the
board. Its port chooser knows USB devices only and is told of the port by hand; everything else is
its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

from _meter import Spent, spending, watch_serial

TAG = 4201


def one(port: str, ca: str, certificate: str) -> Spent:
    from nrfcredstore import comms
    from nrfcredstore.command_interface import ATCommandInterface
    from nrfcredstore.credstore import CredStore, CredType

    comms.select_device = lambda *_: (SimpleNamespace(device=port), None)
    spent = Spent()
    with spending(spent):
        link = comms.Comms(port=port, rtscts=False)
        at = ATCommandInterface(link)
        at.detect_shell_mode()
        at.enable_error_codes()
        store = CredStore(at)
        store.func_mode(4)
        at.get_imei()
        store.keygen(TAG, io.BytesIO())
        store.write(TAG, CredType.ROOT_CA_CERT, io.StringIO(ca))
        store.write(TAG, CredType.CLIENT_CERT, io.StringIO(certificate))
        there = [at.check_credential_exists(TAG, kind)[0] for kind in (0, 1, 2)]
        link.close()
    if not all(there):
        raise SystemExit("nrfcredstore did not find what it wrote")
    return spent


def main() -> None:
    try:
        version = metadata.version("nrfcredstore")
    except metadata.PackageNotFoundError:
        raise SystemExit(
            "nrfcredstore is not installed here; --peer names a Python that has it"
        ) from None
    logging.disable(logging.CRITICAL)
    watch_serial()
    ca, certificate = (Path(name).read_text() for name in sys.argv[1:3])
    with contextlib.redirect_stdout(io.StringIO()):
        rows = [one(port, ca, certificate) for port in sys.argv[3:]]
    print(
        json.dumps(
            {"version": version, "rows": [{"wall": row.wall, "host": row.host} for row in rows]}
        )
    )


if __name__ == "__main__":
    main()
