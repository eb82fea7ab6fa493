"""``UndeliverableWarning``: what it is issued for, how often, and at which line."""

import inspect
import warnings
from contextlib import suppress

import pytest
from channels.testing import WebsocketCommunicator

from channels_closetest import UndeliverableWarning
from tests.cases import CLOSE_4000, MORE_CASES, ROWS, UNDELIVERABLE, script
from tests.events import (
    BODY,
    CLOSE_WITH_REASON,
    DENIAL,
    FRAME,
    JSON_FRAME,
    accept,
    close,
    send,
)
from tests.helpers import client, communicator_for, each_kind, line_of
from tests.scripts import Boom, Kind, scripted


async def test_only_frames_before_accept_warn() -> None:
    for name, case in UNDELIVERABLE.items():
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            communicator = communicator_for(case)
            with suppress(Boom):
                await communicator.connect()
                while not await communicator.receive_nothing(0.01):
                    await communicator.receive_output()
                await communicator.disconnect()
        expected = [UndeliverableWarning] if name == "a frame before accept" else []
        assert (name, [each.category for each in warned]) == (name, expected)
        communicator.stop(exceptions=False)


async def converse(communicator: WebsocketCommunicator) -> list[object]:
    """Make the usual calls of a test, and return their results."""
    done: list[object] = [await communicator.connect(0.05)]
    while not await communicator.receive_nothing(0.01, 0.001):
        done.append(await communicator.receive_output(0.05))
    await communicator.disconnect(timeout=0.05)
    return done


@pytest.mark.parametrize("name", [*ROWS, *MORE_CASES])
async def test_no_test_that_passes_with_the_parent_warns_or_fails(name: str) -> None:
    case = (ROWS | MORE_CASES)[name]
    application = scripted(case.script, "asgi")
    parent = WebsocketCommunicator(application, "/", subprotocols=case.subprotocols)
    try:
        done = await converse(parent)
    except BaseException:
        return  # The test fails with the parent.
    finally:
        parent.stop(exceptions=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await converse(communicator_for(case)) == done


async def test_a_frame_before_accept_warns_at_the_line_of_the_test() -> None:
    communicator = client(JSON_FRAME, JSON_FRAME, CLOSE_WITH_REASON)
    with pytest.warns(UndeliverableWarning) as warned:
        await communicator.connect()  # here
    [warning] = warned
    assert warning.filename == __file__
    assert warning.lineno == line_of("await communicator.connect()  # here", __file__)
    assert str(warning.message) == (
        'send {"type": "jwt-expired"}\n'
        "  sent before accept(): the client receives HTTP 500.\n"
        "  Call accept() first, then send, then close()."
    )


@each_kind
async def test_several_frames_before_accept_issue_one_warning_at_the_line_of_the_test(
    kind: Kind,
) -> None:
    case = script(send(text='{"type": "jwt-expired"}'), FRAME, FRAME, accept())
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with communicator_for(case, kind) as communicator:
            result, line = await communicator.connect(), line_number()
    assert result == (True, None)
    [warning] = warned
    assert warning.category is UndeliverableWarning
    assert (warning.filename, warning.lineno) == (__file__, line)
    assert str(warning.message) == (
        'send {"type": "jwt-expired"}\n'
        "  sent before accept(): the client receives HTTP 500.\n"
        "  Call accept() first, then send, then close()."
    )


def line_number() -> int:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


async def test_every_connection_issues_its_own_warning() -> None:
    for _ in range(2):
        async with communicator_for(script(FRAME, close())) as communicator:
            with pytest.warns(UndeliverableWarning):
                await communicator.connect()
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert await communicator.wait_closed() == 1000


async def test_the_warning_names_the_frame_and_not_the_denial() -> None:
    communicator = communicator_for(script(DENIAL, FRAME, BODY))
    with pytest.warns(UndeliverableWarning, match="^send hello\n"):
        assert await communicator.connect() == (False, 401)
    communicator.stop()


async def test_a_frame_after_accept_does_not_warn() -> None:
    communicator = communicator_for(script(accept(), FRAME, CLOSE_4000))
    await communicator.connect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await communicator.connect() == (False, 4000)
    assert communicator.pre_close_messages == ["hello"]
