"""Random programs have the same results with the class as with its parent."""

import asyncio
import inspect
import logging
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asgiref.testing
import channels.db
import pytest
from asgiref.testing import ApplicationCommunicator
from channels.testing import WebsocketCommunicator

from tests.tools.driver import search
from tests.tools.grammar import generate
from tests.tools.programs import Step
from tests.virtual_time import LOOPS

each_loop = pytest.mark.parametrize("loop_kind", LOOPS)

#: For each kind of event loop, each of its own.
PROGRAMS = 40


@pytest.mark.skipif(
    hasattr(asgiref.testing, "async_timeout"),
    reason="The timeouts of older asgiref leave the task of the test being cancelled.",
)
@each_loop
def test_random_programs_have_the_same_results(loop_kind: str) -> None:
    programs = (generate((loop_kind, number)) for number in range(PROGRAMS))
    assert "\n".join(search(programs, loop_kind)) == ""


# The driver itself.


class Same(WebsocketCommunicator):
    """The parent, without what Channels patches around each call."""

    send_input: Any = ApplicationCommunicator.send_input
    receive_output: Any = ApplicationCommunicator.receive_output


@each_loop
def test_a_program_has_the_same_results_again(loop_kind: str) -> None:
    programs = [generate((loop_kind, number)) for number in range(PROGRAMS)]
    assert "\n".join(search(programs, loop_kind, Same)) == ""


EFFECTS: dict[str, Callable[[], object]] = {
    "a turn": lambda: asyncio.sleep(0),
    "time": lambda: asyncio.sleep(0.01),
    "an exception": lambda: int("no number"),
    "a task": lambda: asyncio.create_task(asyncio.sleep(60)).set_name("left"),
    "a patch": lambda: setattr(channels.db, "close_old_connections", print),
    "a task factory": lambda: asyncio.get_running_loop().set_task_factory(
        lambda loop, coroutine, **kwargs: asyncio.Task(coroutine, loop=loop)
    ),
    "a warning": lambda: warnings.warn("a warning"),
    "a cancellation": lambda: [
        task.cancel() for task in asyncio.all_tasks() - {asyncio.current_task()}
    ],
    "a record": lambda: logging.getLogger("asyncio").warning("a record"),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_the_driver_finds_what_a_call_does_besides(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Different(Same):
        async def connect(self, timeout: float = 1) -> Any:
            result = await super().connect(timeout)
            effect = EFFECTS[name]()
            if inspect.isawaitable(effect):
                await effect
            return result

    original = getattr(channels.db, "close_old_connections")
    monkeypatch.setattr(channels.db, "close_old_connections", original)
    steps = (("accept",), ("sleep", 0), ("log", "effect"), ("echo",))
    program = (("open", 0, "asgi", steps), ("connect", 0, 1), ("sleep", 1))
    assert search([program], "plain", Same) == []
    assert len(search([program], "plain", Different)) == 1


class Retrieving(Same):
    def __del__(self) -> None:
        with suppress(asyncio.CancelledError):
            self.future.exception()


class Leaving(Same):
    def __del__(self) -> None:
        """Leave the application running."""


@pytest.mark.parametrize(
    ("cls", "last"), [(Retrieving, ("raise", "boom")), (Leaving, ("sleep", 1))]
)
def test_the_driver_finds_what_becomes_of_a_dropped_communicator(
    cls: type[WebsocketCommunicator], last: Step
) -> None:
    opened = ("open", 0, "asgi", (("receive",), ("accept",), last))
    program = (opened, ("connect", 0, 1), ("drop", 0), ("sleep", 2))
    assert search([program], "plain", Same) == []
    assert len(search([program], "plain", cls)) == 1


def test_the_driver_prints_the_smallest_program() -> None:
    class Different(Same):
        async def wait(self, timeout: float | None = 1) -> None:
            raise TimeoutError("waited")

    steps = (("accept",), ("gather", ("log", 1), ("send", "text", "1")), ("echo",))
    program = (
        ("open", 0, "asgi", steps),
        ("task", "a", ("wait_for", 1, ("wait", 0, 0.5))),
        ("sleep", 3),
    )
    [text] = search([program, program], "plain", Different)
    assert text == """\
2 programs:
(('open', 0, 'asgi', ()), ('wait', 0, 0.5))
  both:
     0.000  test  0: ('open', 0) returned None
  parent:
     0.000  app 0: ('starts', 'headers path query_string subprotocols type')
     0.000  app 0: ('returns',)
     0.000  test  1: ('wait', 0) returned None
  ours:
     0.000  test  1: ('wait', 0) raised TimeoutError waited
     0.000  loop: left []
     0.000  loop: 0 [[], [], 5, None]
"""
