"""The subclasses that public test suites define work with both classes."""

import asyncio
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from asgiref.typing import ASGI3Application
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE, JSON_FRAME
from tests.helpers import SHORT, CommunicatorClass, both_classes
from tests.parent.applications import connected, echo, scope_reader, sending
from tests.scripts import Boom


@both_classes
async def test_a_subclass_that_reads_queue_and_future_itself(
    communicator_class: CommunicatorClass,
) -> None:
    """A timeout of its calls does not cancel the application."""

    class Patient(communicator_class):  # type: ignore[misc, valid-type]
        async def receive_output(self, timeout: float = 1) -> Any:
            if self.future.done():
                self.future.result()
            try:
                return await asyncio.wait_for(self.output_queue.get(), timeout)
            except TimeoutError:
                if self.future.done():
                    self.future.result()
                raise

    communicator = await connected(Patient)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await communicator.receive_from(SHORT)
    await communicator.send_to("text")
    assert await communicator.receive_from() == "text"
    await communicator.send_json_to([])
    assert await communicator.receive_json_from() == []
    assert not communicator.future.done()
    await communicator.disconnect()

    rejected = Patient(sending(CLOSE, ending="return"), "/")
    assert await rejected.connect() == (False, 4401)
    crashed = Patient(sending(ending="raise"), "/")
    with pytest.raises(Boom):
        await crashed.connect(SHORT)


@both_classes
@pytest.mark.parametrize("how", ["super", "by name"])
async def test_a_subclass_that_skips_the_constructor(
    communicator_class: CommunicatorClass, how: str
) -> None:
    class Skipping(communicator_class):  # type: ignore[misc, valid-type]
        def __init__(self, application: ASGI3Application, **scope: object) -> None:
            self.scope = {"type": "websocket", "path": "/", **scope}
            if how == "super":
                # The parent of what the module calls WebsocketCommunicator.
                base: Any = communicator_class
                super(base, self).__init__(application, self.scope)
            else:
                init: Any = ApplicationCommunicator.__init__
                init(self, application, self.scope)

    communicator = Skipping(scope_reader, user="Ada")
    assert await communicator.connect() == (True, "Ada")
    assert communicator.response_headers == []
    await communicator.disconnect()
    rejected = Skipping(sending(CLOSE))
    assert await rejected.connect() == (False, 4401)
    await rejected.disconnect()


#: Names of attributes that suites add, and the names that this package adds, except
#: "strict", which users assign.
OWN_NAMES = sorted(
    {
        *("connected", "_connected", "timeout", "closed", "messages", "events", "log"),
        *("transcript", "close_code", "state"),
        *(
            name
            for name in vars(RecordingWebsocketCommunicator)
            if not name.startswith("_") and not hasattr(WebsocketCommunicator, name)
        ),
    }
    # Instances of the parent have these.
    - {"future", "input_queue", "output_queue", "strict"}
)


@both_classes
@pytest.mark.parametrize("name", OWN_NAMES)
@pytest.mark.parametrize("when", ["before __init__()", "after it", "when connected"])
async def test_a_subclass_assigns_attributes_of_its_own(
    communicator_class: CommunicatorClass, name: str, when: str
) -> None:
    class Own(communicator_class):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if when == "before __init__()":
                setattr(self, name, own)
            super().__init__(*args, **kwargs)
            if when == "after it":
                setattr(self, name, own)

    own = object()
    communicator = await connected(Own, sending(ACCEPT, CLOSE, JSON_FRAME))
    if when == "when connected":
        setattr(communicator, name, own)
    assert await communicator.receive_output() == CLOSE
    assert await communicator.receive_json_from() == {"type": "jwt-expired"}
    assert getattr(communicator, name) is own
    with pytest.raises(TimeoutError):
        await communicator.receive_output(SHORT)
    if isinstance(communicator, RecordingWebsocketCommunicator):
        others = {"close_code": 4401, "pre_close_messages": [], "close_reason": ""}
        others.pop(name, None)
        assert {other: getattr(communicator, other) for other in others} == others


@both_classes
async def test_a_subclass_that_is_a_context_manager(
    communicator_class: CommunicatorClass,
) -> None:
    class Connected(communicator_class):  # type: ignore[misc, valid-type]
        async def __aenter__(self) -> Any:
            self.result = await self.connect()
            return self

        async def __aexit__(self, *exception: object) -> None:
            await self.disconnect(code=1000)
            self.result = None

    async with Connected(echo, "/") as communicator:
        assert communicator.result == (True, None)
        await communicator.send_to("text")
        assert await communicator.receive_from() == "text"
    assert communicator.result is None
    assert communicator.future.done()
