"""Frames over a Unix socket: the worker's side blocks, the serving side belongs to an event loop."""

import asyncio
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from service.link import codec
from service.link.messages import Message

READ_SIZE = 1 << 20


class FrameReader:
    """Cuts a stream of bytes into frames. No I/O: bytes in, frames out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, Message, list[np.ndarray]]]:
        """Take some bytes of the stream.

        Returns:
            The frames that are complete by now: request number, message, arrays.
        """
        self._buffer += data
        frames, start = [], 0
        while len(self._buffer) - start >= codec.HEADER.size:
            head_size, request, data_size = codec.HEADER.unpack_from(self._buffer, start)
            body = start + codec.HEADER.size
            end = body + head_size + data_size
            if len(self._buffer) < end:
                break
            head = bytes(self._buffer[body : body + head_size])
            arrays = self._buffer[body + head_size : end]
            frames.append((request, *codec.decode(head, arrays)))
            start = end
        del self._buffer[:start]
        return frames


class WorkerChannel:
    """The worker's end: blocking, sending is safe from several threads."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._reader = FrameReader()
        self._lock = threading.Lock()

    def send(self, request: int, message: Message, arrays: Sequence[np.ndarray] = ()) -> None:
        """Send one message. Raises: OSError, once the serving process is gone."""
        with self._lock:
            for piece in codec.encode(request, message, arrays):
                self._socket.sendall(piece)

    def receive(self, wait: bool) -> list[tuple[int, Message, list[np.ndarray]]]:
        """The messages that have come; if `wait`, at least one byte is waited for.

        Raises:
            EOFError: the serving process is gone.
        """
        if not wait and not select.select([self._socket], [], [], 0)[0]:
            return []
        data = self._socket.recv(READ_SIZE)
        if not data:
            raise EOFError
        return self._reader.feed(data)


class ServerChannel:
    """The serving process's end, on its event loop.

    Args:
        connection: a connected stream socket, which this object owns from now on.
        on_message: called with each message that comes.
        on_close: called once, when the worker's end is closed.
    """

    def __init__(
        self,
        connection: socket.socket,
        on_message: Callable[[int, Message, list[np.ndarray]], None],
        on_close: Callable[[], None],
    ) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._on_message = on_message
        self._on_close = on_close
        self._outgoing: deque[memoryview] = deque()
        self._closed = False
        self._loop.add_reader(connection, self._readable)

    def send(self, request: int, message: Message, arrays: Sequence[np.ndarray] = ()) -> None:
        """Send one message, now if the socket takes it, else as soon as it does."""
        if self._closed:
            return
        idle = not self._outgoing
        self._outgoing.extend(memoryview(piece) for piece in codec.encode(request, message, arrays))
        if idle:
            self._writable()

    def close(self) -> None:
        """Let go of the socket; `on_close` is not called."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()

    def _readable(self) -> None:
        try:
            data = self._socket.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            self._on_close()
            return
        for request, message, arrays in self._reader.feed(data):
            self._on_message(request, message, arrays)

    def _writable(self) -> None:
        try:
            while self._outgoing:
                piece = self._outgoing[0]
                sent = self._socket.send(piece)
                if sent < len(piece):
                    self._outgoing[0] = piece[sent:]
                else:
                    self._outgoing.popleft()
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._socket, self._writable)
            return
        except OSError:
            self._outgoing.clear()
        self._loop.remove_writer(self._socket)
