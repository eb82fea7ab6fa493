"""What every kind of test case must be able to do."""

import warnings

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from channels_closetest import RecordingWebsocketCommunicator, UndeliverableWarning


class Echo(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: object, **kwargs: object) -> None:
        await self.send_json(content)


class Refusal(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.send_json({"type": "jwt-expired"})
        await self.close(4401)


class Conversations:
    async def test_a_client_is_connected(self) -> None:
        communicator = RecordingWebsocketCommunicator(Echo.as_asgi(), "/")
        assert await communicator.connect() == (True, None)
        await communicator.send_json_to(["hello"])
        assert await communicator.receive_json_from() == ["hello"]
        await communicator.disconnect()

    async def test_a_client_is_refused(self) -> None:
        communicator = RecordingWebsocketCommunicator(Refusal.as_asgi(), "/")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndeliverableWarning)
            assert await communicator.connect() == (False, 4401)
        assert communicator.pre_close_messages == [{"type": "jwt-expired"}]
        assert communicator.close_code == 4401
