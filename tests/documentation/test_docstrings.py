"""What an editor shows of the public names."""

import ast
import inspect

import pytest
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator, application
from channels_closetest import communicator as module

METHODS = sorted(
    name
    for name, member in inspect.getmembers(RecordingWebsocketCommunicator)
    if inspect.isfunction(member) and not name.startswith("_")
)
ATTRIBUTES = {
    "timeout_factor": application.RecordingApplicationCommunicator,
    "servers": application.RecordingApplicationCommunicator,
    "strict": application.RecordingApplicationCommunicator,
    "scope": module.RecordingWebsocketCommunicator,
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_docstring_of_its_own(name: str) -> None:
    method = getattr(RecordingWebsocketCommunicator, name)
    of_parent = getattr(getattr(WebsocketCommunicator, name, None), "__doc__", None)
    assert method.__doc__ != of_parent
    summary, *_ = method.__doc__.splitlines()
    assert summary.endswith((".", ":"))
    assert method.__name__ == name
    assert method.__module__.startswith("channels_closetest.")


def test_the_methods_are_those_of_the_parent_and_two_more() -> None:
    of_parent = {
        name
        for name, member in inspect.getmembers(WebsocketCommunicator)
        if inspect.isfunction(member) and not name.startswith("_")
    }
    assert set(METHODS) - of_parent == {"receive_until", "wait_closed"}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_has_a_docstring_where_editors_look_for_it(name: str) -> None:
    [definition] = ast.parse(inspect.getsource(ATTRIBUTES[name])).body
    assert isinstance(definition, ast.ClassDef)
    following = dict(zip(definition.body, definition.body[1:]))
    [docstring] = [
        following[statement]
        for statement in definition.body
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and statement.target.id == name
    ]
    assert isinstance(docstring, ast.Expr)
    assert isinstance(docstring.value, ast.Constant)
    assert isinstance(docstring.value.value, str)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_without_a_body_is_replaced(name: str) -> None:
    """Its declaration returns None, whatever its implementation returns."""
    method = getattr(RecordingWebsocketCommunicator, name)
    if inspect.iscoroutinefunction(method) and hasattr(method, "__wrapped__"):
        assert method.__code__ is not method.__wrapped__.__code__
