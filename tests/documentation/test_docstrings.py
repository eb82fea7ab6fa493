"""What an editor shows of the public names."""

import ast
import inspect
import itertools

import pytest
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator, application
from channels_closetest import communicator as module


def methods(cls: type) -> set[str]:
    members = inspect.getmembers(cls, inspect.isfunction)
    return {name for name, _ in members if not name.startswith("_")}


METHODS = sorted(methods(RecordingWebsocketCommunicator))
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


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_has_a_docstring_where_editors_look_for_it(name: str) -> None:
    [definition] = ast.parse(inspect.getsource(ATTRIBUTES[name])).body
    assert isinstance(definition, ast.ClassDef)
    [docstring] = [
        after
        for statement, after in itertools.pairwise(definition.body)
        if isinstance(statement, ast.AnnAssign)
        and ast.unparse(statement.target) == name
    ]
    assert isinstance(ast.literal_eval(ast.unparse(docstring)), str)
