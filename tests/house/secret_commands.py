"""Every command of the program with what it takes, so that a test can drive them all: in the order
in which a bench might be treated.

A line is the exit code that is expected, then the words. Names in braces are filled in: `board` is
the device id of a board that PASSed, `mcu` its mcuId, `rpc` the id of an RPC to it; `p1`… are
ports, `p1` that board's; `away` a folder with secrets in files of their own, `out` one in which
there may be none. A command that is not driven here is in `NOT_DRIVEN`, with the reason.
"""

from __future__ import annotations

NOT_DRIVEN = {
    (
        "sim",
        "up",
    ): (
        "its one line is the play credential of a world that ends with it; nothing else of it is a"
        " user's"
    ),
    (
        "serial",
        "console",
    ): (
        "wants a terminal; tests/cli/test_serial_console.py types a key there and looks for it in"
        " log, history and journal"
    ),
    ("serial", "slots", "learn"): "wants USB boards that come and go; it never meets a secret",
}

COMMANDS = """
0  doctor
0  doctor --bundle {out}/bundle.tar.gz
0  completion bash
0  sim openapi
0  profile list
0  profile show
0  profile check
0  profile new fresh --base nrf9151-dk --mode local-ca --organisation Acme --server-ca '' --registry-url '' --board B --mcu-id nrfutil --out {out}/fresh.yaml
0  resume
0  journal list
0  journal show {board} --events
0  journal summary
0  journal export
0  journal reconcile
0  journal verify
10 journal close nobody --reason lost
0  journal head --out {out}/head --ca {ca} --passphrase-file {word}
9  journal head --out {out}/head --ca {ca} --passphrase-file {away}/wrong.pass
0  journal backup {out}/copy --passphrase-file {away}/backup.pass
4  journal import {out}/copy --passphrase-file {away}/wrong.pass
0  journal import {out}/copy --passphrase-file {away}/backup.pass
4  journal import {out}/copy
0  journal rekey
0  batch plan {away}/lot.csv
0  batch register {away}/lot.csv --report {out}/report.csv
0  batch status {away}/lot.csv
0  batch export {away}/lot.csv --out {out}/ids.csv
0  batch export {away}/lot.csv --for-bench {out}/hand-over --passphrase-file {away}/backup.pass
8  batch export {away}/lot.csv --for-bench {out}/twice --passphrase-file {away}/backup.pass
4  journal import {out}/hand-over --passphrase-file {away}/wrong.pass
0  journal import {out}/hand-over --passphrase-file {away}/backup.pass
0  journal import {out}/hand-over --passphrase-file {away}/backup.pass --home {other}
0  batch export {away}/lot.csv --take-back --yes
2  batch export {away}/lot.csv --take-back --yes
0  ca init --name {made} --root-out {away}/safe --passphrase-file {away}/ca.pass
9  ca init --name {made} --passphrase-file {away}/ca.pass
0  ca show --ca {made}
0  ca export --chain --out {out}/chain.pem --ca {made}
0  ca issue localhost --certificate broker --out {out}/broker.pem --key-out {away}/broker.key --ca {made} --passphrase-file {away}/ca.pass
9  ca issue other --certificate broker --out {out}/other.pem --key-out {away}/other.key --ca {made} --passphrase-file {away}/wrong.pass
0  ca verify {out}/broker.pem --certificate broker --ca {made}
0  ca lint {out}/broker.pem --certificate broker
0  ca list
0  ca crl --ca {made} --passphrase-file {away}/ca.pass --out {out}/list.pem
9  ca crl --ca {made} --passphrase-file {away}/wrong.pass --out {out}/list2.pem
9  ca renew --ca {made} --root-key {away}/safe --passphrase-file {away}/wrong.pass
0  ca renew --ca {made} --root-key {away}/safe --passphrase-file {away}/ca.pass
0  ca init --name {made}2 --external-root --csr-out {out}/inter.csr --passphrase-file {away}/ca.pass
9  ca import {out}/chain.pem --ca {made}2 --passphrase-file {away}/ca.pass
9  ca init --name {made}3 --key {hsm}one --pin-file {away}/wrong.pass --passphrase-file {away}/ca.pass
0  ca init --name {made}4 --key {hsm}two --pin-file {away}/pin --passphrase-file {away}/ca.pass
0  ca crl --ca {made}4 --passphrase-file {away}/pin --out {out}/list4.pem
9  ca crl --ca {made}4 --passphrase-file {away}/wrong.pass --out {out}/list5.pem
0  org list
0  org show
0  org create Other
0  org ensure Other
0  board list
0  board show
0  board create B2 --soc nRF9151 --description x
0  board ensure B2 --soc nRF9151 --description x
0  network create N --network-id 77 --key-file {away}/network.key
6  network create N --network-id 77 --key-file {away}/network.key
0  network create M --network-id 78 --generate-key --out {away}/made.key
0  network list
0  network show N
0  device list
0  device show {board}
0  device create 00112233445566aa --metadata serialNumber=SN-1
0  device ensure 00112233445566aa --metadata serialNumber=SN-1
0  device update 00112233445566aa --metadata site=x
?  device state {board}
?  device route {board}
0  key public
0  key id {public}
0  key shared-secret --device {board}
0  key shared-secret --public-key {public} --out {away}/root.out
0  key derive --device {board}
0  key derive --device {board} --out {away}/derived
0  key derive --local --public-key {public} --interface coap
0  key derive --cloud --device {board} --interface bt_adv
0  key derive --root-key {away}/root.key --interface sign
0  key derive --private-key {away}/private.key --interface coap
2  key derive --root-key {away}/root.key --reveal
0  key network --key-file {away}/network.key --interface serial --day 16203
2  key network --key-file {away}/nothing
0  key verify {away}/state --root-key {away}/root.key
8  key verify {away}/state --private-key {away}/private.key
0  mqtt token --out {away}/mqtt
2  mqtt token --reveal
0  mqtt token -- sh -c "cat >/dev/null; env >{out}/env-of-mqtt"
2  mqtt token -- sh -c "cat >/dev/null; exit 3"
0  mqtt check
6  mqtt check --token-file {away}/mqtt
9  mqtt check --passphrase-file {away}/wrong.pass
0  rpc list
0  rpc send application_info --device {board}
0  rpc show {rpc}
?  rpc wait {rpc} --timeout 0
0  registry token create gw --out {away}/gw
8  registry token create gw --out {away}/gw2
0  registry token list
0  registry token ledger
0  registry token revoke gw --yes
0  registry device list
0  registry device create plain
0  registry device show plain
0  registry device update plain --tag t
0  registry device summary
0  registry component create plain c1
0  registry component ensure plain c1
0  registry component list
0  registry component show c1
0  registry component update c1 --name c2
0  registry component delete c2 --yes
0  registry sensor list
?  registry health show plain
?  registry health latest plain
?  registry health window plain --from 2026-01-01T00:00:00Z
?  registry health summary plain
0  registry group create g --tag t
0  registry group list
0  registry group show g
0  registry group update g --name h
0  registry group delete h --yes
0  registry device delete plain --yes
0  serial ports
0  serial probe {p2}
0  serial info {p2}
0  serial slots show
?  serial slots forget --all
0  serial check {p1}
0  serial creds list {p2}
0  serial creds write {p2} --sec-tag 77 --type psk --file {away}/psk
8  serial creds write {p2} --sec-tag 77 --type psk --file {away}/psk2
0  serial creds write {p2} --sec-tag 78 --type key --file {away}/tls.key
0  serial creds delete {p2} --sec-tag 77 --yes
0  serial token write {p2} --file {away}/token --device-id b6b5e1a4-0000-4000-8000-000000000001
8  serial token write {p2} --file {away}/token2 --device-id b6b5e1a4-0000-4000-8000-000000000001
?  serial at {p2} --file {away}/commands
?  serial at {p2} --file {away}/refused
0  serial csr {p2} --out {out}/board.csr
0  ca sign {out}/board.csr --device-id 00112233445566ab --out {out}/board.pem --ca {made} --passphrase-file {away}/ca.pass
9  ca sign {out}/board.csr --device-id 00112233445566ac --out {out}/board2.pem --ca {made} --passphrase-file {away}/wrong.pass
0  ca revoke --device 00112233445566ab --ca {made}
?  serial write-id {p1} --yes
0  auth login --token-file {away}/stored
0  auth status
?  auth status --check
0  auth exchange --token-file {away}/iam --out {away}/bearer
0  auth logout
0  provision --port {p3} --profile {sink}
0  provision --port {p4} --profile {sealed}
4  provision --port {p5} --profile {nosink}
9  provision --port {p5} --passphrase-file {away}/wrong.pass
9  key rotate {board} --port {p1} --passphrase-file {away}/wrong.pass
0  key rotate {board} --port {p1}
0  device replace 00112233445566aa {board} --yes
0  device retire {board} --yes
8  provision --port {p1}
0  journal verify
"""


def lines() -> list[tuple[int | None, str]]:
    """Exit code (None: whichever) and words, unfilled."""
    parted = [line.split(None, 1) for line in COMMANDS.strip().splitlines()]
    return [(None if code == "?" else int(code), words) for code, words in parted]
