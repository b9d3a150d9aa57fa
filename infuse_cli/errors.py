"""One tree of errors with stable codes.

Every code is a row of `CODES`: the exit code, whose fault it is, whether the board may be pulled,
and what to do. The reference page of error codes is made from this table and a test compares the
two. A message says the cause; it never holds a secret.

    InfuseError
    ├── UsageError        exit 2    ├── BoardError     exit 7
    ├── ProfileError      exit 3    ├── PolicyError    exit 8
    ├── CredentialError   exit 4    ├── SignerError    exit 9
    ├── CloudError        exit 5, 6 └── JournalError   exit 10
    └── Interrupted       exit 130
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from infuse_cli.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable


class Exit(enum.IntEnum):
    """Exit codes of the program."""

    OK = 0
    TOOL = 1
    USAGE = 2
    PROFILE = 3
    CREDENTIAL = 4
    CLOUD_UNREACHABLE = 5
    CLOUD_REFUSED = 6
    BOARD = 7
    IDENTITY = 8
    SIGNER = 9
    JOURNAL = 10
    SOME_FAILED = 11
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class CodeInfo:
    """What a code means to program and person: exit code, outcome of a board that met it, safety,
    next action.
    """

    exit: Exit
    outcome: Outcome
    board_safe: bool
    meaning: str
    hint: str


F, E, A = Outcome.FAIL, Outcome.ERROR, Outcome.ABORTED
X = Exit

_RENAMED: Final[dict[str, str]] = {
    "serial.garbled": "serial.protocol",
    "serial.line-ended": "serial.closed",
    "journal.raced": "journal.conflict",
    "profile.cannot": "profile.unsupported",
    "tool.bug": "internal.error",
    "ca.broken": "ca.corrupt",
    "cloud.device-elsewhere": "cloud.wrong-owner",
    "mqtt.open": "mqtt.anonymous-allowed",
    "keys.not-delivered": "keys.delivery-failed",
}
"""Codes as older journals have them, and what they are called now."""

# One row a code: exit, outcome, safe to unplug, what it means, what to do.
CODES: Final[dict[str, CodeInfo]] = {
    "internal.error": CodeInfo(
        X.TOOL,
        E,
        False,
        "a fault in infuse itself",
        "Run again with -vv and report the details; what was done is on record.",
    ),
    "usage.bad-option": CodeInfo(
        X.USAGE, E, True, "an option or argument that does not fit", "See `infuse COMMAND --help`."
    ),
    "usage.output-lost": CodeInfo(
        X.USAGE,
        E,
        True,
        "the result could not be written to standard output",
        "Make room where the output goes; what was done is on record: `infuse journal list`.",
    ),
    "usage.no-terminal": CodeInfo(
        X.USAGE,
        E,
        True,
        "a question would have to be asked, but there is no terminal",
        "Give the value by option, file or environment.",
    ),
    "usage.command-failed": CodeInfo(
        X.USAGE,
        E,
        True,
        "a command that was to be given something failed",
        "Run it by hand and see what it says; --timeout gives it longer.",
    ),
    "usage.extra-missing": CodeInfo(
        X.USAGE,
        E,
        True,
        "an optional part of the program is not installed",
        "Install the extra that the message names.",
    ),
    "profile.not-found": CodeInfo(
        X.PROFILE,
        E,
        True,
        "no such profile",
        "`infuse profile list` shows the names; a path works too.",
    ),
    "profile.unreadable": CodeInfo(
        X.PROFILE, E, True, "the profile file cannot be read", "Check the path and the permissions."
    ),
    "profile.bad-yaml": CodeInfo(
        X.PROFILE, E, True, "the profile is not valid YAML", "Correct the line that is named."
    ),
    "profile.invalid": CodeInfo(
        X.PROFILE,
        E,
        True,
        "the profile has mistakes",
        "`infuse profile check NAME` lists them all with line numbers.",
    ),
    "profile.secret": CodeInfo(
        X.PROFILE,
        E,
        True,
        "the profile holds a secret",
        "Take it out, consider it exposed, and use `infuse auth login` or a passphrase file.",
    ),
    "profile.variable": CodeInfo(
        X.PROFILE,
        E,
        True,
        "an environment variable that the profile uses is not set",
        "Set it, or give a default as ${NAME:-default}.",
    ),
    "profile.unsupported": CodeInfo(
        X.PROFILE,
        E,
        True,
        "the profile asks for something that this dialect or mode cannot do",
        "Change the key that the message names.",
    ),
    "metadata.missing": CodeInfo(
        X.PROFILE,
        E,
        True,
        "metadata that the product requires has no value",
        "Give it with --metadata KEY=VALUE or --metadata-from FILE.csv.",
    ),
    "metadata.invalid": CodeInfo(
        X.PROFILE,
        E,
        True,
        "a metadata value does not fit its pattern",
        "Scan or type the value again.",
    ),
    "batch.unreadable": CodeInfo(
        X.USAGE,
        E,
        True,
        "the batch file cannot be read as a file",
        "Check the path and the permissions; a pipe has to be written to a file first.",
    ),
    "batch.encoding": CodeInfo(
        X.USAGE, E, True, "the batch file is not UTF-8 text", "Save it as 'CSV UTF-8'."
    ),
    "batch.header": CodeInfo(
        X.USAGE,
        E,
        True,
        "the header of the batch file does not fit",
        "The first line names the columns: mcuId is required; deviceId, name, publicKey, tags and"
        " metadata.KEY may follow.",
    ),
    "batch.empty": CodeInfo(
        X.USAGE,
        E,
        True,
        "the batch file has no rows",
        "Check that it is the right file, and whole.",
    ),
    "batch.file-changed": CodeInfo(
        X.USAGE,
        E,
        True,
        "the batch file changed while it was read",
        "Let whoever writes it finish, then run again: what was done is on record.",
    ),
    "batch.bad-rows": CodeInfo(
        X.USAGE,
        E,
        True,
        "the batch file has rows that cannot be taken",
        "Correct the lines that are named, or leave them out with --skip-bad.",
    ),
    "batch.line": CodeInfo(
        X.USAGE,
        E,
        True,
        "a line of the batch file does not fit its header",
        "Correct the line that is named.",
    ),
    "batch.mcu-id": CodeInfo(
        X.USAGE,
        E,
        True,
        "an mcuId in the batch file is not 16 hex digits",
        "In a spreadsheet, give the column the format 'Text' before it is filled.",
    ),
    "batch.value": CodeInfo(
        X.USAGE,
        E,
        True,
        "a cell of the batch file does not fit its column",
        "Correct the cell that is named.",
    ),
    "batch.duplicate": CodeInfo(
        X.USAGE,
        E,
        True,
        "a value that may be there only once is in two lines of the batch file",
        "Find out which of the two lines is meant, and delete the other.",
    ),
    "batch.stopped": CodeInfo(
        X.SOME_FAILED,
        E,
        True,
        "the batch was stopped before all of its rows were begun",
        "Look at the report for what went wrong, then run again: it goes on where it was.",
    ),
    "batch.metadata": CodeInfo(
        X.USAGE,
        E,
        True,
        "a row lacks metadata that its board requires, or has a value that does not fit",
        "Fill the column metadata.KEY that is named.",
    ),
    "batch.no-certificate": CodeInfo(
        X.IDENTITY,
        E,
        True,
        "a row has no certificate on record that could be exported",
        "Provision the board first, on this bench.",
    ),
    "batch.nothing": CodeInfo(
        X.USAGE,
        E,
        True,
        "there is nothing in the rows that could be handed over",
        "`infuse batch register FILE.csv` registers them first.",
    ),
    "batch.handed-over": CodeInfo(
        X.IDENTITY,
        E,
        True,
        "the registration token was handed over to another bench",
        "Use it there. `infuse batch export --take-back` revokes it, so that another can be minted;"
        " --again hands it over once more, and then only one bench may use it.",
    ),
    "credential.missing": CodeInfo(
        X.CREDENTIAL,
        E,
        True,
        "no API credential was found",
        "`infuse auth login`, or set INFUSE_TOKEN.",
    ),
    "credential.refused": CodeInfo(
        X.CREDENTIAL,
        E,
        True,
        "the cloud refused the credential",
        "`infuse auth status` says which one was used; `infuse auth login` stores another.",
    ),
    "credential.expired": CodeInfo(
        X.CREDENTIAL,
        E,
        True,
        "the credential has expired",
        "Get a new one (the legacy token: /admin/developer; an IAM key: Access > API Keys) and"
        " store it with `infuse auth login`.",
    ),
    "credential.suspended": CodeInfo(
        X.CREDENTIAL,
        E,
        True,
        "the credential or its principal is suspended",
        "Have its principal set to Active again (Access > API Keys), or use another credential.",
    ),
    "credential.revoked": CodeInfo(
        X.CREDENTIAL,
        E,
        True,
        "the credential was revoked",
        "It will not work again: have another one issued, and store it with `infuse auth login`.",
    ),
    "credential.no-role": CodeInfo(
        X.CREDENTIAL,
        E,
        True,
        "the credential lacks a role or permission for this call",
        "Have a role that allows it assigned (Access > API Keys > Role assignments), or use the"
        " organisation's admin token.",
    ),
    "credential.other-organisation": CodeInfo(
        X.CREDENTIAL,
        E,
        True,
        "the credential belongs to another organisation",
        "Check cloud.organisation; `infuse auth status --check` shows the organisations that this"
        " credential sees.",
    ),
    "credential.wrong-scheme": CodeInfo(
        X.CREDENTIAL,
        E,
        True,
        "the cloud looks for the credential in another form",
        "Set cloud.auth.scheme in the profile: bearer, api-key, x-api-key or exchanged.",
    ),
    "credential.iam-key": CodeInfo(
        X.CREDENTIAL,
        E,
        True,
        "an IAM API key (ik_…) was given, and the Infuse IoT API does not take those today",
        "Use the legacy organisation admin token from /admin/developer; for an API that takes IAM"
        " keys set cloud.auth.scheme: exchanged or api-key.",
    ),
    "credential.malformed": CodeInfo(
        X.CREDENTIAL,
        E,
        True,
        "the API credential does not have the form of one",
        "Copy it again, whole and alone: one line of plain characters without spaces.",
    ),
    "credential.unsafe-file": CodeInfo(
        X.CREDENTIAL,
        E,
        True,
        "a file with a secret is readable by others",
        "chmod 600 the file, and consider the secret exposed.",
    ),
    "credential.sealing-key": CodeInfo(
        X.CREDENTIAL,
        E,
        True,
        "no key to seal secrets at rest",
        "Name a key file in bench.yaml (sealing.key_file), or install a keyring.",
    ),
    "credential.no-passphrase": CodeInfo(
        X.CREDENTIAL,
        E,
        True,
        "no passphrase was given for a sealed file",
        "--passphrase-file, --passphrase-fd, or a terminal to ask on.",
    ),
    "credential.bad-passphrase": CodeInfo(
        X.CREDENTIAL,
        E,
        True,
        "a sealed file does not open",
        "Check the passphrase and the file: a copy that was cut off on the way does not open"
        " either.",
    ),
    "keys.delivery-failed": CodeInfo(
        X.CREDENTIAL,
        E,
        True,
        "a derived key could not be handed over",
        "Check keys.to in the profile: the folder, or the program that it names.",
    ),
    "cloud.unreachable": CodeInfo(
        X.CLOUD_UNREACHABLE,
        E,
        True,
        "the cloud cannot be reached",
        "Check the network and cloud.base_url, then run again; what was done is on record.",
    ),
    "cloud.timeout": CodeInfo(
        X.CLOUD_UNREACHABLE,
        E,
        True,
        "the cloud did not answer in time",
        "Run again later; what was done is on record.",
    ),
    "cloud.unavailable": CodeInfo(
        X.CLOUD_UNREACHABLE,
        E,
        True,
        "the cloud has a fault of its own (5xx) or is too busy",
        "Run again later; what was done is on record.",
    ),
    "cloud.untrusted": CodeInfo(
        X.CLOUD_UNREACHABLE,
        E,
        True,
        "the server's certificate cannot be accepted, so nothing was sent",
        "Check cloud.base_url and this machine's clock; --ca-bundle FILE or cloud.ca_bundle names"
        " another authority.",
    ),
    "cloud.proxy": CodeInfo(
        X.CLOUD_UNREACHABLE,
        E,
        True,
        "the proxy on the way to the cloud refused",
        "Check HTTPS_PROXY and NO_PROXY, or ask whoever runs the proxy.",
    ),
    "cloud.bad-answer": CodeInfo(
        X.CLOUD_REFUSED,
        E,
        True,
        "the cloud's answer cannot be understood",
        "Check cloud.base_url: this may be a proxy's or another service's page.",
    ),
    "cloud.refused": CodeInfo(
        X.CLOUD_REFUSED, E, True, "the cloud refused the request", "The server's words say why."
    ),
    "cloud.not-found": CodeInfo(
        X.CLOUD_REFUSED,
        E,
        True,
        "the cloud knows no such thing",
        "Check the names and ids in the profile, or set create: true.",
    ),
    "cloud.ambiguous": CodeInfo(
        X.CLOUD_REFUSED,
        E,
        True,
        "a name fits several things in the cloud",
        "Use the id instead of the name; the candidates are listed.",
    ),
    "cloud.soc-mismatch": CodeInfo(
        X.CLOUD_REFUSED,
        E,
        True,
        "the profile's soc is not the cloud board's",
        "Choose the right cloud board, or correct board.soc.",
    ),
    "cloud.metadata-clash": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "another cloud device already holds this unique metadata value or device id",
        "Find the other board before going on: a label may be doubled.",
    ),
    "cloud.device-conflict": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the cloud device exists with other values",
        "Check the label; --update-metadata overwrites the values that are named.",
    ),
    "cloud.wrong-owner": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the cloud device belongs to another organisation or board",
        "A registration cannot be moved: check that profile and board fit.",
    ),
    "mqtt.unreachable": CodeInfo(
        X.CLOUD_UNREACHABLE,
        E,
        True,
        "the broker cannot be reached",
        "Check host and port (8883 is usual for TLS), the network, and that the broker runs.",
    ),
    "mqtt.timeout": CodeInfo(
        X.CLOUD_UNREACHABLE,
        E,
        True,
        "the broker did not answer in time",
        "Check that a firewall lets the port through; --timeout gives it longer.",
    ),
    "mqtt.no-tls": CodeInfo(
        X.CLOUD_UNREACHABLE,
        E,
        True,
        "the broker's port does not speak TLS",
        "Name the port of its TLS listener (8883 is usual; 1883 is the one without).",
    ),
    "mqtt.untrusted": CodeInfo(
        X.CLOUD_UNREACHABLE,
        E,
        True,
        "the broker's certificate cannot be accepted, and boards would not accept it either",
        "Name the CA that signed it (--server-ca, broker.ca or identity.server_ca), have the broker"
        " send its intermediates, and check this machine's clock.",
    ),
    "mqtt.wrong-name": CodeInfo(
        X.CLOUD_UNREACHABLE,
        E,
        True,
        "the broker's certificate is for another name",
        "Use the name that boards use; if it is right, the broker needs a certificate with it:"
        " `infuse ca issue NAME --certificate broker`.",
    ),
    "mqtt.certificate-refused": CodeInfo(
        X.CLOUD_REFUSED,
        E,
        True,
        "the broker refused the client's certificate",
        "Give the broker this CA's root (`infuse ca export`) and its newest list (`infuse ca crl`);"
        " if it was a token, this listener wants a certificate.",
    ),
    "mqtt.token-refused": CodeInfo(
        X.CLOUD_REFUSED,
        E,
        True,
        "the broker refused the MQTT token",
        "Check --user-name, the organisation, and that this broker takes the cloud's tokens.",
    ),
    "mqtt.refused": CodeInfo(
        X.CLOUD_REFUSED,
        E,
        True,
        "the broker refused the connection",
        "Its log says why: it may want a certificate or a user name, know only registered devices,"
        " or not trust this CA.",
    ),
    "mqtt.bad-answer": CodeInfo(
        X.CLOUD_REFUSED,
        E,
        True,
        "what answers is not an MQTT 3.1.1 broker",
        "Check host and port: this may be another service.",
    ),
    "mqtt.anonymous-allowed": CodeInfo(
        X.CLOUD_REFUSED,
        E,
        True,
        "the broker lets in clients without a certificate",
        "Have it require one (Mosquitto: require_certificate true): as it is, a board's certificate"
        " proves nothing to it.",
    ),
    "serial.none": CodeInfo(
        X.BOARD,
        E,
        True,
        "no board was found on any port",
        "Plug a board in, look at `infuse serial ports`, or name one with --port.",
    ),
    "serial.no-port": CodeInfo(
        X.BOARD, E, True, "there is no such port", "`infuse serial ports` lists what is there."
    ),
    "serial.ambiguous": CodeInfo(
        X.BOARD,
        E,
        True,
        "several ports could be the board and none is guessed",
        "Name it with --port.",
    ),
    "serial.busy": CodeInfo(
        X.BOARD,
        E,
        True,
        "another program holds the port",
        "Close the program that is named (terminals and ModemManager are common; `infuse doctor`"
        " says how to keep the latter away).",
    ),
    "serial.denied": CodeInfo(
        X.BOARD,
        E,
        True,
        "no permission to open the port",
        "Add the user to the group `dialout` and log in again.",
    ),
    "serial.silent": CodeInfo(
        X.BOARD,
        E,
        True,
        "nothing on the port answers what a board is asked",
        "Check power, cable, baud rate and that the firmware speaks a dialect that is asked for"
        " (`board.serial.dialect`).",
    ),
    "serial.timeout": CodeInfo(
        X.BOARD,
        E,
        False,
        "the board stopped answering",
        "Reset the board, then run again: it goes on where it was.",
    ),
    "serial.unplugged": CodeInfo(
        X.BOARD,
        E,
        True,
        "the port went away",
        "Plug the board back in and run again: it goes on where it was.",
    ),
    "serial.protocol": CodeInfo(
        X.BOARD,
        E,
        True,
        "the board's answer cannot be understood",
        "Check baud rate, cable and flow control, then run again.",
    ),
    "serial.too-long": CodeInfo(
        X.PROFILE,
        E,
        True,
        "a command is longer than the board's line buffer",
        "Use a shorter certificate chain or another dialect.",
    ),
    "serial.no-digest": CodeInfo(
        X.BOARD,
        F,
        True,
        "the modem lists credentials without digests, so nothing can be read back",
        "Update the modem firmware.",
    ),
    "serial.closed": CodeInfo(
        X.BOARD,
        E,
        True,
        "the link was used after it had been closed",
        "Run again: it goes on where it was.",
    ),
    "rpc.no-answer": CodeInfo(
        X.BOARD,
        E,
        True,
        "the device did not answer the RPC in time",
        "Check that it is on and heard: `infuse device state`.",
    ),
    "rpc.failed": CodeInfo(
        X.BOARD,
        E,
        True,
        "the device answered the RPC with an error",
        "The return code says which; the firmware's documentation explains it.",
    ),
    "board.changed": CodeInfo(
        X.BOARD,
        A,
        True,
        "another board is on the port than the one that was begun; nothing was written to it",
        "Run again with the board that belongs here; each goes on where it was.",
    ),
    "board.no-imei": CodeInfo(
        X.BOARD,
        F,
        True,
        "the module has no IMEI, and mcuId is taken from it",
        "Set the board aside, or use another board.mcu_id source.",
    ),
    "board.no-mcu-id": CodeInfo(
        X.BOARD,
        F,
        True,
        "the mcuId could not be read from its source",
        "Check board.mcu_id in the profile and the tool or command it names.",
    ),
    "board.id-not-written": CodeInfo(
        X.BOARD,
        F,
        True,
        "the device id could not be written through the debug probe, or did not read back",
        "Check nrfutil, the probe's cable and the chip's access protection (`nrfutil device list`),"
        " then run again: a write that broke off is completed.",
    ),
    "board.other-id": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the board already carries another device id, and one-time memory cannot be rewritten",
        "Was this board provisioned elsewhere? Set it aside for an engineer; only erasing the whole"
        " chip empties that memory.",
    ),
    "board.unexpected": CodeInfo(
        X.BOARD,
        F,
        True,
        "the board is not what board.expect says",
        "Wrong product in the jig, or update its modem firmware.",
    ),
    "board.in-use": CodeInfo(
        X.BOARD,
        E,
        False,
        "another infuse is working on this very board",
        "Let it finish; a board is never worked on twice at once.",
    ),
    "modem.error": CodeInfo(
        X.BOARD,
        F,
        True,
        "the modem refused a command",
        "The message has the number and its meaning.",
    ),
    "modem.not-found": CodeInfo(
        X.BOARD,
        F,
        True,
        "513: the modem has no such credential",
        "Run again; if it stays, set the board aside.",
    ),
    "modem.not-allowed": CodeInfo(
        X.BOARD,
        F,
        True,
        "514: the modem does not allow this",
        "The sec_tag may be reserved: check identity.sec_tag.",
    ),
    "modem.full": CodeInfo(
        X.BOARD,
        F,
        True,
        "515: the modem's credential memory is full",
        "Delete credentials that are not needed: `infuse serial creds list` shows them.",
    ),
    "modem.active": CodeInfo(
        X.BOARD,
        F,
        True,
        "518: not allowed while the modem is active",
        "Firmware turns the modem on by itself: use the production firmware.",
    ),
    "modem.exists": CodeInfo(
        X.BOARD,
        F,
        True,
        "519: the modem already holds this credential",
        "Run again; --replace takes the slot over after putting it on record.",
    ),
    "modem.keygen-failed": CodeInfo(
        X.BOARD,
        F,
        True,
        "523: the modem could not make a key",
        "Run again once; then set the board aside.",
    ),
    "modem.bad-certificate": CodeInfo(
        X.BOARD,
        F,
        True,
        "527: the modem does not accept the certificate's content",
        "Run again; if it stays, keep the board and its record for an engineer.",
    ),
    "modem.power": CodeInfo(
        X.BOARD,
        E,
        True,
        "528: power-off warning, the supply is too weak to write",
        "Check the jig's supply and contacts, then run again.",
    ),
    "identity.slot-occupied": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the sec_tag already holds a credential that this journal did not write",
        "--replace (or identity.existing: replace) takes it over after putting its digest on"
        " record.",
    ),
    "identity.key-changed": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the key in the modem is not the one that the recorded CSR was made with",
        "Somebody wrote to this board: --restart makes a new identity.",
    ),
    "identity.csr-unreadable": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the CSR cannot be parsed",
        "Run again; if it stays, set the board aside.",
    ),
    "identity.attestation-missing": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the CSR came without its attestation and the profile requires one",
        "Update the modem firmware, or identity.attestation: if-offered.",
    ),
    "identity.attestation-malformed": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the attestation cannot be parsed",
        "Run again; if it stays, set the board aside.",
    ),
    "identity.digest-mismatch": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the attestation was made for another CSR",
        "Bytes were changed on the way: run again; if it stays, set the board aside.",
    ),
    "identity.uuid-mismatch": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the attestation names another board",
        "Set the board aside for an engineer.",
    ),
    "identity.tag-mismatch": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the attestation names another sec_tag",
        "Set the board aside for an engineer.",
    ),
    "identity.bad-signature": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the CSR's own signature is wrong",
        "Run again; if it stays, set the board aside.",
    ),
    "identity.csr-policy": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the CSR asks for something the policy does not allow",
        "The message names it; set the board aside for an engineer.",
    ),
    "identity.key-reused": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the public key was already seen on another board",
        "A clone: set both boards aside for an engineer.",
    ),
    "identity.name-taken": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "this name has a valid certificate for another key",
        "Revoke the other one first (`infuse ca revoke`), or correct the name.",
    ),
    "identity.quota": CodeInfo(
        X.IDENTITY,
        E,
        True,
        "the certificate profile's limit is reached",
        "Find out why so many were asked for; then raise `limits` in the certificate profile.",
    ),
    "identity.revoked": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the board's certificate was revoked",
        "`infuse key rotate BOARD --port PORT` gives the board a new identity; without a registry,"
        " --again does too.",
    ),
    "identity.weak-key": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the private key of this public key is to be had by anybody",
        "Set the board aside: its random generator or its firmware is at fault.",
    ),
    "identity.blank": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "an IMEI, UUID, mcuId or device id that no device has of its own",
        "The chip was never programmed, is locked, or the value is a placeholder: nothing was"
        " registered. Set the board aside, or correct the value.",
    ),
    "identity.clone": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "this IMEI or mcuId is on record with another board",
        "A clone or a wrong label: set both boards aside for an engineer.",
    ),
    "identity.certificate-mismatch": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the certificate does not fit the board's key",
        "Keep the board and its record for an engineer.",
    ),
    "identity.not-read-back": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "what the modem holds is not what was written",
        "Run again; if it stays, set the board aside.",
    ),
    "identity.possession-failed": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the board could not prove that it holds the certificate's key",
        "Set the board aside for an engineer.",
    ),
    "identity.registry-conflict": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the registry device of this name is not ours to replace",
        "Look at it in the registry; rename or retire it there first.",
    ),
    "identity.token-spent": CodeInfo(
        X.IDENTITY,
        E,
        True,
        "a registration token was spent, and no certificate is known to have come back; nothing"
        " says that the board is bad",
        "Look at the device in the registry; --restart then makes a new identity.",
    ),
    "identity.not-active": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the cloud did not hear from the board in time",
        "Check antenna, SIM and coverage; then run again.",
    ),
    "identity.retired": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the board was retired or replaced",
        "Set it aside. --again with --update-metadata brings it back with a new identity.",
    ),
    "identity.security-state": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "the device's proof does not hold",
        "Check which root the device was given; ask it again with a fresh challenge.",
    ),
    "plan.changed": CodeInfo(
        X.IDENTITY,
        E,
        True,
        "this board was begun under another plan",
        "Use the profile it was begun with (`infuse resume`), or --restart for a new identity.",
    ),
    "ca.not-found": CodeInfo(
        X.SIGNER,
        E,
        True,
        "there is no such CA on this bench",
        "`infuse ca init`, or name its folder in identity.ca.",
    ),
    "ca.exists": CodeInfo(
        X.SIGNER, E, True, "the CA exists already", "Use it, or choose another name with --name."
    ),
    "ca.bad-passphrase": CodeInfo(
        X.SIGNER,
        E,
        True,
        "the CA passphrase is wrong",
        "Type it again, or check the passphrase file.",
    ),
    "ca.no-passphrase": CodeInfo(
        X.SIGNER,
        E,
        True,
        "no CA passphrase was given",
        "--passphrase-file, --passphrase-fd, identity.passphrase in the profile, or a terminal to"
        " ask on.",
    ),
    "ca.unsafe-key": CodeInfo(
        X.SIGNER,
        E,
        True,
        "the CA key file is readable by others",
        "chmod 600 the file; consider the key exposed if others had access.",
    ),
    "ca.corrupt": CodeInfo(
        X.SIGNER, E, True, "the CA's files do not fit together", "Restore them from the backup."
    ),
    "ca.issuer-expired": CodeInfo(
        X.SIGNER, E, True, "the issuing certificate is not valid now", "Renew the CA."
    ),
    "ca.issuer-revoked": CodeInfo(
        X.SIGNER,
        E,
        True,
        "the issuing certificate was revoked",
        "`infuse ca renew` makes a new one under the same root.",
    ),
    "ca.clock": CodeInfo(
        X.SIGNER,
        E,
        True,
        "this machine's clock cannot be right, so nothing is begun or signed",
        "Set the clock (NTP), then run again. Where the clock is right and a record is not:"
        " `infuse journal reconcile --clock`.",
    ),
    "ca.key-mismatch": CodeInfo(
        X.SIGNER,
        E,
        True,
        "the certificate does not belong to this CA's key",
        "Have the request that `infuse ca init` or `renew` wrote signed, and import that.",
    ),
    "ca.no-root-key": CodeInfo(
        X.SIGNER,
        E,
        True,
        "the root's key is not at hand",
        "Name where it is with --root-key, or use an external root.",
    ),
    "ca.token": CodeInfo(
        X.SIGNER,
        E,
        True,
        "the security token (PKCS#11) does not answer or refused",
        "Check that it is plugged in and that the names of module, token and key are right; then"
        " run again.",
    ),
    "ca.verify-failed": CodeInfo(
        X.SIGNER, E, True, "the certificate does not verify", "The message says why."
    ),
    "journal.moved": CodeInfo(
        X.JOURNAL,
        E,
        True,
        "the journal's file is no longer where it was opened: what was done since is not recorded",
        "Put the file or the home back where it was, then run again; boards of this run go on from"
        " what is recorded there.",
    ),
    "journal.locked": CodeInfo(
        X.JOURNAL,
        E,
        True,
        "the journal is locked by another program",
        "Close the program that holds it, then run again.",
    ),
    "journal.read-only": CodeInfo(
        X.JOURNAL, E, True, "the journal cannot be written", "Check the permissions of INFUSE_HOME."
    ),
    "journal.corrupt": CodeInfo(
        X.JOURNAL,
        E,
        True,
        "the journal is damaged",
        "Keep the file, restore the backup, and tell an engineer.",
    ),
    "journal.newer": CodeInfo(
        X.JOURNAL,
        E,
        True,
        "the journal was written by a newer infuse",
        "Install that version or a later one.",
    ),
    "journal.disk-full": CodeInfo(
        X.JOURNAL,
        E,
        True,
        "the disk is full",
        "Make room, then run again: it goes on where it was.",
    ),
    "journal.not-found": CodeInfo(
        X.JOURNAL,
        E,
        True,
        "the journal knows no such thing",
        "`infuse journal list` shows what is on record.",
    ),
    "journal.ambiguous": CodeInfo(
        X.JOURNAL, E, True, "several boards fit", "Give one of the UUIDs that the message lists."
    ),
    "journal.tokens-differ": CodeInfo(
        X.JOURNAL,
        E,
        True,
        "registration tokens are not as the registry shows them",
        "`infuse registry token ledger --settle` puts on record what is certain; look at the others"
        " in the registry.",
    ),
    "journal.diverged": CodeInfo(
        X.JOURNAL,
        E,
        True,
        "two journals of one station hold different records",
        "Keep both files apart; chains are never merged. Import into an empty --home to read it.",
    ),
    "journal.bad-head": CodeInfo(
        X.JOURNAL,
        E,
        True,
        "the file is no signed head of a journal, or its signature does not hold",
        "Use the file as `infuse journal head` wrote it; --root names the CA's root.",
    ),
    "journal.not-backup": CodeInfo(
        X.JOURNAL,
        E,
        True,
        "the file is nothing that can be imported",
        "Use a file that `infuse journal backup` or `infuse batch export --for-bench` wrote.",
    ),
    "journal.differs": CodeInfo(
        X.SOME_FAILED,
        E,
        True,
        "boards on record as PASS are not so in the cloud, or were never heard",
        "`infuse device show ID` puts both sides next to each other.",
    ),
    "journal.conflict": CodeInfo(
        X.JOURNAL,
        E,
        True,
        "the record changed under our hands",
        "Another infuse works on it; let it finish.",
    ),
    "run.interrupted": CodeInfo(
        X.INTERRUPTED,
        A,
        True,
        "a person stopped the run",
        "Run again, or `infuse resume` where boards were at work: it goes on where it was.",
    ),
    "run.conflict": CodeInfo(
        X.IDENTITY,
        F,
        True,
        "what was found cannot be decided by a program",
        "An engineer has to look: `infuse journal show BOARD`.",
    ),
    "run.until": CodeInfo(
        X.OK,
        A,
        True,
        "the run stopped after the step that --until names",
        "Run again without --until: it goes on where it was.",
    ),
    "run.simulated": CodeInfo(
        X.OK, A, True, "the simulated world of this run is gone", "Nothing to do."
    ),
    "run.paused": CodeInfo(
        X.BOARD,
        A,
        True,
        "five equal errors in a row paused the run",
        "Find the common cause first, then run again.",
    ),
}


def current_code(code: str) -> str:
    """What a code of an older journal is called now."""
    return _RENAMED.get(code, code)


class InfuseError(Exception):
    """An error with a code of `CODES`.

    `unknown` is True when an effect may have happened although it failed here: only a probe
    decides. `details` are for `-vv` and the record, free of secrets.
    """

    branch: ClassVar[str] = ""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        unknown: bool = False,
        board_safe: bool | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code: Final = code
        self.message: Final = message
        self.info: Final = CODES[code]
        self.hint: Final = hint or self.info.hint
        self.unknown: Final = unknown
        self.board_safe: Final = self.info.board_safe if board_safe is None else board_safe
        self.details: Final = details or {}

    def __reduce__(
        self,
    ) -> tuple[Callable[..., InfuseError], tuple[type[InfuseError], dict[str, Any]]]:
        return _told_again, (
            type(self),
            self.__dict__,
        )  # what crosses to another process comes back whole

    @property
    def exit(self) -> Exit:
        """The exit code of a run that ends with this error."""
        return self.info.exit

    def as_json(self) -> dict[str, Any]:
        """The error object of the envelope."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "boardSafe": self.board_safe,
        }


def _told_again(kind: type[InfuseError], values: dict[str, Any]) -> InfuseError:
    error = kind.__new__(kind, values["message"])
    error.__dict__.update(values)
    return error


class UsageError(InfuseError):
    """The command line does not fit."""


class ProfileError(InfuseError):
    """The profile, the bench file or a value that they ask for is wrong."""


class CredentialError(InfuseError):
    """An API credential or a key at rest is missing, unsafe or refused."""


class CloudError(InfuseError):
    """The cloud is out of reach or refused. `status` is the HTTP status, None without an answer."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        call: str = "",
        request_id: str | None = None,
        retry_after_s: float | None = None,
        **more: Any,
    ) -> None:
        super().__init__(code, message, **more)
        self.status: Final = status
        self.call: Final = call
        self.request_id: Final = request_id
        self.retry_after_s: Final = retry_after_s


class BoardError(InfuseError):
    """The serial link or the board. `cme` is the modem's error number where there was one."""

    def __init__(self, code: str, message: str, *, cme: int | None = None, **more: Any) -> None:
        super().__init__(code, message, **more)
        self.cme: Final = cme


class PolicyError(InfuseError):
    """Identity or policy refused: nothing was signed."""


class SignerError(InfuseError):
    """The CA or its signer."""


class JournalError(InfuseError):
    """The journal."""


class Interrupted(InfuseError):  # noqa: N818 - a person's wish, not a mistake
    """A person stopped the run."""

    def __init__(
        self,
        message: str = "stopped by the operator",
        *,
        unknown: bool = False,
        hint: str | None = None,
    ) -> None:
        super().__init__("run.interrupted", message, unknown=unknown, hint=hint)


def internal_error(error: Exception) -> InfuseError:
    """Wrap a fault of our own; the traceback is among its details, for -vv only."""
    import traceback

    return InfuseError(
        "internal.error",
        f"{type(error).__name__} in infuse itself",
        details={"traceback": "".join(traceback.format_exception(error))},
    )
