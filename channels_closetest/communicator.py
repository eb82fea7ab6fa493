"""``RecordingWebsocketCommunicator``: what a test calls.

Mirrors ``channels/testing/websocket.py``.
"""

from __future__ import annotations

import asyncio
import functools
from asyncio import wait as wait_for_tasks  # at import, before a test patches it
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from channels.testing import WebsocketCommunicator

from .application import SHUTDOWN_TIMEOUT, RecordingApplicationCommunicator, Shutdown
from .explain import (
    explain,
    explain_with_transcript,
    explained,
    replay_of,
    warn_of_first,
)
from .idle import wait_until_idle
from .recording import close_code, event_type, has_more_body, payload
from .records import RecordedCommunicator
from .servers.rules import disconnect_event
from .text.failures import Call, format_unexpected


class RecordingWebsocketCommunicator(RecordedCommunicator, WebsocketCommunicator):
    """``channels.testing.WebsocketCommunicator``, which records what passes.

    A drop-in replacement: a test that passes with the parent passes with this class.

    Arguments: the ASGI application, the path with its query string, the headers of the
    request as pairs of ``bytes``, the subprotocols that the client offers, and the
    ``spec_version`` of the scope. Raises ``TypeError`` if the path is not a ``str``.

    Every exception that leaves a call carries the transcript as a note, which shortens
    a long one; ``print(communicator.transcript)`` prints all of it. A call that is
    cancelled, for example by ``asyncio.wait_for()``, loses no event: the next call
    receives it. Any call may raise

    - the exception of the application: the same object, at once, and again later;
    - ``asyncio.CancelledError`` after the application was cancelled, with the cause: a
      call whose timeout expired, ``wait()``, or the end of the event loop;
    - ``RuntimeError`` if it would have to wait, and the application runs in another
      event loop: a communicator belongs to that which has started its application;
    - ``ValueError`` if ``servers`` has a name that is not known;
    - ``AssertionError`` with ``strict``, and if the application suppresses its
      ``CancelledError``.
    """

    scope: dict[str, Any]  # type: ignore[assignment]  # the stubs allow no other keys
    """The ASGI scope that the application is called with, when it starts.

    Set here what middleware or a router would add: ``scope["user"] = user``.
    """

    if not TYPE_CHECKING:  # pragma: no branch

        @functools.wraps(WebsocketCommunicator.__init__)
        def __init__(self, *args, **kwargs):
            # Whatever was passed, to the class of a library if a subclass inherits from
            # one, too. Skip RecordingApplicationCommunicator, whose constructor is for
            # subclasses that skip this one.
            super(RecordingApplicationCommunicator, self).__init__(*args, **kwargs)

    # What it does.

    @explained
    async def connect(self, timeout: float | None = 1) -> tuple[bool, int | str | None]:
        """Send ``websocket.connect`` and receive the response to the handshake.

        Return ``(True, subprotocol)`` if the application accepts, ``(False, close
        code)`` if it closes, ``(False, HTTP status)`` if it sends a denial response.
        Data frames sent before that are in ``pre_close_messages``; because they reach
        no client, there is an ``UndeliverableWarning`` (ASGI, "Accept - send event").

        ``timeout`` is in seconds, for the whole call, also for the body of a denial
        response; with None, it waits forever. Raises

        - what the application raises, at once;
        - ``TimeoutError`` when the timeout expires, after it has cancelled the
          application as the parent does, or at once if nothing more can come;
        - ``AssertionError`` if an event is not a response to the handshake;
        - ``KeyError`` or ``TypeError`` if an event is not one of ASGI.

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
        if len(conversation.pre_close_messages) > conversation.kept_before:
            warn_of_first(self, "websocket.send")
        return response

    def __response(self, event: Any) -> tuple[bool, int | str | None]:
        try:
            kind = event["type"]
        except (KeyError, TypeError) as error:
            error.args = (format_unexpected("connect", event),)
            raise
        if kind == "websocket.accept":
            self.response_headers = event.get("headers", [])
            return True, event.get("subprotocol", None)
        if kind == "websocket.close":
            return False, event.get("code", 1000)
        if kind == "websocket.http.response.start":
            return False, event.get("status")
        raise AssertionError(format_unexpected("connect", event))

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
            self._application.conversation.pre_close_messages.append(payload(event))

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
        application = self._application
        conversation, queue = application.conversation, application.output_queue
        conversation.begin_to_keep(queue.taken_count)
        remaining = self.__remaining(timeout)
        while True:
            if queue.empty():
                if conversation.close is not None:
                    return close_code(conversation.close)
                denial, _ = conversation.denial()
                if denial is not None:
                    raise AssertionError(format_unexpected("wait_closed", denial))
            event = await self.receive_output(next(remaining))
            if event_type(event) == "websocket.send":
                conversation.pre_close_messages.append(payload(event))
            elif event_type(event) == "websocket.close":
                # The first close counts. There is none if a subclass made it up.
                return close_code(conversation.close or event)

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
        seen, is_over = queue.taken_count, application.end_of_output()
        application.raise_if_ended()
        while True:
            first = queue.taken_count
            for position in range(max(first, seen), queue.put_count):
                event = queue.peek(position - first)
                if event_type(event) != "websocket.send":
                    raise AssertionError(format_unexpected("receive_until", event))
                payloads[position] = frame = payload(event)
                if match(frame):
                    for _ in range(first, position + 1):
                        queue.get_nowait()
                    return [payloads[it] for it in range(first, position + 1)]
            seen = queue.put_count
            in_time = await queue.wait_until(
                lambda: queue.put_count > seen or is_over(),
                self._scaled(next(remaining)),
            )
            if not in_time or queue.put_count == seen:
                application.raise_if_ended()
                raise TimeoutError

    @explained
    async def wait_idle(self, timeout: float | None = 1) -> None:
        """Wait until every application has handled everything that has reached it.

        Every application that a communicator of this class runs in this event loop, and
        every message of an in-memory channel layer. It does not wait for a task of the
        application that sleeps or waits for the network or an executor (for that, use
        ``receive_until()``), nor for channels_redis, timers, or threads of its own.

        ``timeout`` is in seconds; with None, it waits forever. Returns at once if the
        application has ended. Raises what the application raises, at once, and
        ``TimeoutError``, which describes what is busy. Cancels and receives nothing.
        """
        self.future  # started here
        await wait_until_idle(self._application, self._scaled(timeout))

    @explained
    async def receive_all(self, timeout: float | None = 1) -> list[Any]:
        """``wait_idle()``, then return the payloads of the data frames that are queued.

        Up to the first other event, which stays in the queue with everything behind it.
        ``[]`` says that nothing was sent, no close either; while ``running_tasks`` is
        not empty, more may follow. JSON text is decoded; other text is ``str``, binary
        is ``bytes``. It receives from the queue, without ``receive_output()``.

        Raises what ``wait_idle()`` raises, and ``AssertionError`` if another event
        comes first. If it raises or is cancelled, every event is still to be received.
        """
        await self.wait_idle(timeout)
        queue, payloads = self._application.output_queue, []
        while queue.qsize() and event_type(queue.peek(0)) == "websocket.send":
            payloads.append(payload(queue.get_nowait()))
        if queue.qsize() and not payloads:
            raise AssertionError(format_unexpected("receive_all", queue.peek(0)))
        return payloads

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
                explain(exception, self, Call(type(self).stop, (), {}))
            raise

    async def __aenter__(self) -> Self:
        """Return the communicator, not connected: a test may expect a rejection."""
        return self

    async def __aexit__(
        self, cls: object, exception: BaseException | None, traceback: object
    ) -> None:
        """End the connection if the application is running, and leave no task behind.

        Does what a server does when the connection is over, whoever has closed it or
        rejected the handshake: sends ``websocket.disconnect`` with the code that the
        first of ``servers`` sends (ASGI, "Disconnect - receive event"), unless the test
        has sent one. The application then has a second to end; after that it is
        cancelled. Tasks that it has started are not: the end of the transcript names
        those that are running.

        Raises what the application has raised and no call has raised yet; what such
        a task has raised, if nobody has retrieved it; and ``AssertionError`` if the
        application suppresses its ``CancelledError``. If the block itself raises,
        nothing takes the place of that exception, which carries the transcript.
        """
        if exception is not None:
            # Now, because what passes from here on is not what the exception is about.
            explain_with_transcript(exception, self, failed=False)
        try:
            await self.__leave()
            if exception is None:
                await self.__look_back()
        except (Exception, asyncio.CancelledError) as error:
            if exception is None:
                explain(error, self, Call(type(self).__aexit__, (), {}))
                raise

    async def __leave(self) -> None:
        application = self._application
        if application.task is None:
            return
        timeout: float | None = 0
        try:
            if application.ending is None:
                application.output_queue.own_loop()
                replay = replay_of(self)
                connection = replay.connection
                if connection.phase != "client_left":
                    await self.send_input(
                        disconnect_event(replay.servers[0], connection)
                    )
            timeout = self._scaled(SHUTDOWN_TIMEOUT)
        finally:
            cancelled_with = None
            try:
                with Shutdown(application, timeout) as shutdown:
                    # Not "await task", which retrieves what the application raises.
                    while application.ending is None and not shutdown.has_given_up:
                        try:
                            tasks = [application.task]
                            await wait_for_tasks(tasks, timeout=SHUTDOWN_TIMEOUT)
                        except asyncio.CancelledError as error:
                            cancelled_with = error.args
                            application.task.cancel(*error.args)
            finally:
                application.is_left = True
                application.output_queue.wake()
                if cancelled_with is not None:
                    raise asyncio.CancelledError(*cancelled_with)

    @explained
    async def __look_back(self) -> None:
        self._application.raise_unseen()
        passed = self._application.conversation.passed
        if ("receive", "websocket.connect") not in passed:
            warn_of_first(self, "websocket.receive")
