"""The field's own tools on virtual boards, each result held against what the board itself holds:
`python .ci/interop.py PEER-PYTHON`.

The tools are unmodified but for the choice of the port: theirs knows USB devices only, and
`examples/other-tools/on_port.py` adds a pty to that table. Every dialect that they know has boards
of its own; the dialects run beside each other. One line a check; exit 1 if any failed.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from infuse_cli.sim.modem import Delays
from infuse_cli.sim.up import SimOptions, SimWorld, running

if TYPE_CHECKING:
    from collections.abc import Callable

ON_PORT = Path(__file__).resolve().parent.parent / "examples" / "other-tools" / "on_port.py"
TAG = 77
LONGEST_S = 120
DIALECTS = (
    "3:dialect=at-shell, 4:dialect=at-shell, 5:dialect=cred-shell, 6:dialect=cred-shell, 7:echo,"
    " 7:blank, 7:urc, 8:install=CME527, 9:bad-csr=null"
)


@dataclass
class Bench:
    """One dialect's boards, and what was found on them."""

    peer: str
    world: SimWorld
    folder: Path
    title: str
    lines: list[tuple[bool, str]] = field(default_factory=list)

    def tool(self, slot: int, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A tool on the board of a slot, as a user calls it, but with the port in its table."""
        command = [self.peer, str(ON_PORT), self.world.port(slot), name, *arguments]
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )

    def store(self, slot: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.tool(slot, "nrfcredstore", self.world.port(slot), *arguments)

    def install(self, slot: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        ca, key = (str(next(self.folder.glob(f"ca_*_{kind}.pem"))) for kind in ("ca", "prv"))
        return self.tool(
            slot,
            "device_credentials_installer",
            "--port",
            self.world.port(slot),
            "--ca",
            ca,
            "--ca-key",
            key,
            "--verify",
            "--plain",
            "-p",
            str(self.folder),
            "-S",
            str(TAG),
            "--csv",
            str(self.folder / f"onboard-{slot}.csv"),
            *arguments,
        )

    def board(self, slot: int) -> dict[str, Any]:
        """What the board itself holds."""
        found: dict[str, Any] = next(
            row for row in self.world.state()["slots"] if row["slot"] == slot
        )
        return found

    def held(self, slot: int) -> dict[int, str]:
        return {
            row["type"]: row["sha256"]
            for row in self.board(slot)["credentials"]
            if row["secTag"] == TAG
        }

    def ours(self, slot: int) -> dict[int, str]:
        """What this project's own command reads from the board, to lay beside the tool's."""
        command = [
            sys.executable,
            "-m",
            "infuse_cli",
            "serial",
            "creds",
            "list",
            self.world.port(slot),
            "--sec-tag",
            str(TAG),
            "--output",
            "json",
        ]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        try:
            return {
                row["type"]: row["sha256"] for row in json.loads(done.stdout)["data"]["credentials"]
            }
        except (ValueError, KeyError, TypeError):
            return {}

    def check(self, what: str, good: bool, done: subprocess.CompletedProcess[str]) -> None:
        tail = (
            ""
            if good
            else "".join(
                f"\n      {line}" for line in (done.stdout + done.stderr).splitlines()[-8:]
            )
        )
        self.lines.append(
            (good, f"{self.title}: {what}" + (tail and f" (exit {done.returncode}){tail}"))
        )


# -- nrfcredstore ----------------------------------------------------------------------------------


def credstore(bench: Bench, slot: int, line_end: str) -> None:
    """Every subcommand on one board; `line_end` is what a PEM's ends become on the way to the
    modem.
    """
    board = bench.board(slot)
    pem = (bench.world.folder / "server-ca.pem").read_text().rstrip().replace("\n", line_end)
    stored = hashlib.sha256(pem.encode()).hexdigest()
    csr = bench.folder / f"{slot}.der"

    done = bench.store(slot, "imei")
    bench.check("nrfcredstore imei", done.stdout == f"IMEI: {board['imei']}\n", done)
    done = bench.store(slot, "attoken")
    bench.check(
        "nrfcredstore attoken",
        done.returncode == 0 and _uuid_inside(done.stdout, board["uuid"]),
        done,
    )
    done = bench.store(
        slot, "write", str(TAG), "ROOT_CA_CERT", str(bench.world.folder / "server-ca.pem")
    )
    bench.check(
        "nrfcredstore write", done.returncode == 0 and bench.held(slot) == {0: stored}, done
    )
    done = bench.store(
        slot, "write", str(TAG), "ROOT_CA_CERT", str(bench.world.folder / "server-ca.pem")
    )
    bench.check(
        "nrfcredstore write, the place is taken",
        done.returncode == 1 and "Already exists" in done.stderr,
        done,
    )
    done = bench.store(slot, "generate", str(TAG), str(csr), "--attributes", "CN=interop")
    bench.check(
        "nrfcredstore generate",
        done.returncode == 0 and set(bench.held(slot)) == {0, 2} and _good_csr(csr, "CN=interop"),
        done,
    )
    done = bench.store(slot, "list", "--tag", str(TAG))
    bench.check(
        "nrfcredstore list",
        _listed(done.stdout) == bench.held(slot) and len(bench.held(slot)) == 2,
        done,
    )
    bench.check("infuse serial creds list beside it", bench.ours(slot) == bench.held(slot), done)
    done = bench.store(slot, "delete", str(TAG), "ROOT_CA_CERT")
    bench.check("nrfcredstore delete", done.returncode == 0 and set(bench.held(slot)) == {2}, done)
    done = bench.store(slot, "deleteall")
    bench.check(
        "nrfcredstore deleteall",
        done.returncode == 0 and not bench.board(slot)["credentials"],
        done,
    )


def _uuid_inside(said: str, uuid: str) -> bool:
    body = said.partition(": ")[2].partition(".")[0]
    return bytes.fromhex(uuid.replace("-", "")) in base64.urlsafe_b64decode(body + "==")


def _good_csr(path: Path, subject: str) -> bool:
    csr = x509.load_der_x509_csr(path.read_bytes())
    return csr.is_signature_valid and csr.subject.rfc4514_string() == subject


_KINDS = {"ROOT_CA_CERT": 0, "CLIENT_CERT": 1, "CLIENT_KEY": 2}


def _listed(said: str) -> dict[int, str]:
    rows = re.findall(rf"^{TAG} +(\w+) +([0-9A-F]{{64}})", said, re.MULTILINE)
    return {_KINDS[kind]: digest.lower() for kind, digest in rows}


# -- device_credentials_installer ------------------------------------------------------------------


def install(bench: Bench, slot: int, *how: str, name: str | None = None) -> None:
    """A whole board with `--verify`, and that the certificate on record is the one on the board."""
    done = bench.install(slot, *how)
    what = "device_credentials_installer --verify " + " ".join(how)
    passed = done.returncode == 0 and "Credential verification: PASS" in done.stdout + done.stderr
    bench.check(
        what.strip(),
        passed
        and set(bench.held(slot)) == {0, 1, 2}
        and _on_record(bench, slot, name or bench.board(slot)["uuid"]),
        done,
    )
    bench.check("infuse serial creds list after it", {0, 1, 2} <= set(bench.ours(slot)), done)


def _on_record(bench: Bench, slot: int, name: str) -> bool:
    [row] = csv.reader((bench.folder / f"onboard-{slot}.csv").read_text().splitlines(keepends=True))
    certificate = x509.load_pem_x509_certificate(row[4].encode())
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode().replace("\n", "\r\n")
    return (
        row[0] == name
        and certificate.subject.rfc4514_string() == f"CN={name}"
        and bench.held(slot)[1] == hashlib.sha256(pem.encode()).hexdigest()
    )


# -- the dialects ----------------------------------------------------------------------------------


def at(bench: Bench) -> None:
    credstore(bench, 1, "\n")
    install(bench, 2, "-d")
    done = bench.install(2)
    bench.check(
        "device_credentials_installer on a board that has a key", done.returncode == 9, done
    )
    done = bench.tool(
        2,
        "gather_attestation_tokens",
        "--port",
        bench.world.port(2),
        "--csv",
        str(bench.folder / "tokens.csv"),
        "--overwrite",
    )
    row = (
        next(csv.reader((bench.folder / "tokens.csv").read_text().splitlines()), ["", ""])
        if done.returncode == 0
        else ["", ""]
    )
    bench.check(
        "gather_attestation_tokens",
        row[:2] == [bench.board(2)["imei"], bench.board(2)["uuid"]],
        done,
    )


def shell(bench: Bench) -> None:
    credstore(bench, 3, "\r\n")
    install(bench, 4, "-d")


def cred(bench: Bench) -> None:
    install(
        bench,
        5,
        "--cmd-type",
        "tls_cred_shell",
        "--id-str",
        "interop-5",
        "--local-cert",
        name="interop-5",
    )
    install(
        bench, 6, "--cmd-type", "nrf_cloud_cred_shell", "--id-str", "interop-6", name="interop-6"
    )


def noisy(bench: Bench) -> None:
    install(bench, 7, "--cmd-type", "at")
    install(bench, 9, "--cmd-type", "at")
    done = bench.install(8, "--cmd-type", "at")
    bench.check(
        "device_credentials_installer, the modem refuses the certificate",
        done.returncode == 12 and set(bench.held(8)) == {0, 2},
        done,
    )


def main() -> None:
    peer = str(Path(sys.argv[1]).absolute())
    began = time.monotonic()
    plans: dict[str, Callable[[Bench], None]] = {
        "at": at,
        "at-shell": shell,
        "cred-shell": cred,
        "at with echo, with the CSR of older firmware, or refusing": noisy,
    }
    options = SimOptions(
        boards=9,
        baud=None,
        faults=DIALECTS,
        delays=Delays(keygen_s=0.0, nvm_s=0.0),
        cloud_process=False,
    )
    with (
        running(options) as world,
        tempfile.TemporaryDirectory() as name,
        ThreadPoolExecutor(2) as pool,
    ):
        folder = Path(name)
        subprocess.run(
            [str(Path(peer).with_name("create_ca_cert")), "-p", name, "-f", "ca_"],
            check=True,
            capture_output=True,
        )
        benches = [Bench(peer, world, folder, title) for title in plans]
        list(pool.map(lambda bench: plans[bench.title](bench), benches))
        lines = [line for bench in benches for line in bench.lines]
    for good, text in lines:
        print(f"{'ok    ' if good else 'FAILED'} {text}")
    failed = sum(not good for good, _ in lines)
    print(
        f"{len(lines) - failed} of {len(lines)} checks of other tools on virtual boards,"
        f" {time.monotonic() - began:.0f} s"
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
