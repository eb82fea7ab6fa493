"""``RecordingWebsocketCommunicator``, and all that knows of asyncio and Channels."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import sys
import time
import traceback
import warnings
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import (
    Any,
    Generic,
    Literal,
    NamedTuple,
    TypeVar,
    cast,
    overload,
)

from asgiref.sync import SyncToAsync
from asgiref.testing import ApplicationCommunicator
from channels.testing import WebsocketCommunicator
from channels.utils import await_many_dispatch

from .client_view import (
    SERVERS,
    ClientView,
    DenialResponse,
    Undeliverable,
    UndeliverableWarning,
    close_code,
    close_reason,
    event_type,
    has_more_body,
    payload,
)
from .database import spare_transactions
from .transcript import (
    Recording,
    Transcript,
    show_came,
    show_cancelled,
    show_denied,
    show_idle,
    show_no_answer,
    show_path,
    show_refused,
    show_returned,
    show_timed_out,
    show_undeliverable,
)

_Communicator = TypeVar("_Communicator", bound="RecordingWebsocketCommunicator")
_Method = TypeVar("_Method", bound=Callable[..., Any])
_Result = TypeVar("_Result")

#: Seconds that the end of an ``async with`` block gives an application to end: as many
#: as ``disconnect()`` does. And how often it cancels one that takes no notice.
_PATIENCE = 1
_CANCELLATIONS = 3

#: What a call waits for, in the words of its failure.
_AWAITED = {
    "connect": "websocket.accept, websocket.close or a denial response",
    "wait_closed": "websocket.close",
    "receive_from": "a data frame",
    "receive_json_from": "a data frame",
}


class _RecordingQueue(asyncio.Queue[Any]):
    """Records every event where it passes."""

    def __init__(self, recording: Recording, direction: Literal["receive", "send"]):
        super().__init__()
        self._recording = recording
        self._direction: Literal["receive", "send"] = direction
        self._waiters: list[asyncio.Future[bool]] = []

    def _put(self, item: object) -> None:
        self._recording.add(self._direction, item)
        super()._put(item)
        self.wake()

    def wake(self) -> None:
        for waiter in self._waiters:
            _wake(waiter, True)

    async def news(self, timeout: float | None) -> bool:
        """Wait until something is put, or ``wake()`` is called; False if in vain."""
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        if not self._waiters:
            # Many applications answer within a turn of the event loop, and to wait for
            # a turn takes no timer.
            await asyncio.sleep(0)
            if not self.empty():
                return True
        waiter = loop.create_future()
        timer = None if end is None else loop.call_at(end, _wake, waiter, False)
        self._waiters.append(waiter)
        try:
            news: bool = await waiter
            return news
        finally:
            self._waiters.remove(waiter)
            if timer is not None:
                timer.cancel()

    def take_frames(self) -> list[Any]:
        """Take the data frames out; all else stays, in its order."""
        frames = []
        for _ in range(self.qsize()):
            event = self._get()
            if event_type(event) == "websocket.send":
                frames.append(event)
            else:
                super()._put(event)
        return frames


def _wake(waiter: asyncio.Future[bool], news: bool) -> None:
    if not waiter.done():
        waiter.set_result(news)


class _Memory:
    """What a communicator remembers, apart from the communicator.

    The application holds the queues, and they hold the recording: if anything of this
    held the communicator, its ``__del__`` could no longer stop the application.
    """

    def __init__(self) -> None:
        self.recording = Recording()
        self.pre_close_messages: list[Any] = []
        self.last_event: Any = None
        self.stuck = ""
        self.cancelled = ""
        self.crash_has_surfaced = False
        #: How many events the call under way has read past, and how many data frames.
        self.events_passed = 0
        self.frames_passed = 0
        #: How many undeliverable events have failed a call of a ``strict`` one.
        self.refused = 0


#: No identifier, so that no attribute that a test assigns can be the same.
_MEMORY = "channels-closetest memory"


def _memory(communicator: object) -> _Memory:
    """The communicator's memory, whether or not any ``__init__`` has run."""
    attributes = communicator.__dict__
    if _MEMORY not in attributes:
        attributes[_MEMORY] = _Memory()
    memory: _Memory = attributes[_MEMORY]
    return memory


class _Call(NamedTuple):
    """A call of the test that is under way."""

    memory: _Memory
    method: Callable[..., object]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def name(self) -> str:
        return self.method.__name__

    def __str__(self) -> str:
        """The call with its timeout, which is as often as not the default."""
        bound = inspect.signature(self.method).bind(None, *self.args, **self.kwargs)
        bound.apply_defaults()
        return f"{self.name}(timeout={bound.arguments.get('timeout')})"


_current_call: ContextVar[_Call | None] = ContextVar("_current_call", default=None)


def _explained(method: _Method) -> _Method:
    """Explain every exception that leaves the method, and let ``strict`` have its say.

    A method that another one calls leaves both to the outermost.
    """

    @functools.wraps(method)
    async def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        memory = _memory(self)
        outer = _current_call.get()
        if outer is not None and outer.memory is memory:
            return await method(self, *args, **kwargs)
        current = _Call(memory, method, args, kwargs)
        memory.events_passed = memory.frames_passed = 0
        token = _current_call.set(current)
        try:
            result = await method(self, *args, **kwargs)
            if self.strict:
                _refuse_undeliverable(self)
            return result
        except BaseException as exception:
            _explain(exception, self, current)
            raise
        finally:
            _current_call.reset(token)

    return cast(_Method, call)


class _Recorded(Generic[_Result]):
    """A property that, like any attribute of the parent, a test may assign over."""

    def __init__(self, get: Callable[[Any], _Result]) -> None:
        self._get = get
        self.__doc__ = get.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> _Recorded[_Result]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> _Result: ...

    def __get__(
        self, instance: object | None, owner: type
    ) -> _Recorded[_Result] | _Result:
        return self if instance is None else self._get(instance)


class _ScopeCommunicator(WebsocketCommunicator):
    """Stands where ``super(RecordingWebsocketCommunicator, self)`` leads.

    A subclass that skips the parent's constructor calls it so, because it says
    ``super(WebsocketCommunicator, self)`` and its import has changed.
    """

    def __init__(self, application: Any, scope: Any) -> None:
        ApplicationCommunicator.__init__(self, application, scope)  # type: ignore


class RecordingWebsocketCommunicator(_ScopeCommunicator):
    """``channels.testing.WebsocketCommunicator``, and what is said before a close.

    A drop-in replacement: a test that passes with the parent passes with this class.

    Every exception that leaves a call carries the transcript as a note (Python 3.11
    and later). A call that is cancelled loses nothing: what was on its way to it is
    there for the next call.
    """

    #: The servers you deploy on: any of ``"daphne"``, ``"uvicorn"``, ``"hypercorn"``.
    #: ``client_view`` speaks for the first, ``undeliverable`` and ``strict`` for all.
    servers: Sequence[str] = SERVERS
    #: Whether what is undeliverable fails the call that comes across it, with an
    #: ``AssertionError``.
    strict: bool = False

    _future: Any = None
    _input_queue: _RecordingQueue | None = None
    _output_queue: _RecordingQueue | None = None

    def __init__(
        self,
        application: Any,
        path: str,
        headers: Iterable[tuple[bytes, bytes]] | None = None,
        subprotocols: Iterable[str] | None = None,
        spec_version: int | None = None,
    ) -> None:
        super(_ScopeCommunicator, self).__init__(
            application, path, headers, subprotocols, spec_version
        )

    # asgiref before 3.9 assigns the queues and the task in its constructor: for that
    # the setters are here. Since then all three are made when they are first asked for.

    @property
    def input_queue(self) -> asyncio.Queue[Any]:
        if self._input_queue is None:
            self._input_queue = _RecordingQueue(_memory(self).recording, "receive")
        return self._input_queue

    @input_queue.setter
    def input_queue(self, queue: asyncio.Queue[Any]) -> None:
        pass

    @property
    def output_queue(self) -> _RecordingQueue:
        if self._output_queue is None:
            self._output_queue = _RecordingQueue(_memory(self).recording, "send")
        return self._output_queue

    @output_queue.setter
    def output_queue(self, queue: asyncio.Queue[Any]) -> None:
        pass

    @property
    def future(self) -> asyncio.Task[Any]:
        if self._future is None:
            self.__watch(super().future)
        application: asyncio.Task[Any] = self._future
        return application

    @future.setter
    def future(self, application: asyncio.Task[Any]) -> None:
        if self._future is None and isinstance(application, asyncio.Task):
            self._future = application
            self.__watch(application)

    def __watch(self, application: asyncio.Task[Any]) -> None:
        release = spare_transactions(application)
        recording, queue = _memory(self).recording, self.output_queue

        def ended(application: asyncio.Task[Any]) -> None:
            release()
            queue.wake()
            recording.end(
                application.cancelled(), functools.partial(_exception_of, application)
            )

        application.add_done_callback(ended)

    # What is recorded.

    @_Recorded
    def pre_close_messages(self) -> list[Any]:
        """The payloads that ``connect()`` and ``wait_closed()`` have read past.

        JSON text is decoded; other text is ``str``, binary is ``bytes``. Also what was
        still queued when an application crashed in either call. Empty at first.
        """
        return _memory(self).pre_close_messages

    @_Recorded
    def close_code(self) -> int | None:
        """The code with which the application has closed, or None.

        It is there as soon as ``websocket.close`` is sent, read or not. 1000 where the
        application gave none (ASGI, "Close - send event").
        """
        close = _memory(self).recording.close
        return None if close is None else close_code(close)

    @_Recorded
    def close_reason(self) -> str | None:
        """The reason with which the application has closed, or None.

        ``""`` where it gave none.
        """
        close = _memory(self).recording.close
        return None if close is None else close_reason(close)

    @_Recorded
    def denial_response(self) -> DenialResponse | None:
        """The HTTP response that the application gave in answer to the handshake.

        None unless it has used the ASGI extension ``websocket.http.response``. The
        body is what has been sent of it so far.
        """
        return _memory(self).recording.denial_response()

    @_Recorded
    def transcript(self) -> Transcript:
        """Everything that has passed in both directions; ``str()`` of it is readable.

        Raises ``ValueError`` if ``servers`` names one that is not known.
        """
        return _transcript(self, _servers(self))

    @_Recorded
    def client_view(self) -> ClientView:
        """What a client of the first of ``servers`` has seen so far.

        Raises ``ValueError`` if ``servers`` names one that is not known.
        """
        return _transcript(self, _servers(self)).client_view()

    @_Recorded
    def undeliverable(self) -> list[Undeliverable]:
        """What a client of one of ``servers`` does not get as it was sent.

        Raises ``ValueError`` if ``servers`` names one that is not known.
        """
        return _transcript(self, _servers(self)).undeliverable()

    def __repr__(self) -> str:
        memory, future = _memory(self), self._future
        if future is None:
            running = "not started"
        elif not future.done():
            running = "running"
        else:
            running = "cancelled" if future.cancelled() else "ended"
        state = ", ".join([*memory.recording.milestones(), running])
        buffered = len(memory.pre_close_messages)
        path = show_path(vars(self).get("scope"))
        return (
            f"<{type(self).__name__} {path}: {state}, "
            f"pre_close_messages: {buffered}>"
        )

    # What it does.

    @_explained
    async def connect(self, timeout: float | None = 1) -> tuple[bool, int | str | None]:
        """Send ``websocket.connect`` and read on to the application's answer.

        Gives ``(True, subprotocol)`` if it accepts, ``(False, close code)`` if it
        closes, ``(False, HTTP status)`` if it sends a denial response. Data frames
        that come before are in ``pre_close_messages``; because they reach no client
        there is an ``UndeliverableWarning`` (ASGI, "Accept - send event").

        ``timeout``, in seconds, is for the whole call; None is for ever. Raises

        - what the application raises, at once;
        - ``asyncio.TimeoutError`` when the time is over, after it has cancelled the
          application as the parent does, or at once if the application has returned;
        - ``AssertionError`` if what comes is no answer to a handshake.

        If cancelled, it leaves the application running and loses no frame.
        """
        __tracebackhide__ = True
        messages = _memory(self).pre_close_messages
        known = len(messages)
        try:
            await self.send_input({"type": "websocket.connect"})
            answer = await self.__answer(_Deadline(timeout))
        except BaseException:
            self.__keep_frames_of_the_dead()
            raise
        if len(messages) > known and not self.strict:
            lost = _transcript(self, _servers(self)).first_frame()
            if lost is not None:
                warning = UndeliverableWarning(show_undeliverable(lost))
                # 1 is this line, 2 that of _explained(), 3 that of the test.
                warnings.warn(warning, stacklevel=3)
        return answer

    async def __answer(self, deadline: _Deadline) -> tuple[bool, int | str | None]:
        __tracebackhide__ = True
        event = await self.__read_past_frames(deadline)
        try:
            kind = event["type"]
        except (KeyError, TypeError) as error:
            error.args = (show_no_answer(event),)
            raise
        if kind == "websocket.accept":
            self.response_headers = event.get("headers", [])
            return True, event.get("subprotocol", None)
        if kind == "websocket.close":
            return False, event.get("code", 1000)
        if kind == "websocket.http.response.start":
            await self.__read_denial_body(deadline)
            return False, event.get("status")
        raise AssertionError(show_no_answer(event))

    async def __read_denial_body(self, deadline: _Deadline) -> None:
        while True:
            try:
                event = await self.__read_past_frames(deadline)
            except asyncio.TimeoutError:
                if self.future.done() and not self.future.cancelled():
                    return  # the application has returned: no more can come
                raise
            is_body = event_type(event) == "websocket.http.response.body"
            if not is_body or not has_more_body(event):
                return

    @_explained
    async def wait_closed(self, timeout: float | None = 1) -> int:
        """Read on until the application closes, and give the close code.

        Data frames on the way go to ``pre_close_messages``. Gives the code at once if
        the close has been sent and nothing is left to read.

        ``timeout``, in seconds, is for the whole call; None is for ever. Raises

        - what the application raises, at once;
        - ``asyncio.TimeoutError`` when the time is over, after it has cancelled the
          application as ``receive_output()`` does, or at once if the application has
          returned without a close;
        - ``AssertionError``, at once, if it has sent a denial response instead.

        If cancelled, it leaves the application running and loses no frame.
        """
        __tracebackhide__ = True
        recording, queue = _memory(self).recording, self.output_queue
        deadline = _Deadline(timeout)
        close: Any = None
        try:
            while close is None and (recording.close is None or not queue.empty()):
                if recording.denial and queue.empty():
                    raise AssertionError(show_denied(recording.denial_response()))
                event = await self.__read(deadline)
                if event_type(event) == "websocket.close":
                    close = event
        except BaseException:
            self.__keep_frames_of_the_dead()
            raise
        return close_code(recording.close or close)

    async def __read(self, deadline: _Deadline) -> Any:
        """The next event; a data frame is kept."""
        __tracebackhide__ = True
        event = await self.receive_output(deadline.remaining())
        memory = _memory(self)
        memory.events_passed += 1
        if event_type(event) == "websocket.send":
            memory.pre_close_messages.append(payload(event))
            memory.frames_passed += 1
        return event

    async def __read_past_frames(self, deadline: _Deadline) -> Any:
        __tracebackhide__ = True
        while True:
            event = await self.__read(deadline)
            if event_type(event) != "websocket.send":
                return event

    def __keep_frames_of_the_dead(self) -> None:
        """No call hands out what a crashed or cancelled application has left behind."""
        if self.future.done() and (self.future.cancelled() or self.future.exception()):
            frames = self.output_queue.take_frames()
            _memory(self).pre_close_messages.extend(map(payload, frames))

    @_explained
    async def receive_output(self, timeout: float | None = 1) -> dict[str, Any]:
        """Give the next event the application sends: the very object.

        ``timeout`` is in seconds; None is for ever. Raises

        - what the application raises, at once, and also what it has raised before,
          even if there are events left;
        - ``asyncio.TimeoutError`` when the time is over, after it has cancelled the
          application as the parent does, or at once if the application has returned;
        - ``asyncio.CancelledError`` after an earlier call has cancelled it so.

        If cancelled, it leaves the application running and loses no event.
        """
        __tracebackhide__ = True
        memory, future, queue = _memory(self), self.future, self.output_queue
        if future.done():
            future.result()
        end = None if timeout is None else time.monotonic() + timeout
        while queue.empty():
            if future.done():
                future.result()
                raise asyncio.TimeoutError
            # With no time left it is over, as with the parent, whatever comes now.
            if not await queue.news(timeout) or (timeout is not None and timeout <= 0):
                memory.stuck = _where(future, memory.recording)
                _cancel(future)
                try:
                    await future
                except asyncio.CancelledError:
                    pass
                raise asyncio.TimeoutError
            timeout = None if end is None else end - time.monotonic()
        event: dict[str, Any] = queue.get_nowait()
        memory.last_event = event
        return event

    @_explained
    async def receive_nothing(
        self, timeout: float = 0.1, interval: float = 0.01
    ) -> bool:
        """Whether the application sends nothing for ``timeout`` seconds.

        It looks every ``interval`` seconds, at least once, and answers at once when
        the application has ended. Raises what the application has raised before.
        """
        nothing: bool = await super().receive_nothing(0, interval)
        start = time.monotonic()
        while nothing and not self.future.done() and time.monotonic() - start < timeout:
            await asyncio.wait([self.future], timeout=interval)
            nothing = self.output_queue.empty()
        return nothing

    @_explained
    async def send_input(self, message: dict[str, Any]) -> None:
        """Send an event to the application, and start it if it has not started.

        Raises what the application has raised before.
        """
        # Not super(): there Channels replaces, call by call, what database.py replaces.
        await ApplicationCommunicator.send_input(self, message)  # type: ignore

    @_explained
    async def wait(self, timeout: float | None = 1) -> None:
        """Wait for the application to end, and raise what it raises.

        After ``timeout`` seconds it is cancelled, without an error, as by the parent;
        and so it is if this call is cancelled.
        """
        future, timer = self.future, None
        running = not future.done()
        if running and timeout is not None:
            timer = asyncio.get_running_loop().call_later(timeout, _cancel, future)
        try:
            await future
        except asyncio.CancelledError:
            pass
        finally:
            if timer is not None:
                timer.cancel()
        if running and future.cancelled():
            _memory(self).cancelled = f"it was cancelled during {_current_call.get()}"

    # As the parent's, and explained.
    receive_from = _explained(WebsocketCommunicator.receive_from)
    receive_json_from = _explained(WebsocketCommunicator.receive_json_from)
    send_to = _explained(WebsocketCommunicator.send_to)
    send_json_to = _explained(WebsocketCommunicator.send_json_to)
    disconnect = _explained(WebsocketCommunicator.disconnect)

    def stop(self, exceptions: bool = True) -> None:
        """Cancel the application, or raise what it has raised if ``exceptions``."""
        try:
            super().stop(exceptions)
        except BaseException as exception:
            if exceptions:  # not __del__, which may run when all else is gone
                _explain(exception, self, _Call(_memory(self), type(self).stop, (), {}))
            raise

    async def __aenter__(self: _Communicator) -> _Communicator:
        """Give the communicator. It is not connected: to be refused is a test, too."""
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect if the application still runs, and leave no task behind.

        The application has a second to end after ``websocket.disconnect``; then it is
        cancelled. Raises what it has raised and no call has shown yet, unless the
        block itself ends in an exception: nothing ever takes the place of that one.
        """
        if exception is not None:
            # What comes from here on is not what the exception is about.
            _add_transcript(exception, self)
        try:
            await self.__leave()
        except (Exception, asyncio.CancelledError):
            if exception is None:
                raise

    @_explained
    async def __leave(self) -> None:
        application = self._future
        if application is None:
            return
        try:
            if not application.done():
                await self.send_input({"type": "websocket.disconnect", "code": 1000})
                await asyncio.wait([application], timeout=_PATIENCE)
        finally:
            willingly = await _end(application, _memory(self).recording)
        crash = _exception_of(application)
        if crash is not None and willingly and not _memory(self).crash_has_surfaced:
            raise crash


class _Deadline:
    """One deadline for several waits. The first has the timeout just as it came."""

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._end: float | None = None

    def remaining(self) -> float | None:
        if self._timeout is None:
            return None
        if self._end is None:
            self._end = time.monotonic() + self._timeout
            return self._timeout
        return max(0.0, self._end - time.monotonic())


def _cancel(application: asyncio.Task[Any]) -> None:
    """Cancel the application, and again every second: a handler may swallow it."""
    if not application.done():
        application.cancel()
        asyncio.get_running_loop().call_later(_PATIENCE, _cancel, application)


async def _end(application: asyncio.Task[Any], recording: Recording) -> bool:
    """Cancel the application until it ends. False if it had to be ended by force."""
    where = "" if application.done() else _where(application, recording)
    interruption: asyncio.CancelledError | None = None
    attempts = 0
    while not application.done():
        attempts += 1
        if attempts > _CANCELLATIONS + 1:
            raise AssertionError(
                f"The application cannot be ended: it swallows cancellation.\n{where}"
            )
        if attempts > _CANCELLATIONS:
            # What swallows every CancelledError hardly swallows a GeneratorExit.
            coroutine: Any = application.get_coro()
            with contextlib.suppress(RuntimeError):
                coroutine.close()
        application.cancel()
        try:
            await asyncio.wait([application], timeout=_PATIENCE)
        except asyncio.CancelledError as cancelled:
            interruption = cancelled
    if interruption is not None:
        raise interruption
    return attempts <= _CANCELLATIONS


# Explaining. What a failure says is worded in transcript.py.

#: Where an exception has the numbers of those whose transcripts it carries. Not the
#: objects themselves: parallel test runners pickle exceptions.
_TRANSCRIPTS = "channels-closetest transcripts"


def _explain(
    exception: BaseException,
    communicator: RecordingWebsocketCommunicator,
    call: _Call,
) -> None:
    memory, application = call.memory, communicator._future
    cancelled = application is not None and application.cancelled()
    if isinstance(exception, asyncio.CancelledError):
        if cancelled and not exception.args:
            exception.args = (show_cancelled(memory.cancelled),)
    elif application is not None and exception is _exception_of(application):
        memory.crash_has_surfaced = True
    elif isinstance(exception, asyncio.TimeoutError) and not exception.args:
        exception.args = (_timed_out(call, application),)
        if cancelled:
            memory.cancelled = f"{call} timed out before"
    elif (  # pragma: no cover - only Channels 4.1 says nothing here
        isinstance(exception, AssertionError)
        and not exception.args
        and call.name in ("receive_from", "receive_json_from")
    ):
        kind = event_type(memory.last_event)  # and the words of 4.2 are
        exception.args = (f"Expected type 'websocket.send', but was '{kind}'",)
    _add_transcript(exception, communicator)


def _add_transcript(
    exception: BaseException, communicator: RecordingWebsocketCommunicator
) -> None:
    shown: set[int] = vars(exception).setdefault(_TRANSCRIPTS, set())
    number = id(_memory(communicator))
    add_note = getattr(exception, "add_note", None)  # since Python 3.11
    if add_note is None or number in shown:
        return
    shown.add(number)
    try:
        servers = _servers(communicator)
    except ValueError:
        servers = SERVERS
    transcript = _transcript(communicator, servers).excerpt()
    add_note(f"What passed between test and application: {transcript}")


def _timed_out(call: _Call, application: asyncio.Task[Any] | None) -> str:
    memory = call.memory
    awaited = _AWAITED.get(call.name, "any event")
    denial = memory.recording.denial_response() if call.name == "connect" else None
    came = show_came(memory.events_passed, memory.frames_passed, denial)
    if application is None or application.cancelled():
        return show_timed_out(str(call), awaited, came, memory.stuck)
    if not application.done():
        return show_timed_out(
            str(call), awaited, came, _where(application, memory.recording)
        )
    return show_returned(str(call), awaited, came)


def _refuse_undeliverable(communicator: RecordingWebsocketCommunicator) -> None:
    memory = _memory(communicator)
    undeliverable = _transcript(communicator, _servers(communicator)).undeliverable()
    news = undeliverable[memory.refused :]
    memory.refused = len(undeliverable)
    if news:
        raise AssertionError(show_refused(news))


def _servers(communicator: RecordingWebsocketCommunicator) -> tuple[str, ...]:
    servers = communicator.servers
    if not isinstance(servers, (list, tuple)) or not servers:
        known = False
    else:
        known = all(server in SERVERS for server in servers)
    if not known:
        raise ValueError(f"servers is {servers!r}, but takes one or more of {SERVERS}")
    return tuple(servers)


def _transcript(
    communicator: RecordingWebsocketCommunicator, servers: tuple[str, ...]
) -> Transcript:
    scope = vars(communicator).get("scope")
    offered = scope.get("subprotocols") if isinstance(scope, Mapping) else None
    return Transcript(
        _memory(communicator).recording,
        show_path(scope),
        servers,
        tuple(offered) if isinstance(offered, (list, tuple)) else (),
    )


def _exception_of(application: asyncio.Task[Any]) -> BaseException | None:
    """What it has raised. To ask is to tell asyncio that somebody has seen it."""
    if not application.done() or application.cancelled():
        return None
    return application.exception()


# Where an application hangs.


def _where(application: asyncio.Task[Any], recording: Recording) -> str:
    """The application's chain of coroutines, down to the await that it hangs in."""
    frames = list(_coroutine_frames(application.get_coro()))
    codes = [frame.f_code for frame in frames]
    if await_many_dispatch.__code__ in codes[:-1]:
        position = codes.index(await_many_dispatch.__code__)
        if codes[position + 1] is asyncio.wait.__code__:
            return show_idle(recording)
    advice = "Let it go on, or give the call more time."
    if SyncToAsync.__call__.__code__ in codes:
        # What follows is how asgiref waits; what counts is what its thread does.
        del frames[codes.index(SyncToAsync.__call__.__code__) + 1 :]
        child = frames[-1].f_locals.get("child")
        threads = list(_thread_frames())
        for functions, in_thread in threads:
            if child in functions:
                frames += in_thread
                break
        else:
            busy = [frame for _, in_thread in threads for frame in in_thread]
            advice = (
                "It waits for its thread, which is busy with another function:\n"
                f"{_stack(busy)}Let that end first."
            )
    return (
        "The application hangs here, the most recent call last:\n"
        f"{_stack(frames)}{advice}"
    )


def _stack(frames: Iterable[FrameType]) -> str:
    stack = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
    return "".join(stack.format())


def _coroutine_frames(awaitable: Any) -> Iterator[FrameType]:
    while awaitable is not None:
        # Of a coroutine, or of a generator that stands for one.
        for frame, following in (
            ("cr_frame", "cr_await"),
            ("gi_frame", "gi_yieldfrom"),
        ):
            if getattr(awaitable, frame, None) is not None:
                yield getattr(awaitable, frame)
                awaitable = getattr(awaitable, following)
                break
        else:
            return


def _thread_frames() -> Iterator[tuple[tuple[Any, ...], list[FrameType]]]:
    """What each thread of asgiref has been given to call, and its frames since then."""
    for frame in sys._current_frames().values():
        above: list[FrameType] = []
        caller: FrameType | None = frame
        while caller is not None:
            if caller.f_code is SyncToAsync.thread_handler.__code__:
                yield caller.f_locals.get("args", ()), above[::-1]
            above.append(caller)
            caller = caller.f_back
