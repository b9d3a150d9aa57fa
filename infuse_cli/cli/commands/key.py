"""`infuse key`: key material of devices."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Keys of devices: public, shared-secret, derive.", no_args_is_help=True)


class Interface(StrEnum):
    """What a packet key is for."""

    udp = "udp"
    serial = "serial"
    bt_adv = "bt_adv"
    bt_gatt = "bt_gatt"


Device = Annotated[str | None, typer.Option("--device", metavar="DEVICE", help="A device that the cloud knows: device id, id, mcuId or IMEI.", show_default=False)]
PublicKey = Annotated[str | None, typer.Option("--public-key", metavar="BASE64", help="The device's X25519 public key, 32 bytes in base64.", show_default=False)]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the key to this file (0600), in base64.", show_default=False)]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show the key, on a terminal only.")]


@app.command()
def public() -> None:
    """Show the cloud's public key, which is no secret."""
    from infuse_cli.cli import key_tools
    from infuse_cli.cli.result import finish

    finish(key_tools.public())


@app.command("shared-secret")
def shared_secret(*, public_key: PublicKey = None, device: Device = None, out: Out = None, reveal: Reveal = False) -> None:
    """The root secret of a device, by its public key or by the device; shows a fingerprint unless told otherwise."""
    from infuse_cli.cli import key_tools
    from infuse_cli.cli.result import finish

    finish(key_tools.shared(key_tools.Which(device, public_key, out, reveal)))


@app.command()
def derive(
    *,
    device: Device = None,
    interface: Annotated[Interface, typer.Option("--interface", help="What the key is for.")] = Interface.udp,
    public_key: PublicKey = None,
    out: Out = None,
    reveal: Reveal = False,
) -> None:
    """Today's packet key: derived by the cloud, or here where --public-key is given; with both the two are compared."""
    from infuse_cli.cli import key_tools
    from infuse_cli.cli.result import finish

    finish(key_tools.derived(key_tools.Which(device, public_key, out, reveal), interface.value))
