"""``running_tasks``, and the tasks that outlive the application in the transcript."""

import asyncio
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer

from channels_closetest import RecordingWebsocketCommunicator
from tests.calls.timing import in_virtual_time, turns
from tests.helpers import line_of, readable


class Starting(AsyncWebsocketConsumer):
    """Starts tasks, and forgets them."""

    async def connect(self) -> None:
        await self.accept()
        for work in (self.wait, self.wait_once, self.finish, self.wait):
            asyncio.create_task(work())

    async def wait(self) -> None:
        # A timer, by which the event loop keeps a task alive that nobody else holds.
        await asyncio.sleep(500)

    async def wait_once(self) -> None:
        await asyncio.sleep(0)

    async def finish(self) -> None:
        pass


STILL_RUNNING = (
    "still running: Starting.wait(), tests/calls/test_running_tasks.py:"
    f"{line_of('async def wait(self) -> None:', __file__)}\n"
)


def names(tasks: list[asyncio.Task[Any]]) -> list[str]:
    return [getattr(task.get_coro(), "__name__", "") for task in tasks]


@in_virtual_time
async def test_tasks_that_outlive_the_application_are_named_and_not_cancelled() -> None:
    async with RecordingWebsocketCommunicator(Starting.as_asgi(), "/") as communicator:
        await communicator.connect()
        await turns(5)
        assert names(communicator.running_tasks) == ["wait", "wait"]
        # They are named when the application has ended.
        assert "still running" not in str(communicator.transcript)
    tasks = communicator.running_tasks
    assert set(tasks) == asyncio.all_tasks() - {asyncio.current_task()}
    assert not any(task.cancelling() for task in tasks)
    assert readable(communicator.transcript).count(STILL_RUNNING) == 2
    await asyncio.wait(tasks)
    assert communicator.running_tasks == []
    assert "still running" not in str(communicator.transcript)


@in_virtual_time
async def test_of_many_tasks_the_last_100_are_known() -> None:
    started = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        for number in range(150):
            started.append(asyncio.create_task(asyncio.sleep(number % 2)))
        await receive()
        await receive()

    communicator = RecordingWebsocketCommunicator(application, "/")
    await communicator.send_input({"type": "websocket.connect"})
    await turns(1)
    assert communicator.running_tasks == started[-100:]
    await asyncio.sleep(0.5)
    assert communicator.running_tasks == started[-99::2]
