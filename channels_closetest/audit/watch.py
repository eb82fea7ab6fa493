"""Watches every communicator of a process, for ``collect.py``.

Wraps the methods of ``RecordingWebsocketCommunicator`` rather than add to them what
only this command needs: every frame of every other test passes through them.
"""

from __future__ import annotations

import asyncio.coroutines
import asyncio.queues
import functools
import inspect
import os
import sys
import weakref
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

from channels import testing
from channels.testing import websocket

import channels_closetest

from ..application import Application, RecordingQueue
from ..communicator import RecordingWebsocketCommunicator
from ..explain import belongs_to, without_our_frames
from ..places import is_library
from ..servers.connection import client_of
from ..servers.replay import Finding, Replay
from ..servers.rules import SERVERS, known_servers
from ..stuck import find_source
from ..text.values import format_event, format_path
from .collect import Audit
from .report import Found

#: File and line of a call in the test suite.
Place = tuple[str, int]

#: A call from here is a part of another one.
_OURS_AND_PARENTS = (
    os.path.dirname(channels_closetest.__file__),
    os.path.dirname(testing.__file__),
)
#: Its methods call one another.
_QUEUES = asyncio.queues.__file__
#: What is on the stack below these is not the test.
_RUNNERS = ("unittest.case", "unittest.async_case", "_pytest.")


def watch(audit: Audit) -> None:
    """Watch all communicators, and replace the parent class by theirs."""
    watcher = Watcher(audit)
    cls = RecordingWebsocketCommunicator
    for name, method in list(vars(cls).items()):
        is_public = not name.startswith("_") or name == "__aexit__"
        if is_public and inspect.iscoroutinefunction(method):
            setattr(cls, name, watcher.watched(method))
    setattr(cls, "__new__", watcher.watched_new(cls.__new__))
    setattr(RecordingQueue, "_get", watcher.watched_get(asyncio.Queue._get))
    # The report replaces the warning, unless the suite may expect it.
    setattr(cls, "_warns_of_frames", property(lambda self: _is_known_to_the_suite()))
    for module in (testing, websocket):
        setattr(module, "WebsocketCommunicator", cls)


def _is_known_to_the_suite() -> bool:
    return RecordingWebsocketCommunicator.__name__ in vars(channels_closetest)


class Watched:
    """What is known about the communicator of one application run."""

    replay: Replay | None = None
    #: How many findings are in the audit.
    found = 0
    #: How many calls are in progress, which look at their end.
    calls = 0

    def __init__(self, created: Place | None) -> None:
        self.created = created


class Watcher:
    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        # By the run, because a subclass may define what a communicator is equal to.
        self._watched: weakref.WeakKeyDictionary[Application, Watched] = (
            weakref.WeakKeyDictionary()
        )
        #: The communicators by their output queues, which do not hold them.
        self._owners: weakref.WeakKeyDictionary[
            RecordingQueue, weakref.ref[RecordingWebsocketCommunicator]
        ] = weakref.WeakKeyDictionary()

    def watched_new(self, new: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(new)
        def create(cls: type, /, *args: object, **kwargs: object) -> Any:
            communicator = new(cls, *args, **kwargs)
            place = _find_place(communicator, sys._getframe(1))
            run = communicator._application
            self._watched[run] = Watched(place)
            self._owners[run.output_queue] = weakref.ref(communicator)
            self._audit.add("communicator", self._audit.test)
            return communicator

        return create

    def watched_get(self, get: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Look for findings when the test itself takes an event from the queue."""

        def watched_get(queue: RecordingQueue) -> Any:
            event = get(queue)
            caller: FrameType | None = sys._getframe(1)
            while caller is not None and caller.f_code.co_filename == _QUEUES:
                caller = caller.f_back
            if caller is None or caller.f_code.co_filename.startswith(
                _OURS_AND_PARENTS
            ):
                return event
            owner = self._owners.get(queue)
            communicator = None if owner is None else owner()
            if communicator is not None and not self._watched_of(communicator).calls:
                self._look(communicator, _find_place(communicator, caller))
            return event

        return watched_get

    def watched(
        self, method: Callable[..., Coroutine[Any, Any, Any]]
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Look for findings at the end of every call that the test makes."""

        async def watched_call(
            communicator: RecordingWebsocketCommunicator,
            place: Place | None,
            args: Any,
            kwargs: Any,
        ) -> Any:
            __tracebackhide__ = True
            watched = self._watched_of(communicator)
            watched.calls += 1
            try:
                return await method(communicator, *args, **kwargs)
            except BaseException as exception:
                without_our_frames(exception)
                raise
            finally:
                watched.calls -= 1
                self._look(communicator, place)

        # Not a coroutine function: its frame has a caller when the test calls it, not
        # only when the test awaits it. With gather() that is another place.
        @functools.wraps(method)
        def call(
            self: RecordingWebsocketCommunicator, /, *args: Any, **kwargs: Any
        ) -> Coroutine[Any, Any, Any]:
            caller = sys._getframe(1)
            if caller.f_code.co_filename.startswith(_OURS_AND_PARENTS):
                return method(self, *args, **kwargs)
            coroutine = watched_call(self, _find_place(self, caller), args, kwargs)
            # In the words of "coroutine ... was never awaited".
            for name in ("__name__", "__qualname__"):
                setattr(coroutine, name, getattr(method, name))
            return coroutine

        _mark_as_coroutine_function(call)
        return call

    def _watched_of(self, communicator: RecordingWebsocketCommunicator) -> Watched:
        # If it is a copy of a communicator, nobody has seen it created.
        return self._watched.setdefault(communicator._application, Watched(None))

    def _look(
        self, communicator: RecordingWebsocketCommunicator, place: Place | None
    ) -> None:
        run = communicator._application
        recording, scope = run.conversation.recording, vars(communicator).get("scope")
        watched = self._watched_of(communicator)
        if watched.replay is None:
            watched.replay = Replay(
                self._audit.servers or _servers_of(communicator),
                client_of(scope),
            )
        records = recording.records
        watched.replay.advance(records, len(records), recording.ending)
        new = watched.replay.findings[watched.found :]
        watched.found += len(new)
        for finding in new:
            place = (
                place
                or watched.created
                or find_source(vars(communicator).get("application"), run.task)
            )
            found = _found(finding, self._audit.test, place, format_path(scope))
            self._audit.add("finding", found)


def _mark_as_coroutine_function(function: Any) -> None:
    """Mark it for asgiref, ``unittest.mock`` and others who ask before they call."""
    if sys.version_info >= (3, 12):  # pragma: no cover
        inspect.markcoroutinefunction(function)
        return
    function._is_coroutine = getattr(asyncio.coroutines, "_is_coroutine")
    # For inspect.iscoroutinefunction(). A call does not look at it.
    code = function.__code__
    flags = code.co_flags | inspect.CO_COROUTINE
    function.__code__ = code.replace(co_flags=flags)


def _servers_of(communicator: RecordingWebsocketCommunicator) -> tuple[str, ...]:
    try:
        return known_servers(communicator.servers)
    except ValueError:
        return SERVERS  # and the calls raise it


def _find_place(
    communicator: RecordingWebsocketCommunicator, frame: FrameType | None
) -> Place | None:
    """Return where the suite makes a call, or None if only libraries are there."""
    while frame is not None:
        file = frame.f_code.co_filename
        if is_library(file):
            module: str = frame.f_globals.get("__name__", "")
            if module.startswith(_RUNNERS):
                return None
        elif not belongs_to(communicator, frame):
            return file, frame.f_lineno
        frame = frame.f_back
    return None


def _found(finding: Finding, test: str | None, place: Place, path: str) -> Found:
    event, outcome, remedy = finding.undeliverable
    return Found(
        test,
        *place,
        path,
        format_event(event),
        finding.description,
        outcome.removeprefix(f"{finding.description}: "),
        remedy,
        finding.servers,
        finding.is_everywhere,
        finding.is_partial,
    )
