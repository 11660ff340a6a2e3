"""A real TURN server: Debian's coturn, on this machine's own address, for as long as a test lasts."""

import asyncio
import contextlib
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAM = shutil.which("turnserver")
SECRET = "a secret of the tests"
START_DEADLINE_S = 15.0


def own_address() -> str:
    """An IPv4 address of this machine that is not loopback, which coturn does not relay to; empty: there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # sends nothing
        address = str(probe.getsockname()[0])
        return "" if address.startswith("127.") else address
    return ""


WHY_NOT = (
    "coturn is not installed (tests/setup-turn.sh)"
    if PROGRAM is None
    else "this machine has no address but loopback"
    if not own_address()
    else ""
)
"""Why these tests cannot run here; empty: they can."""


@dataclass(frozen=True, slots=True)
class Coturn:
    """A TURN server that takes credentials made with `SECRET`."""

    address: str
    port: int
    log: Path

    @property
    def udp(self) -> str:
        return f"turn:{self.address}:{self.port}?transport=udp"

    @property
    def tcp(self) -> str:
        return f"turn:{self.address}:{self.port}?transport=tcp"

    @property
    def stun(self) -> str:
        return f"stun:{self.address}:{self.port}"


@asynccontextmanager
async def coturn() -> AsyncIterator[Coturn]:
    """A running server; its process is gone afterwards."""
    assert PROGRAM is not None
    address = own_address()
    with socket.socket() as taken:
        taken.bind((address, 0))
        port = taken.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="coturn-") as folder:
        log = Path(folder) / "turn.log"
        options = (
            "-n --no-cli --no-tls --no-dtls --fingerprint --lt-cred-mech --use-auth-secret --realm test "
            f"--listening-ip {address} --relay-ip {address} --listening-port {port} "
            f"--min-port 40000 --max-port 49999 --log-file {log} --simple-log --pidfile {folder}/pid "
            f"--userdb {folder}/db --no-multicast-peers --external-ip={address}/{address} "
            f"--denied-peer-ip=0.0.0.0-255.255.255.255 --allowed-peer-ip={address}"  # as in compose.yaml
        )
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *options.split(),
            f"--static-auth-secret={SECRET}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(START_DEADLINE_S):
                while True:
                    with contextlib.suppress(OSError):
                        _, writer = await asyncio.open_connection(address, port)
                        writer.close()
                        await writer.wait_closed()
                        break
                    assert process.returncode is None, "coturn ended at once"
                    await asyncio.sleep(0.05)
            yield Coturn(address, port, log)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
