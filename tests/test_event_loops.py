"""A communicator works with event loops as the parent does."""

import asyncio
import gc
import unittest
from collections.abc import Callable, Iterator

import pytest
from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator

from tests.events import ACCEPT, JSON_FRAME
from tests.helpers import SHORT, CommunicatorClass, both_classes
from tests.test_idioms import connected, echo, sending

pytestmark = both_classes


def outcome(call: Callable[[], object]) -> object:
    """Return its result or the type of its exception, which depend on versions."""
    try:
        return call()
    except (Exception, asyncio.CancelledError) as exception:
        return type(exception)


@pytest.fixture
def collected() -> Iterator[None]:
    """Collect garbage, so that its warnings are reported for this test."""
    yield
    gc.collect()


def made_outside_a_loop(test: Callable[..., None]) -> Callable[..., None]:
    """asgiref before 3.9 starts the application in the constructor, and fails."""
    for mark in (
        pytest.mark.usefixtures("collected"),
        pytest.mark.filterwarnings(
            "ignore:There is no current event loop:DeprecationWarning",
            "ignore::pytest.PytestUnraisableExceptionWarning",
        ),
    ):
        test = mark(test)
    return test


@made_outside_a_loop
def test_each_call_may_have_an_event_loop_of_its_own(
    communicator_class: CommunicatorClass,
) -> None:
    def use(cls: CommunicatorClass) -> list[object]:
        communicator = cls(sending(ACCEPT, JSON_FRAME), "/")
        return [
            outcome(async_to_sync(communicator.connect)),
            outcome(async_to_sync(communicator.receive_output)),
            outcome(async_to_sync(communicator.disconnect)),
        ]

    assert outcome(lambda: use(communicator_class)) == outcome(
        lambda: use(WebsocketCommunicator)
    )


@made_outside_a_loop
def test_a_communicator_may_be_created_before_the_event_loop(
    communicator_class: CommunicatorClass,
) -> None:
    def use(cls: CommunicatorClass) -> list[object]:
        communicator = cls(sending(ACCEPT, JSON_FRAME), "/")
        loop = asyncio.new_event_loop()
        try:
            return [
                outcome(lambda: loop.run_until_complete(call))
                for call in (
                    communicator.connect(SHORT),
                    communicator.receive_output(SHORT),
                    communicator.disconnect(),
                )
            ]
        finally:
            loop.close()

    assert outcome(lambda: use(communicator_class)) == outcome(
        lambda: use(WebsocketCommunicator)
    )


def test_an_event_loop_may_be_run_for_each_call(
    communicator_class: CommunicatorClass,
) -> None:
    loop = asyncio.new_event_loop()
    try:
        communicator = loop.run_until_complete(connected(communicator_class))
        loop.run_until_complete(communicator.send_to("text"))
        assert loop.run_until_complete(communicator.receive_from()) == "text"
        loop.run_until_complete(communicator.disconnect())
    finally:
        loop.close()


@made_outside_a_loop
def test_a_communicator_may_be_created_in_set_up(
    communicator_class: CommunicatorClass,
) -> None:
    def use(cls: CommunicatorClass) -> list[str]:
        class Tests(unittest.IsolatedAsyncioTestCase):
            def setUp(self) -> None:
                self.communicator = cls(echo, "/")

            async def test(self) -> None:
                self.assertEqual(await self.communicator.connect(), (True, None))
                await self.communicator.disconnect()

        result = unittest.TestResult()
        Tests("test").run(result)
        return [text.splitlines()[-1] for _, text in result.errors + result.failures]

    assert use(communicator_class) == use(WebsocketCommunicator)
