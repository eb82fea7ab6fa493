"""``RecordingWebsocketCommunicator``: what a test calls.

Mirrors ``channels/testing/websocket.py``.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from channels.testing import WebsocketCommunicator

from .application import SHUTDOWN_TIMEOUT, RecordingApplicationCommunicator
from .explain import (
    explain,
    explain_with_transcript,
    explained,
    replay_of,
    transcript_of,
    warn_of_first_frame,
)
from .recording import (
    DenialResponse,
    close_code,
    close_reason,
    event_type,
    has_more_body,
    payload,
)
from .servers.replay import ClientView, Undeliverable
from .servers.rules import disconnect_event, known_servers
from .text.failures import format_denied, format_no_answer, format_no_match
from .text.transcript import Transcript, format_progress
from .text.values import format_path

_Method = TypeVar("_Method", bound=Callable[..., Any])
_Result = TypeVar("_Result")


class _Recorded(functools.cached_property[_Result]):
    """A property that an attribute of the instance overrides; nothing is cached.

    Suites assign attributes of any name.
    """

    if not TYPE_CHECKING:  # pragma: no branch

        def __get__(self, instance, owner=None):
            return self if instance is None else self.func(instance)


def _constructor(like: _Method) -> Callable[[Callable[..., None]], _Method]:
    """Let a constructor that passes all arguments on have another one's signature."""
    return functools.wraps(like)  # type: ignore[return-value]


class RecordingWebsocketCommunicator(
    RecordingApplicationCommunicator, WebsocketCommunicator
):
    """``channels.testing.WebsocketCommunicator``, which records what passes.

    A drop-in replacement: a test that passes with the parent passes with this class.

    Every exception that leaves a call carries the transcript as a note. A call that is
    cancelled loses no event: the next call receives it.
    """

    scope: dict[str, Any]  # type: ignore[assignment]  # the stubs allow no other keys
    """The ASGI scope that the application is called with, when it starts.

    Set here what middleware or a router would add: ``scope["user"] = user``.
    """
    #: Whether a data frame before accept issues a warning. The audit sets it.
    _warns_of_frames = True

    @_constructor(WebsocketCommunicator.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Whatever was passed, to the class of a library if a subclass inherits from
        # one, too. Skip RecordingApplicationCommunicator, whose constructor is for
        # subclasses that skip this one.
        super(RecordingApplicationCommunicator, self).__init__(*args, **kwargs)

    # What is recorded.

    @_Recorded
    def pre_close_messages(self) -> list[Any]:
        """The payloads of frames that ``connect()`` and ``wait_closed()`` read past.

        In order. JSON text is decoded; other text is ``str``, binary is ``bytes``.
        Empty before ``connect()``.
        """
        return self._application.conversation.pre_close_messages

    @_Recorded
    def close_code(self) -> int | None:
        """The code with which the application has closed, or None.

        Set as soon as the application sends ``websocket.close``, whether or not the
        test has received it. 1000 if the event has no code (ASGI, "Close - send
        event").
        """
        close = self._application.conversation.recording.close
        return None if close is None else close_code(close)

    @_Recorded
    def close_reason(self) -> str | None:
        """The reason with which the application has closed, or None.

        Set together with ``close_code``. ``""`` if the event has no reason.
        """
        close = self._application.conversation.recording.close
        return None if close is None else close_reason(close)

    @_Recorded
    def denial_response(self) -> DenialResponse | None:
        """The HTTP response that the application has sent to reject the handshake.

        None unless it has used the ASGI extension ``websocket.http.response``. The body
        is as much of it as has been sent.
        """
        return self._application.conversation.recording.denial_response

    @_Recorded
    def transcript(self) -> Transcript:
        """Everything that has passed in both directions; ``str()`` of it is readable.

        A snapshot. Raises ``ValueError`` if ``servers`` has a name that is not known.
        """
        return transcript_of(self, known_servers(self.servers))

    @_Recorded
    def client_view(self) -> ClientView:
        """What a client of the first of ``servers`` has seen so far.

        A snapshot. Raises ``ValueError`` if ``servers`` has a name that is not known.
        """
        return replay_of(self).client_view()

    @_Recorded
    def undeliverable(self) -> list[Undeliverable]:
        """Every event that a client of one of ``servers`` does not receive as sent.

        A snapshot. Raises ``ValueError`` if ``servers`` has a name that is not known.
        """
        return replay_of(self).undeliverable()

    @_Recorded
    def running_tasks(self) -> list[asyncio.Task[Any]]:
        """The tasks that the application has started and that are still running.

        In the order in which they were started; of many, the last 100.
        """
        return self._application.started.running()

    def __repr__(self) -> str:
        application = self._application
        conversation, ending = application.conversation, application.ending
        status = "not started" if application.task is None else "running"
        if ending is not None:
            status = "cancelled" if ending.outcome.startswith("cancelled") else "ended"
        progress = ", ".join([*format_progress(conversation.recording), status])
        return (
            f"<{type(self).__name__} {format_path(vars(self).get('scope'))}:"
            f" {progress}, pre_close_messages: {len(conversation.pre_close_messages)}>"
        )

    # What it does.

    @explained
    async def connect(self, timeout: float | None = 1) -> tuple[bool, int | str | None]:
        """Send ``websocket.connect`` and receive the response to the handshake.

        Return ``(True, subprotocol)`` if the application accepts, ``(False, close
        code)`` if it closes, ``(False, HTTP status)`` if it sends a denial response.
        Data frames sent before that are in ``pre_close_messages``; because they reach
        no client, there is an ``UndeliverableWarning`` (ASGI, "Accept - send event").

        ``timeout`` is in seconds, for the whole call; with None, it waits forever.
        Raises

        - what the application raises, at once;
        - ``TimeoutError`` when the timeout expires, after it has cancelled the
          application as the parent does, or at once if nothing more can come;
        - ``AssertionError`` if an event is not a response to the handshake.

        If it is cancelled, the application goes on running and no frame is lost.
        """
        conversation = self._application.conversation
        conversation.begin_to_keep(self._application.output_queue.taken_count)
        remaining = self.__remaining(timeout)
        await self.send_input({"type": "websocket.connect"})
        event = await self.__read_past_frames(remaining)
        response = self.__response(event)
        if event_type(event) == "websocket.http.response.start":
            await self.__receive_denial_body(remaining)
        has_frames = len(conversation.pre_close_messages) > conversation.kept_before
        if has_frames and self._warns_of_frames and not self.strict:
            warn_of_first_frame(self)
        return response

    def __response(self, event: Any) -> tuple[bool, int | str | None]:
        try:
            kind = event["type"]
        except (KeyError, TypeError) as error:
            error.args = (format_no_answer(event),)
            raise
        if kind == "websocket.accept":
            self.response_headers = event.get("headers", [])
            return True, event.get("subprotocol", None)
        if kind == "websocket.close":
            return False, event.get("code", 1000)
        if kind == "websocket.http.response.start":
            return False, event.get("status")
        raise AssertionError(format_no_answer(event))

    async def __receive_denial_body(self, remaining: Iterator[float | None]) -> None:
        more_body = True
        while more_body:
            try:
                event = await self.__read_past_frames(remaining)
            except TimeoutError:
                if self._application.ending and not self._application.is_cancelled:
                    return  # without the rest of the body
                raise
            is_body = event_type(event) == "websocket.http.response.body"
            more_body = is_body and has_more_body(event)

    async def __read_past_frames(self, remaining: Iterator[float | None]) -> Any:
        """Keep data frames, and return the first other event."""
        while True:
            event = await self.receive_output(next(remaining))
            if event_type(event) != "websocket.send":
                return event
            self._application.conversation.keep(event)

    def __remaining(self, timeout: float | None) -> Iterator[float | None]:
        """Yield a timeout, and then each time what is left of it, in seconds.

        ``receive_output()`` multiplies that by the ``timeout_factor``.
        """
        # The clock of the event loop, because that of the test may be frozen.
        clock, factor = asyncio.get_running_loop().time, self.timeout_factor
        start, left = clock(), timeout
        while True:
            yield left
            if timeout is not None and factor:
                left = max(0.0, timeout - (clock() - start) / factor)

    @explained
    async def wait_closed(self, timeout: float | None = 1) -> int:
        """Receive events until the application closes, and return the close code.

        Data frames before the close go to ``pre_close_messages``. Returns at once if
        the close has been sent and nothing is left to receive.

        ``timeout`` is in seconds, for the whole call; with None, it waits forever.
        Raises

        - what the application raises, at once;
        - ``TimeoutError`` when the timeout expires, after it has cancelled the
          application as ``receive_output()`` does, or at once if nothing more can come;
        - ``AssertionError``, at once, if the application has sent a denial response.

        If it is cancelled, the application goes on running and no frame is lost.
        """
        conversation = self._application.conversation
        recording, queue = conversation.recording, self._application.output_queue
        conversation.begin_to_keep(queue.taken_count)
        remaining = self.__remaining(timeout)
        while True:
            if queue.empty():
                if recording.close is not None:
                    return close_code(recording.close)
                if recording.denial_response is not None:
                    raise AssertionError(format_denied(recording.denial_response))
            event = await self.receive_output(next(remaining))
            if event_type(event) == "websocket.send":
                conversation.keep(event)
            elif event_type(event) == "websocket.close":
                # The first close counts. There is none if a subclass made it up.
                return close_code(recording.close or event)

    @explained
    async def receive_until(
        self, match: Callable[[Any], object], timeout: float | None = 1
    ) -> list[Any]:
        """Receive data frames until one matches, and return their payloads.

        ``match`` is called once with each payload: JSON text decoded, other text as
        ``str``, binary as ``bytes``. The list ends with the first for which it returns
        a true value. It receives from the queue, without ``receive_output()``.

        ``timeout`` is in seconds, for the whole call; with None, it waits forever.
        Raises

        - what the application raises, at once, and what ``match`` raises;
        - ``TimeoutError`` when the timeout expires, which does not cancel the
          application, or at once if nothing more can come;
        - ``AssertionError``, at once, if an event comes first that is not a data frame,
          such as ``websocket.close``.

        If it raises or is cancelled, every event is still there to be received.
        """
        self.future  # started here
        application, queue = self._application, self._application.output_queue
        remaining = self.__remaining(timeout)
        # By their position among all events, because the calls of other tasks may
        # receive some of them meanwhile.
        payloads: dict[int, Any] = {}
        seen = queue.taken_count
        application.raise_if_ended()
        while True:
            first = queue.taken_count
            for position in range(max(first, seen), queue.put_count):
                event = queue.peek(position - first)
                if event_type(event) != "websocket.send":
                    raise AssertionError(format_no_match(event, position - first))
                payloads[position] = frame = payload(event)
                if match(frame):
                    for _ in range(first, position + 1):
                        queue.get_nowait()
                    return [payloads[it] for it in range(first, position + 1)]
            seen = queue.put_count
            in_time = await application.wait_for_output(
                lambda: queue.put_count > seen, self._scaled(next(remaining))
            )
            if not in_time or queue.put_count == seen:
                application.raise_if_ended()
                raise TimeoutError

    receive_output = explained(RecordingApplicationCommunicator.receive_output)
    receive_nothing = explained(RecordingApplicationCommunicator.receive_nothing)
    send_input = explained(RecordingApplicationCommunicator.send_input)
    wait = explained(RecordingApplicationCommunicator.wait)

    @explained
    async def receive_from(self, timeout: float = 1) -> str | bytes:
        """Return the payload of the next event, which must be a data frame.

        Raises ``AssertionError`` if it is any other event, or has not exactly one
        payload (ASGI, "Send - send event"), and whatever ``receive_output()`` raises.
        ``timeout`` is in seconds. If it is cancelled, no event is lost.
        """
        return await super().receive_from(timeout)

    @explained
    async def receive_json_from(self, timeout: float = 1) -> Any:
        """Return the JSON in the text of the next event, decoded.

        Raises ``ValueError`` if it is not JSON, ``AssertionError`` if it is binary, and
        whatever ``receive_from()`` raises. ``timeout`` is in seconds. If it is
        cancelled, no event is lost.
        """
        return await super().receive_json_from(timeout)

    @explained
    async def send_to(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        """Send a data frame to the application: ``websocket.receive``.

        Raises ``AssertionError`` unless there is exactly one payload, of the right type
        and not empty; and whatever ``send_input()`` raises. Never waits.
        """
        await super().send_to(text_data, bytes_data)

    @explained
    async def send_json_to(self, data: Any) -> None:
        """Send ``data`` as JSON in a text frame, like ``send_to()``.

        Raises ``TypeError`` if JSON cannot encode it.
        """
        await super().send_json_to(data)

    @explained
    async def disconnect(self, code: int = 1000, timeout: float | None = 1) -> None:
        """Send ``websocket.disconnect``, and ``wait()`` for the application to end.

        ``code`` is that of the close frame of a client (RFC 6455 section 7.4).
        ``timeout`` is in seconds; when it expires, or if this call is cancelled, it
        cancels the application and returns. Raises what ``send_input()`` and ``wait()``
        raise.
        """
        await super().disconnect(code, timeout)  # type: ignore[arg-type]

    def stop(self, exceptions: bool = True) -> None:
        """Cancel the application; if it has ended, raise what it has raised.

        With ``exceptions`` false it raises nothing. Does not wait, and is no coroutine.
        """
        if exceptions and self._application.is_forced:
            return  # what the task holds is the RuntimeError of a closed coroutine
        try:
            super().stop(exceptions)
        except BaseException as exception:
            if exceptions:  # which __del__() does not want, perhaps as Python exits
                explain(exception, self, (type(self).stop, (), {}, 1))
            raise

    async def __aenter__(self) -> Self:
        """Return the communicator, not connected: a test may expect a rejection."""
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the connection if the application is running, and leave no task behind.

        Does what a server does when the connection is over, whoever has closed it or
        rejected the handshake: sends ``websocket.disconnect`` with the code that the
        first of ``servers`` sends (ASGI, "Disconnect - receive event"), unless the test
        has sent one. The application then has a second to end; after that it is
        cancelled. Raises what it has raised and no call has raised yet, unless the
        block itself raises: nothing ever takes the place of that exception.
        """
        if exception is not None:
            # Now, because what passes from here on is not what the exception is about.
            explain_with_transcript(exception, self, failed=False)
        try:
            await self.__leave()
            await self.__raise_crash()
        except (Exception, asyncio.CancelledError) as error:
            if exception is None:
                explain(error, self, (type(self).__aexit__, (), {}, 1))
                raise

    async def __leave(self) -> None:
        application = self._application
        if application.task is None:
            return
        try:
            if application.ending is None:
                application.output_queue.own_loop()
                replay = replay_of(self)
                connection = replay.connection
                if connection.phase != "client_left":
                    await self.send_input(
                        disconnect_event(replay.servers[0], connection)
                    )
                await application.wait_until_ended(self._scaled(SHUTDOWN_TIMEOUT))
        finally:
            application.is_left = True
            application.output_queue.wake()
            await application.stop()
        application.assert_stopped()

    @explained
    async def __raise_crash(self) -> None:
        application = self._application
        has_surfaced = application.conversation.crash_has_surfaced
        if application.crash is not None and not has_surfaced:
            application.raise_if_ended()
