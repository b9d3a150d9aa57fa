"""The published Infuse-IoT client on the virtual cloud: `interop_cloud.py PEER-PYTHON`, a Python
that has the package `infuse-iot`. Exit 1 if any check failed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from infuse_cli.sim.cloud_app import CloudOptions
from infuse_cli.sim.cloud_server import ServerThread

TOKEN = "published"


def main() -> int:
    """Start a cloud, let the client at it, and pass on what it says."""
    server = ServerThread(CloudOptions(token=TOKEN, organisations=("Example Provider",)))
    script = Path(__file__).with_name("published_client.py")
    command = [sys.argv[1], str(script), server.start().base_url, TOKEN]
    try:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as client:
            if client.stdin is None or client.stdout is None:
                raise RuntimeError("the client was started without pipes")
            for line in client.stdout:
                name, _, device_id = line.strip().partition(" ")
                if name != "heard":
                    print(line, end="")
                    continue
                with server.world.clock.lock:
                    server.world.cloud.heard(device_id)
                client.stdin.write("\n")
                client.stdin.flush()
    finally:
        server.stop()
    return client.returncode


if __name__ == "__main__":
    sys.exit(main())
