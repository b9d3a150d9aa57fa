"""Sign a CSR under a cloud device id: `python sign_csr.py PROFILE HOME CSR DEVICE_ID`.

The CA and its passphrase are those of the profile. The certificate is printed as PEM. The same key
under the same id gets the certificate that it has.
"""

import os
import sys
from pathlib import Path

from infuse_cli import CertificateAuthority, Settings, errors


def main(profile: str, home: str, csr: str, device_id: str) -> int:
    settings = Settings(Path(home).absolute(), profile=profile, env=os.environ)
    try:
        ca = CertificateAuthority.open(settings)
        issued = ca.sign(Path(csr).read_bytes(), device_id=device_id)
    except errors.InfuseError as error:
        print(f"{error.code}: {error.message} {error.hint}", file=sys.stderr)
        return int(error.exit)
    print(issued.pem, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
