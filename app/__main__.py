"""`python -m app [serve | doctor]`."""

import asyncio
import errno
import gc
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from app.observability import configure_logging
from app.settings import Settings, shown_host
from app.settings_sources import SettingsError, load_settings, parser, unknown_names
from kame_core.errors import KameError

if TYPE_CHECKING:
    from app.engines import EngineRoom, Part

EXIT_OK = 0
EXIT_CANNOT_SERVE = 1
EXIT_BAD_SETTINGS = 2
SHUTDOWN_DEADLINE_S = 4.5
THREADS_DEADLINE_S = 0.5
BACKLOG = 128


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the process's exit code."""
    flags = vars(parser().parse_args(arguments))
    command = flags.pop("command")
    weights = flags.pop("weights", None)
    if weights is not None and command != "doctor":
        print("--weights goes with doctor; to serve with a checkpoint use --moshi-weights.", file=sys.stderr)
        return EXIT_BAD_SETTINGS
    try:
        settings = load_settings(flags)
    except SettingsError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return EXIT_BAD_SETTINGS
    for line in unknown_names():
        print(f"Note: {line}", file=sys.stderr)
    configure_logging(settings.log_level, as_json=settings.log_json)
    try:
        if command == "doctor":
            from app.doctor import diagnose, diagnose_weights

            if weights is not None:
                return diagnose_weights(weights)
            return asyncio.run(diagnose(settings))
        return serve(settings)
    except KameError as error:
        print(error.user_message, file=sys.stderr)
        return EXIT_CANNOT_SERVE
    except KeyboardInterrupt:  # before the server's own handler was there
        return EXIT_OK


def serve(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM."""
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        print(why_not_listening(settings, error), file=sys.stderr)
        return EXIT_CANNOT_SERVE
    with listener:
        asyncio.run(_serve(settings, listener))
    return EXIT_OK


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: the address is not this machine's, or taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)


def why_not_listening(settings: Settings, error: OSError) -> str:
    """One line: what is wrong and what to do."""
    where = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return f"Port {settings.port} is in use by another program. End it, or choose another port with --port."
    if error.errno == errno.EACCES:
        return f"This user may not listen on {where}. Choose a port from 1024 up with --port."
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{settings.host} is no address of this machine. Use --host 127.0.0.1, or 0.0.0.0 for all addresses."
    return f"Listening on {where} failed: {error.strerror or error}. Choose other --host and --port."


async def _serve(settings: Settings, listener: socket.socket) -> None:
    from aiohttp import web

    from app.application import CALLS, ROOM, create_app

    stop, leave = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    loop.add_signal_handler(signal.SIGTERM, lambda: stop.set() if leave.is_set() else leave.set())

    app = create_app(settings)
    room = app[ROOM]

    say = _speaker(settings)
    stop_showing = room.listen(_Progress(say).show)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0, keepalive_timeout=75.0)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    host, port = listener.getsockname()[:2]
    say(f"KAME voice: {settings.public_url or f'http://{shown_host(host)}:{port}'}")
    telling = asyncio.create_task(_tell_when_ready(room, say))
    try:
        await _either(stop, leave)
        if not stop.is_set() and app[CALLS].count:
            say(f"Taking no more calls; waiting {settings.drain_s:.0f} s at most for those there are.")
            await _either(stop, app[CALLS].drain(settings.drain_s))
    finally:
        stop_showing()
        say("Closing.")
        for number in (signal.SIGINT, signal.SIGTERM):  # a second one ends the process at once
            loop.remove_signal_handler(number)
        telling.cancel()
        try:
            async with asyncio.timeout(SHUTDOWN_DEADLINE_S):
                await runner.cleanup()
        except TimeoutError:
            logging.getLogger("app").warning("not everything closed within %.0f s", SHUTDOWN_DEADLINE_S)


async def _either(stop: asyncio.Event, other: asyncio.Event | Coroutine[None, None, None]) -> None:
    """Wait for one of two things."""
    work: Coroutine[None, None, object] = other.wait() if isinstance(other, asyncio.Event) else other
    waiting: list[asyncio.Task[object]] = [asyncio.create_task(stop.wait()), asyncio.create_task(work)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def _speaker(settings: Settings) -> Callable[[str], None]:
    """What tells people how the server is: plain lines, or log lines where programs read them."""
    if settings.log_json:
        return lambda line: logging.getLogger("app").info("%s", line.strip())
    return lambda line: print(line, flush=True)


class _Progress:
    """Tells what changes while engines load; of a progress, only every tenth."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last: dict[str, str] = {}

    def show(self, part: "Part") -> None:
        """Tell of the part unless that was told last."""
        rounded = None if part.progress is None else math.floor(part.progress * 10) / 10
        line = replace(part, progress=rounded).as_line()
        if self._last.get(part.name) != line:
            self._last[part.name] = line
            self._say(line)


async def _tell_when_ready(room: "EngineRoom", say: Callable[[str], None]) -> None:
    await room.settled()
    await asyncio.sleep(0)  # the parts' own lines first
    # What is loaded stays: looked through by each full collection, it stopped the sound of calls for 0.1 s (measured).
    gc.collect()
    gc.freeze()
    if room.engines is not None:
        say("Ready: open the page and talk. Ctrl-C ends.")
    else:
        say("Not everything loaded; `python -m app doctor` says what to do.")


def _leave(code: int) -> None:
    """Exit even where a worker thread still downloads or computes: nothing of it is needed any more."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    workers = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    deadline_s = time.monotonic() + THREADS_DEADLINE_S
    for worker in workers:
        worker.join(max(0.0, deadline_s - time.monotonic()))
    if any(worker.is_alive() for worker in workers):
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _leave(main())
