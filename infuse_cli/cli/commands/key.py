"""`infuse key`: key material of devices."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infuse_cli.cli.context import current
from infuse_cli.cli.options import check_secret_output, json_object
from infuse_cli.cli.result import finish

app = typer.Typer(
    help="Keys of devices: derive, network, id, verify, rotate.", no_args_is_help=True
)


class Interface(StrEnum):
    """What a packet key is for."""

    udp = "udp"
    serial = "serial"
    bt_adv = "bt_adv"
    bt_gatt = "bt_gatt"


class Purpose(StrEnum):
    """What a device's key is for: a packet key of an interface, its proofs, or the PSK of its CoAP
    downloads.
    """

    udp = "udp"
    serial = "serial"
    bt_adv = "bt_adv"
    bt_gatt = "bt_gatt"
    sign = "sign"
    coap = "coap"


Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="A device that the cloud knows: device id, id, mcuId or IMEI.",
        show_default=False,
    ),
]
PublicKey = Annotated[
    str | None,
    typer.Option(
        "--public-key",
        metavar="KEY",
        help="The device's X25519 public key, 32 bytes in base64 or hex.",
        show_default=False,
    ),
]
RootKey = Annotated[
    Path | None,
    typer.Option(
        "--root-key",
        metavar="FILE",
        help="Private file (0600) with the shared secret: 32 bytes, base64, hex or bare.",
        show_default=False,
    ),
]
PrivateKey = Annotated[
    Path | None,
    typer.Option(
        "--private-key",
        metavar="FILE",
        help="Private file (0600) with an X25519 private key: PEM, base64, hex or bare.",
        show_default=False,
    ),
]
CloudKey = Annotated[
    str | None,
    typer.Option(
        "--cloud-public-key",
        metavar="KEY",
        help=(
            "The cloud's public key, or `built-in` for the firmware's. [default: asked of the"
            " cloud]"
        ),
        show_default=False,
    ),
]
Day = Annotated[
    int | None,
    typer.Option(
        "--day",
        metavar="N",
        help="Day index, GPS seconds / 86400. [default: today's]",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Write the key to this file (0600), in base64.",
        show_default=False,
    ),
]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show the key, on a terminal only.")]
SecurityState = Annotated[
    str | None,
    typer.Option(
        "--security-state",
        metavar="JSON",
        help="What the device said of its keys, passed on with --device.",
        show_default=False,
    ),
]


@app.command()
def public() -> None:
    """Show the cloud's public key, which is no secret."""
    from infuse_cli.cli.views import keys as views
    from infuse_cli.devices import keys

    finish(views.public(keys.cloud_public_key(current().settings)))


@app.command("id")
def id_(
    public_key: Annotated[
        str,
        typer.Argument(
            metavar="PUBLIC_KEY",
            help="The device's X25519 public key, 32 bytes in base64 or hex.",
            show_default=False,
        ),
    ],
    *,
    cloud_public_key: CloudKey = None,
) -> None:
    """The id of a device's key: 24 bits over the cloud's and the device's public keys."""
    from infuse_cli.cli.views import keys as views
    from infuse_cli.devices import key_derivation

    result = key_derivation.key_id(current().settings, public_key, cloud_public_key)
    finish(views.key_id(result))


@app.command("shared-secret")
def shared_secret(
    *,
    public_key: PublicKey = None,
    device: Device = None,
    security_state: SecurityState = None,
    out: Out = None,
    reveal: Reveal = False,
) -> None:
    """The root secret of a device, by its public key or by the device; shows a
    fingerprint unless --reveal or --out is given.
    """
    from infuse_cli.cli.views import keys as views
    from infuse_cli.devices import keys

    check_secret_output(out, reveal=reveal)
    result = keys.shared_secret(
        current().settings,
        device=device,
        public_key=public_key,
        security_state=json_object(security_state, "--security-state"),
        out=out,
    )
    finish(views.key("key shared-secret", "Shared secret", result, reveal=reveal))


@app.command()
def derive(
    *,
    device: Device = None,
    interface: Annotated[
        Purpose, typer.Option("--interface", help="What the key is for.")
    ] = Purpose.udp,
    local: Annotated[
        bool | None,
        typer.Option(
            "--local/--cloud",
            help="Derive it here, or let the cloud. [default: what is possible; both are compared]",
            show_default=False,
        ),
    ] = None,
    public_key: PublicKey = None,
    root_key: RootKey = None,
    private_key: PrivateKey = None,
    cloud_public_key: CloudKey = None,
    day: Day = None,
    out: Out = None,
    reveal: Reveal = False,
) -> None:
    """A device's key: derived by the cloud, or here from its root secret.

    Shows a fingerprint unless --reveal or --out is given.

    The root is the cloud's answer for --public-key or --device, or comes from a private file.
    """
    from infuse_cli.cli.views import keys as views
    from infuse_cli.devices import key_derivation

    check_secret_output(out, reveal=reveal)
    material = key_derivation.Material(
        device, public_key, root_key, private_key, cloud_public_key, local
    )
    result = key_derivation.derive(current().settings, material, interface.value, day, out)
    finish(views.key("key derive", f"Key of {interface.value}", result, reveal=reveal))


@app.command()
def network(
    *,
    key_file: Annotated[
        Path,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help="Private file (0600) with the network's key: 32 bytes, base64, hex or bare.",
            show_default=False,
        ),
    ],
    interface: Annotated[
        Interface, typer.Option("--interface", help="What the key is for.")
    ] = Interface.udp,
    day: Day = None,
    out: Out = None,
    reveal: Reveal = False,
) -> None:
    """A network's packet key for one day, derived here."""
    from infuse_cli.cli.views import keys as views
    from infuse_cli.devices import key_derivation

    check_secret_output(out, reveal=reveal)
    result = key_derivation.derive_network_key(key_file, interface.value, day, out)
    name = f"Network key of {interface.value}"
    finish(views.key("key network", name, result, reveal=reveal))


@app.command()
def verify(
    state: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="The device's security_state answer, 137 bytes: as they are, in hex or base64.",
            show_default=False,
        ),
    ],
    *,
    private_key: PrivateKey = None,
    root_key: RootKey = None,
    challenge: Annotated[
        str | None,
        typer.Option(
            "--challenge",
            metavar="HEX",
            help="The challenge that was sent, 32 hex digits.",
            show_default=False,
        ),
    ] = None,
    device_id: Annotated[
        str | None,
        typer.Option(
            "--device-id",
            metavar="ID",
            help="The device id that it has to prove.",
            show_default=False,
        ),
    ] = None,
    hardware_id: Annotated[
        str | None,
        typer.Option(
            "--hardware-id",
            metavar="HEX",
            help="The hardware id that it has to prove.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check a device's proof against a secondary root: that it holds its key, and which device it
    is.
    """
    from infuse_cli.cli.views import keys as views
    from infuse_cli.devices import key_derivation

    claim = key_derivation.Claim(challenge, device_id, hardware_id)
    finish(views.verified(key_derivation.verify(state, root_key, private_key, claim)))


@app.command()
def rotate(
    board: Annotated[
        str,
        typer.Argument(
            metavar="DEVICE",
            help="A board that PASSed here: UUID, serial number, IMEI, mcuId or device id.",
            show_default=False,
        ),
    ],
    *,
    port: Annotated[
        list[str] | None,
        typer.Option(
            "--port",
            metavar="PORT",
            help="The port that it is on. [default: where it was last]",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[
        str,
        typer.Option(
            "--reason", metavar="TEXT", help="Why: rotated, exposed, or in your own words."
        ),
    ] = "rotated",
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--passphrase-file",
            metavar="FILE",
            help="File (0600) that holds the CA passphrase.",
            show_default=False,
        ),
    ] = None,
    passphrase_fd: Annotated[
        int | None,
        typer.Option(
            "--passphrase-fd",
            metavar="N",
            help="File descriptor to read the CA passphrase from.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Give a board a new key, certificate and token; the old ones are revoked.

    Stopped anywhere, run it again.
    """
    from infuse_cli.cli.replacing import rotate as rotate_board
    from infuse_cli.provisioning.request import ProvisionRequest

    request = ProvisionRequest(
        ports=tuple(port or ()), passphrase_file=passphrase_file, passphrase_fd=passphrase_fd
    )
    finish(rotate_board(board, request, reason))
