"""The espeak-ng C library through ctypes (speak_lib.h of espeak-ng 1.51 and 1.52), shared safely within a process.

espeak-ng keeps one global state per process and is not thread-safe: there is one `EspeakLibrary` per process, counted
by its users, and one lock around every call. The GIL is released while it synthesises.
"""

import contextlib
import ctypes
import ctypes.util
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from kame_core.errors import TextToSpeechError, UnavailableError

log = logging.getLogger(__name__)

_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POS_CHARACTER = 1
_EVENT_END_OF_LIST = 0
_EVENT_WORD = 1
_PARAMETER_RATE = 1
_PARAMETER_VOLUME = 2
_BUFFER_MS = 60
_LONGEST_DATA_PATH = 149
"""A longer data path makes espeak_Initialize fail (fixed 160-byte buffers in the library)."""

_MISSING = "espeak-ng is not installed. Run `pip install espeakng-loader`, or install your system's libespeak-ng."


class _EventId(ctypes.Union):
    _fields_: ClassVar[Any] = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class _Event(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


class _Voice(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True, slots=True)
class WordEvent:
    """espeak-ng began a word."""

    position_chars: int
    """Index of the character in the text, from 0."""
    position_samples: int


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What espeak-ng made of one text."""

    pcm: npt.NDArray[np.int16]
    """[n] mono at the library's rate."""
    words: tuple[WordEvent, ...]


def find_library() -> tuple[str, str | None]:
    """Path or name of the shared library, and the folder of its data (None: the one compiled in).

    Raises:
        UnavailableError: there is none on this machine.
    """
    with contextlib.suppress(ImportError):
        import espeakng_loader

        library, data = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
        if Path(library).is_file() and Path(data).is_dir():
            return str(library), str(data)
    name = ctypes.util.find_library("espeak-ng")
    if name is None:
        raise UnavailableError(_MISSING)
    return name, None


class EspeakLibrary:
    """The loaded library. Take it with `acquire`, give it back with `release`."""

    _shared: ClassVar["EspeakLibrary | None"] = None
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, library: str, data: str | None) -> None:
        self._users = 0
        self._link_dir: tempfile.TemporaryDirectory[str] | None = None
        self._voice = ""
        self._sink: Callable[[bytes, list[WordEvent]], bool] = lambda _pcm, _words: False
        self._callback = _Callback(self._on_sound)  # the library keeps a pointer to it, so must we
        try:
            self._c = ctypes.CDLL(library)
        except OSError as error:
            raise UnavailableError(f"{_MISSING} (It is there but could not be loaded: {error}.)") from error
        self._declare()
        self.rate_hz = self._initialise(data)
        self.voices, self.variants = self._list_voices(data)
        if not self.voices:
            self._c.espeak_Terminate()
            raise UnavailableError("espeak-ng has no voices: its data files are missing or damaged; install it again.")

    @classmethod
    def acquire(cls, library: str | None = None, data: str | None = None) -> "EspeakLibrary":
        """The process's library, loaded by its first user (about 70 ms; not for the event loop).

        Raises:
            UnavailableError: it is not here or does not start.
        """
        with cls._lock:
            if cls._shared is None:
                cls._shared = cls(*((library, data) if library else find_library()))
            cls._shared._users += 1
            return cls._shared

    def release(self) -> None:
        """One user less; the last one frees the library's memory and temporary files."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._c.espeak_Terminate()
                if self._link_dir is not None:
                    self._link_dir.cleanup()
                type(self)._shared = None

    def synthesise(
        self, text: str, *, voice: str, rate_wpm: int, volume: int, cancelled: Callable[[], bool]
    ) -> Synthesis:
        """Speak a whole text. Blocks for about a thousandth of the speech's length.

        Args:
            text: what to say; no mark-up.
            voice: identifier as listed in `voices`, with "+variant" where wished.
            rate_wpm: words a minute.
            volume: 0 to 100 and above; 100 is full scale for most voices.
            cancelled: asked about every 60 ms of speech; True ends the synthesis early.

        Raises:
            TextToSpeechError: espeak-ng refused the voice or the text.
        """
        pieces: list[bytes] = []
        words: list[WordEvent] = []

        def sink(pcm: bytes, new_words: list[WordEvent]) -> bool:
            pieces.append(pcm)
            words.extend(new_words)
            return cancelled()

        data = text.replace("\0", " ").encode() + b"\0"
        with self._lock:
            if voice != self._voice:
                if self._c.espeak_SetVoiceByName(voice.encode()) != 0:
                    raise TextToSpeechError(f"espeak-ng has no voice {voice!r}.", code="unknown_voice", retryable=False)
                self._voice = voice
            self._c.espeak_SetParameter(_PARAMETER_RATE, rate_wpm, 0)
            self._c.espeak_SetParameter(_PARAMETER_VOLUME, volume, 0)
            self._sink = sink
            status = self._c.espeak_Synth(data, len(data), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
        if status != 0:
            raise TextToSpeechError(f"espeak-ng could not speak a text (status {status}); try again.")
        return Synthesis(np.frombuffer(b"".join(pieces), np.int16), tuple(words))

    def _declare(self) -> None:
        c = self._c
        c.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        c.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.POINTER(ctypes.c_uint),
            ctypes.c_void_p,
        ]
        c.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        c.espeak_SetParameter.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int]
        c.espeak_ListVoices.argtypes = [ctypes.c_void_p]
        c.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        c.espeak_Info.argtypes = [ctypes.POINTER(ctypes.c_char_p)]
        c.espeak_Info.restype = ctypes.c_char_p

    def _initialise(self, data: str | None) -> int:
        path = data
        if data is not None and not Path(data, "phontab").is_file():
            raise UnavailableError(f"{_MISSING} (The library is there, its data folder {data} is not.)")
        if data is not None and len(os.fsencode(data)) > _LONGEST_DATA_PATH:
            self._link_dir = tempfile.TemporaryDirectory(prefix="kame-")
            path = os.path.join(self._link_dir.name, "data")
            os.symlink(os.path.abspath(data), path)
        # without DONT_EXIT a missing data folder would end the whole process
        rate_hz = self._c.espeak_Initialize(
            _OUTPUT_SYNCHRONOUS, _BUFFER_MS, os.fsencode(path) if path else None, _INITIALIZE_DONT_EXIT
        )
        if rate_hz <= 0:
            if self._link_dir is not None:
                self._link_dir.cleanup()
            raise UnavailableError(
                f"espeak-ng did not start (status {rate_hz}): its data files are missing or damaged."
            )
        self._c.espeak_SetSynthCallback(self._callback)
        return int(rate_hz)

    def _list_voices(self, data: str | None) -> tuple[dict[str, str], dict[str, str]]:
        """Voices by every lower-case name they go by, and variants by lower-case name."""
        voices: dict[str, str] = {}
        listed = self._c.espeak_ListVoices(None)
        position = 0
        while listed and listed[position]:
            voice = listed[position].contents
            position += 1
            identifier = voice.identifier.decode()
            # `languages` holds a priority byte before the first code
            code = ctypes.string_at(voice.languages + 1).decode() if voice.languages else ""
            for name in (identifier.rpartition("/")[2], code, voice.name.decode(), identifier):
                if name:
                    voices.setdefault(name.lower(), identifier)
        if data is None:
            path = ctypes.c_char_p()
            self._c.espeak_Info(ctypes.byref(path))
            data = path.value.decode() if path.value else ""
        folder = Path(data, "voices", "!v")
        variants = {entry.name.lower(): entry.name for entry in folder.iterdir()} if folder.is_dir() else {}
        return voices, variants

    def _on_sound(self, wav: Any, samples: int, events: Any) -> int:
        """Called by the library on the synthesising thread; a non-zero answer ends the synthesis."""
        try:
            words: list[WordEvent] = []
            index = 0
            while events[index].type != _EVENT_END_OF_LIST:
                event = events[index]
                index += 1
                if event.type == _EVENT_WORD:
                    words.append(WordEvent(event.text_position - 1, event.sample))  # positions count from 1
            pcm = ctypes.string_at(wav, samples * 2) if wav and samples else b""
            return 1 if self._sink(pcm, words) else 0
        except Exception:  # nothing may be raised through C
            log.exception("espeak-ng callback failed")
            return 1
