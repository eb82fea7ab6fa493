"""The class has the parent's attributes and signatures, its constructor's too."""

import inspect
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock, create_autospec, patch

import pytest
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.helpers import CommunicatorClass, both_classes
from tests.parent.applications import connected, echo
from tests.steps import Outcome, Step, perform_step


def public(cls: type) -> dict[str, object]:
    return {name: getattr(cls, name) for name in dir(cls) if not name.startswith("_")}


def arguments(function: Callable[..., object]) -> list[tuple[str, object, object]]:
    parameters = inspect.signature(function).parameters.values()
    return [(it.name, it.kind, it.default) for it in parameters]


def test_the_class_takes_the_same_arguments() -> None:
    ours = arguments(RecordingWebsocketCommunicator)
    assert ours == arguments(WebsocketCommunicator)


@pytest.mark.parametrize("name", ["__init__", *public(WebsocketCommunicator)])
def test_every_method_takes_the_same_arguments(name: str) -> None:
    parent = getattr(WebsocketCommunicator, name)
    ours = getattr(RecordingWebsocketCommunicator, name)
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(parent)
    assert isinstance(ours, property) == isinstance(parent, property)
    if not isinstance(parent, property):
        assert arguments(ours) == arguments(parent)


async def test_every_attribute_of_the_parent_exists() -> None:
    parent = WebsocketCommunicator(echo, "/")
    ours = RecordingWebsocketCommunicator(echo, "/")
    assert set(dir(parent)) - set(dir(ours)) == set()
    for name in ("application", "scope", "response_headers"):
        assert getattr(ours, name) == getattr(parent, name)
    parent.stop()
    ours.stop()


@both_classes
async def test_the_class_and_its_methods_can_be_mocked(
    communicator_class: CommunicatorClass,
) -> None:
    mock = create_autospec(communicator_class)(None, "/")
    for name, member in public(WebsocketCommunicator).items():
        is_awaitable = inspect.iscoroutinefunction(member)
        assert isinstance(getattr(mock, name), AsyncMock) is is_awaitable
        if is_awaitable:
            with pytest.raises(TypeError):
                getattr(mock, name)(1, 2, 3, 4)
    await mock.connect(5)
    mock.connect.assert_awaited_once_with(timeout=5)
    with patch.object(communicator_class, "connect", return_value=(False, 4403)):
        assert await communicator_class(echo, "/").connect() == (False, 4403)
    await (await connected(communicator_class)).disconnect()


def construct(args: list[object], **kwargs: object) -> Step:
    def step(cls: Any) -> object:
        communicator = cls(*args, **kwargs)
        communicator.stop()
        return communicator.scope

    return step


async def assert_same_construction(step: Step) -> Outcome:
    parent, ours = [
        await perform_step(step, cls)
        for cls in (WebsocketCommunicator, RecordingWebsocketCommunicator)
    ]
    assert ours == parent
    return parent


@pytest.mark.parametrize(
    "step",
    [
        construct([echo, "/"]),
        construct([echo, "/ws/%E2%82%AC/?a=1&b=%20#fragment"]),
        construct([echo, "ws://user:pass@example.com:8080/ws/?a=1"]),
        construct([echo, "/", [(b"origin", b"http://a")], ["chat"], 3]),
        construct([echo, "/", None, None, 0]),
        construct([], application=echo, path="/", subprotocols=["chat"]),
    ],
)
async def test_the_constructor_makes_the_same_scope(step: Step) -> None:
    assert (await assert_same_construction(step)).returned


# The parent's __del__() raises if its constructor has failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "step",
    [
        construct([]),
        construct([echo]),
        construct([echo, None]),
        construct([echo, b"/"]),
        construct([echo, "/", [], [], 2, "too many"]),
        construct([echo, "/"], timeout=1),
        lambda cls: cls(5, "/").connect(),
    ],
)
async def test_the_constructor_raises_the_same(step: Step) -> None:
    assert (await assert_same_construction(step)).raised
