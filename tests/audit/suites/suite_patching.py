"""A suite that puts a class of its own in the place of ``WebsocketCommunicator``."""

import inspect
from typing import Any
from unittest import mock

import channels.testing
from channels.testing import WebsocketCommunicator
from django.test import SimpleTestCase

from tests.audit.suites.consumers import Rejecting


class Own(WebsocketCommunicator):
    async def connect(self, timeout: float = 1) -> Any:
        return "own", await super().connect(timeout)


def make() -> Any:
    return channels.testing.WebsocketCommunicator(Rejecting.as_asgi(), "/")


class PatchingTests(SimpleTestCase):
    async def test_patch_the_class(self) -> None:
        with mock.patch("channels.testing.WebsocketCommunicator", Own):
            response = await make().connect()  # -> close 4401
        self.assertEqual(response, ("own", (False, 4401)))
        response = await make().connect()  # -> close 4401
        self.assertEqual(response, (False, 4401))

    async def test_patch_a_method(self) -> None:
        with mock.patch.object(WebsocketCommunicator, "connect") as connect:
            await make().connect()
        connect.assert_awaited_once()

    async def test_spy_on_a_method(self) -> None:
        communicator = make()
        receive_output = communicator.receive_output
        with mock.patch.object(communicator, "receive_output", wraps=receive_output):
            await communicator.connect()  # -> close 4401

    async def test_methods_are_coroutine_functions(self) -> None:
        # pytest-mock asks before it makes a spy.
        self.assertTrue(inspect.iscoroutinefunction(make().connect))

    async def test_patch_what_the_command_needs(self) -> None:
        with mock.patch("builtins.open") as open_, mock.patch("json.dumps") as dumps:
            await make().connect()  # -> close 4401
        open_.assert_not_called()
        dumps.assert_not_called()

    async def test_autospec(self) -> None:
        double = mock.create_autospec(WebsocketCommunicator)
        await double(Rejecting.as_asgi(), "/").connect()
        double.return_value.connect.assert_awaited_once()
