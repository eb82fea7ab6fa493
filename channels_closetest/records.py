"""``RecordedCommunicator``: what a communicator has recorded, as attributes."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, TypeVar

from .application import RecordingApplicationCommunicator
from .explain import replay_of, transcript_of
from .recording import DenialResponse, close_code, close_reason
from .servers.replay import ClientView, Undeliverable
from .servers.rules import known_servers
from .text.transcript import Transcript
from .text.values import format_path, format_value

_Result = TypeVar("_Result")


class _Recorded(functools.cached_property[_Result]):
    """A property that an attribute of the instance overrides; nothing is cached.

    Suites assign attributes of any name.
    """

    if not TYPE_CHECKING:  # pragma: no branch

        def __get__(self, instance, owner=None):
            return self if instance is None else self.func(instance)


class RecordedCommunicator(RecordingApplicationCommunicator):
    """What has passed, what a real client has received of it, and what runs on."""

    @_Recorded
    def pre_close_messages(self) -> list[Any]:
        """The payloads of frames that ``connect()`` and ``wait_closed()`` read past.

        In order. JSON text is decoded; other text is ``str``, binary is ``bytes``, also
        where the application sent a ``bytearray`` or ``memoryview``. Empty before
        ``connect()``. What an application has sent before it raised, and no call has
        received, stays in ``output_queue``.
        """
        return self._application.conversation.pre_close_messages

    @_Recorded
    def close_code(self) -> int | None:
        """The code with which the application has closed, or None.

        Set as soon as the application sends ``websocket.close``, whether or not the
        test has received it. 1000 if the event has no code (ASGI, "Close - send
        event").
        """
        close = self._application.conversation.close
        return None if close is None else close_code(close)

    @_Recorded
    def close_reason(self) -> str | None:
        """The reason with which the application has closed, or None.

        Set together with ``close_code``. ``""`` if the event has no reason.
        """
        close = self._application.conversation.close
        return None if close is None else close_reason(close)

    @_Recorded
    def denial_response(self) -> DenialResponse | None:
        """The HTTP response that the application has sent to reject the handshake.

        None unless it has used the ASGI extension ``websocket.http.response``. The body
        is as much of it as has been sent.
        """
        return self._application.conversation.denial_response

    @_Recorded
    def transcript(self) -> Transcript:
        """Everything that has passed in both directions; ``str()`` of it is readable.

        A snapshot. Raises ``ValueError`` if ``servers`` has a name that is not known.
        """
        return transcript_of(self, known_servers(self.servers))

    @_Recorded
    def client_view(self) -> ClientView:
        """What a client of the first of ``servers`` has seen so far.

        Predicted: no server runs. The client is Chromium where browsers differ, and has
        closed the connection once the test has called ``disconnect()``. If a consumer
        catches the exception that a server raises in its ``send()``, the prediction is
        wrong, because a test cannot see that. A snapshot. Raises ``ValueError`` if
        ``servers`` has a name that is not known.
        """
        return replay_of(self).client_view()

    @_Recorded
    def undeliverable(self) -> list[Undeliverable]:
        """Every event that a client of one of ``servers`` does not receive as sent.

        In order, with those of the test that no client can send. Without what the
        application sends after the client has disconnected, which it cannot know.
        A snapshot. Raises ``ValueError`` if ``servers`` has a name that is not known.
        """
        return replay_of(self).undeliverable()

    @_Recorded
    def running_tasks(self) -> list[asyncio.Task[Any]]:
        """The tasks that the application has started and that are still running.

        In the order in which they were started; of many, the last 100. A consumer must
        cancel them: neither a server nor ``async with`` does.
        """
        return self._application.started.running()

    def __repr__(self) -> str:
        application, path = self._application, format_path(vars(self).get("scope"))
        close, ending = application.conversation.close, application.ending
        state = "not started" if application.task is None else "running"
        state = state if ending is None else ending.outcome
        code = None if close is None else format_value(close_code(close))
        messages = len(application.conversation.pre_close_messages)
        return (
            f"<{type(self).__name__} {path}: {state}, close_code: {code},"
            f" pre_close_messages: {messages}>"
        )
