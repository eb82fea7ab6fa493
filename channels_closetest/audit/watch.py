"""Watch every communicator of a process, for ``report.py``.

Nothing is called when an event is sent: its place is recorded, and the recording of
each communicator is replayed when the test has ended.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from channels import testing

import channels_closetest

from ..application import OBSERVERS, Application
from ..application import RecordingApplicationCommunicator as Communicator
from ..communicator import RecordingWebsocketCommunicator
from ..explain import transcript_of
from ..recording import Place, event_type
from ..servers.connection import client_of
from ..servers.replay import Replay
from ..servers.rules import known_servers
from ..text.transcript import About, Transcript
from ..text.values import format_event, format_exception, format_path
from .report import CRASH, EVERYWHERE, PARTLY, SOMEWHERE, Report

#: Of a crash: what is wrong, and what to write instead.
_UNSEEN = "no call of the test has raised it"
_SHOW = (
    "Fix it. The end of async with RecordingWebsocketCommunicator(...) raises it,"
    " unless the block has raised"
)


def watch(report: Report) -> None:
    """Watch all communicators, and replace the parent class by theirs."""
    # Not appended: this is called once for each of two modules.
    OBSERVERS[:] = [lambda it: report.watched.append(_Watched(report, it))]
    setattr(Application, "__del__", _look_at_the_end)
    cls = RecordingWebsocketCommunicator
    # The report replaces the warning, unless the suite may expect it.
    is_known = property(lambda self: cls.__name__ in vars(channels_closetest))
    setattr(cls, "_warns_of_frames", is_known)
    for module in (testing, testing.websocket):
        setattr(module, "WebsocketCommunicator", cls)


def _look_at_the_end(application: Application) -> None:
    """Look at an application that is about to be destroyed, and at its exceptions."""
    if watched := vars(application).get("watched"):
        watched.look(application)


class _Watched:
    """What is known of an application.

    It holds neither the application nor an exception: asyncio logs those that nobody
    has retrieved when they are destroyed.
    """

    def __init__(self, report: Report, communicator: Communicator) -> None:
        application = communicator._application
        self._report, self.test = report, report.test
        self._communicator, self.application = ref(communicator), ref(application)
        self.queue = ref(application.output_queue)
        self.recording = application.conversation
        scope = vars(communicator).get("scope")
        servers = known_servers(report.servers or communicator.servers)
        self._about = About(format_path(scope), servers, client_of(scope))
        self._replay = Replay(servers, client_of(scope))
        #: The tasks whose crash has been added. The application holds them.
        self._seen: set[int] = set()
        setattr(application, "watched", self)
        report.add("communicators", self.test)

    def look(self, application: Application | None) -> None:
        """Add what was found since the last look."""
        if application is not None:
            self._look_for_crashes(application)
        records, ending = self.recording.records, self.recording.ending
        self._replay.advance(records, len(records), ending)
        findings, self._replay.findings = self._replay.findings, []
        for finding in findings:
            event, outcome, remedy, place = finding.undeliverable
            outcome = outcome.removeprefix(f"{finding.description}: ")
            if event_type(event) == "websocket.close" and "HTTP" in outcome:
                outcome += "; a page sees 1006"  # and not the code that it waits for
            section = EVERYWHERE if finding.is_everywhere else SOMEWHERE
            section = PARTLY if finding.is_partial else section
            what = finding.description, outcome, remedy, [*finding.servers]
            self._add(section, place, *what, format_event(event))

    def _look_for_crashes(self, application: Application) -> None:
        """Add what no call has raised and nobody has retrieved."""
        application.ending  # notices that it has crashed
        started, outcome = application.started, "raised by the application"
        failed = [*zip(started.failed, started.crashes)][started._seen :]
        for task, crash in ((application.task, application.crash), *failed):
            if crash and getattr(task, "_log_traceback") and id(task) not in self._seen:
                self._seen.add(id(task))
                event = format_exception(crash.exception, None)
                self._add(CRASH, crash.place, _UNSEEN, outcome, _SHOW, [], event)
            outcome = "raised by a task that the application started"

    def _add(self, section: str, place: Place | None, *what: Any) -> None:
        (file, line), test = place or ("", 0), self.test or self._report.test
        found = section, file.removeprefix(self._report.root), line, *what, [test]
        self._report.add("findings", found)

    def excerpt(self) -> str:
        """Return what a note on an exception shows."""
        communicator = self._communicator()
        if communicator is not None:
            return transcript_of(communicator, self._replay.servers).excerpt()
        return Transcript(self.recording, self._about).excerpt()
