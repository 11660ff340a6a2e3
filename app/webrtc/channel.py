"""Text messages over a data channel, with a bounded queue before it."""

import logging
from collections import deque
from collections.abc import Callable

from aiortc import RTCDataChannel
from aiortc.exceptions import InvalidStateError

from app.webrtc.sdp import MAX_MESSAGE_BYTES
from kame_core.errors import InvalidRequestError, KameError

logger = logging.getLogger(__name__)

LABEL = "oai-events"
MAX_QUEUED = 200
HIGH_WATER_BYTES = 256 * 1024
LOW_WATER_BYTES = 64 * 1024


class MessageChannel:
    """Sends and takes text over the client's channel.

    Messages wait in a queue of `MAX_QUEUED` before the channel is open and while the network is behind by
    `HIGH_WATER_BYTES`. Overflow policy: the oldest droppable message (a delta, which a later full text repeats) goes;
    where there is none, the new one if it is droppable, else the oldest. Drops are counted.

    Args:
        on_message: takes each text message. If it raises, that is counted and logged without the message.
        on_open: called once, when the channel is open and what waited was sent. If it raises, that is logged.
        on_error: is told of what the client sent that cannot be taken.
        label: the channel to use; None: the first one the client opens. All others are closed.
    """

    def __init__(
        self,
        on_message: Callable[[str], None],
        on_open: Callable[[], None],
        on_error: Callable[[KameError], None],
        label: str | None = LABEL,
    ) -> None:
        self._on_message = on_message
        self._on_open = on_open
        self._on_error = on_error
        self._label = label
        self._channel: RTCDataChannel | None = None
        self._queue: deque[tuple[str, bool]] = deque()
        self._was_open = False
        self._closed = False
        self.dropped_messages = 0
        self.failed_messages = 0

    @property
    def is_open(self) -> bool:
        """Whether messages can leave now."""
        return self._channel is not None and self._channel.readyState == "open"

    @property
    def queued_messages(self) -> int:
        """How many wait."""
        return len(self._queue)

    def accept(self, channel: RTCDataChannel) -> None:
        """A channel the client opened."""
        if self._closed or self._channel is not None or self._label not in (None, channel.label):
            channel.close()
            return
        self._channel = channel
        channel.bufferedAmountLowThreshold = LOW_WATER_BYTES
        channel.on("message", self._take)
        channel.on("open", self._opened)
        channel.on("bufferedamountlow", self._flush)
        if channel.readyState == "open":
            self._opened()

    def send(self, text: str, *, droppable: bool = False) -> None:
        """Send now or as soon as possible. After the end: nothing happens."""
        if self._closed:
            return
        if len(self._queue) >= MAX_QUEUED and not self._make_room(droppable):
            return
        self._queue.append((text, droppable))
        self._flush()

    def close(self) -> None:
        """Take and send nothing any more."""
        self._closed = True
        self._queue.clear()

    def _make_room(self, droppable: bool) -> bool:
        """Drop one message; False if the new one is to go."""
        self.dropped_messages += 1
        for index, (_, is_droppable) in enumerate(self._queue):
            if is_droppable:
                del self._queue[index]
                return True
        if droppable:
            return False
        self._queue.popleft()
        return True

    def _opened(self) -> None:
        if self._was_open:
            return
        self._was_open = True
        self._flush()
        try:
            self._on_open()
        except Exception:  # must not reach the transport, as below
            logger.exception("the opening of a channel could not be handled")

    def _flush(self) -> None:
        while self._queue and self._channel is not None and self.is_open:
            if self._channel.bufferedAmount >= HIGH_WATER_BYTES:
                return
            text, _ = self._queue.popleft()
            try:
                self._channel.send(text)
            except (ValueError, InvalidStateError):  # larger than the client takes, or closed this very moment
                self.dropped_messages += 1
                logger.warning("a message of %d characters could not be sent", len(text))

    def _take(self, message: str | bytes) -> None:
        """Must not raise: an exception here would end the whole transport."""
        if self._closed:
            return
        if isinstance(message, bytes):
            self._refuse("Messages must be text: send JSON as a string.", "binary_message")
        elif len(message) > MAX_MESSAGE_BYTES or len(message.encode()) > MAX_MESSAGE_BYTES:
            self._refuse(f"The message is larger than {MAX_MESSAGE_BYTES} bytes.", "message_too_large")
        else:
            try:
                self._on_message(message)
            except Exception as error:  # the type only: its text might quote the message
                self.failed_messages += 1
                logger.error("a message could not be handled: %s", type(error).__name__)

    def _refuse(self, text: str, code: str) -> None:
        try:
            self._on_error(InvalidRequestError(text, code=code))
        except Exception:
            logger.exception("an error could not be reported")
