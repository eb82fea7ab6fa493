"""Findings of every kind. The comments are as in ``suite_imports.py``."""

import asyncio

from channels.testing import WebsocketCommunicator
from django.test import SimpleTestCase

from tests.audit.suites.consumers import Accepting, Closing, Rejecting, Speaking


class FindingTests(SimpleTestCase):
    async def test_everything_is_lost_on_every_server(self) -> None:
        communicator = WebsocketCommunicator(Speaking.as_asgi(), "/")
        await communicator.connect()  # -> send "jwt-expired"

    async def test_everything_is_lost_on_some_servers(self) -> None:
        communicator = WebsocketCommunicator(Closing.as_asgi(), "/")
        await communicator.connect()
        await communicator.send_json_to(None)
        await communicator.receive_from()  # -> send '' and close 4000 done

    async def test_a_part_is_lost(self) -> None:
        communicator = WebsocketCommunicator(Accepting.as_asgi(), "/")
        await communicator.connect()  # -> accept headers [(b'x-version', b'1')]
        await communicator.disconnect()

    async def test_no_client_can_send_it(self) -> None:
        communicator = WebsocketCommunicator(Accepting.as_asgi(), "/")
        await communicator.connect()  # -> accept headers [(b'x-version', b'1')]
        await communicator.disconnect()
        communicator = WebsocketCommunicator(Accepting.as_asgi(), "/")
        await communicator.send_to("too early")  # -> receive too early

    async def test_two_communicators(self) -> None:
        first = WebsocketCommunicator(Rejecting.as_asgi(), "/")
        second = WebsocketCommunicator(Rejecting.as_asgi(), "/")
        calls = [
            first.connect(),  # -> close 4401
            second.connect(),  # -> close 4401
        ]
        await asyncio.gather(*calls)
