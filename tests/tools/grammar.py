"""Random programs for ``tests.tools.driver``, and smaller ones."""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from tests.tools.programs import Program

#: What may stand for each word in angle brackets; with a star, several of it.
GRAMMAR: dict[str, Sequence[Any] | Callable[[Random], Any]] = {
    # Times at which hardly anything else happens.
    "<seconds>": lambda random: random.randint(1, 3999) / 1000,
    "<timeout>": (0, "<seconds>", "<seconds>", 60),
    "<digit>": "0123456789",
    # What an application does, without and with waiting.
    "<frame>": (("send", "text", "<digit>"),),
    "<say>": (
        *["<frame>"] * 20,
        *[("log", "<digit>")] * 4,
        *[("close", "code", 1000), ("close", "code", 4001)] * 2,
        *[("raise", "boom")] * 2,
        *[("cancelled",)] * 2,
        *(("no event", it) for it in ({"type": "odd"}, {}, None, "text")),
    ),
    "<do>": (
        *["<say>"] * 9,
        *[("sleep", "<seconds>")] * 2,
        ("sleep", 0),
        ("spawn", "<do>*"),
        ("spawn", ("sleep", "<seconds>"), "<do>*"),
        ("soon", "<say>"),
        ("gather", "<do>*"),
        ("wait_for", "<seconds>", ("sleep", "<seconds>"), "<do>*"),
        ("anyio", "<do>*"),
        ("thread",),
        ("suppress", ("sleep", 50), "<do>*"),
        ("finally", "<say>", ("sleep", "<seconds>"), "<do>*"),
    ),
    "<first>": (*[("accept",)] * 9, "<say>"),
    "<open>": (
        ("asgi", (("receive",), "<first>", "<do>*"), "<how>"),
        ("asgi", (("receive",), "<first>", "<do>*", ("echo",), "<do>*"), "<how>"),
        ("async", ("<first>", "<do>*", ("echo",), "<do>*"), "<how>"),
        ("async", ("<do>*", "<first>", "<do>*", ("echo",)), "<how>"),
    ),
    #: What becomes of the communicator's own calls.
    "<how>": (*["unchanged"] * 6, "overridden", "mocked"),
    # What a test does: calls of the communicator, and the rest.
    "<call>": (
        *[("receive_output", "<name>", "<timeout>")] * 4,
        ("receive_from", "<name>", "<timeout>"),
        ("receive_json_from", "<name>", "<timeout>"),
        ("receive_nothing", "<name>", 0.1, 0.01),
        ("receive_nothing", "<name>", "<timeout>", "<interval>"),
        ("receive_nothing", "<name>", 0, 0),
        ("receive_nothing", "<name>", -1, 1),
        ("send_to", "<name>", "<digit>"),
        ("send_json_to", "<name>", "<digit>"),
        ("send_input", "<name>", {"type": "odd"}),
        ("send_input", "<name>", {}),
        ("send_input", "<name>", {"type": "websocket.disconnect", "code": 1001}),
        ("disconnect", "<name>", 1000, "<timeout>"),
        ("wait", "<name>", "<timeout>"),
        ("stop", "<name>"),
        ("stop", "<name>", False),
        ("connect", "<name>", "<timeout>"),
        ("future", "<name>"),
        ("future.cancel", "<name>"),
        ("output_queue.get_nowait", "<name>"),
        ("input_queue.put_nowait", "<name>", {"type": "websocket.receive"}),
    ),
    "<interval>": (0.05, 0.25, 1.5, 3),
    "<task>": "ab",
    "<wait>": (
        *["<call>"] * 6,
        ("task", "<task>", "<call>"),
        ("wait_for", "<timeout>", "<call>"),
        ("wait_for", "<timeout>", ("output_queue.get", "<name>")),
        ("gather", "<call>", "<call>"),
    ),
    "<test>": (
        *["<call>"] * 16,
        *[("task", "<task>", "<wait>")] * 4,
        *[("join", "<task>"), ("cancel", "<task>")] * 2,
        ("wait_for", "<timeout>", "<wait>"),
        ("gather", "<wait>", "<wait>"),
        ("sleep", "<seconds>"),
        ("sleep", 0),
        ("drop", "<name>"),
        *[("drop", "<name>", "and collect")] * 3,
        ("cycle", "<name>"),
    ),
}


def generate(seed: object) -> Program:
    """Return a random program. Equal seeds make equal programs."""
    random = Random(str(seed))
    names = random.choice(((0,), (0,), (0, 1)))

    def fill(word: Any, depth: int = 0) -> Any:
        if isinstance(word, tuple):
            parts: list[Any] = []
            for part in word:
                starred = isinstance(part, str) and part.endswith("*")
                times = random.randint(0, max(0, 4 - depth)) if starred else 1
                part, deeper = (part[:-1], 1) if starred else (part, 0)
                parts += (fill(part, depth + deeper) for _ in range(times))
            return tuple(parts)
        if word == "<name>":
            return random.choice(names)
        if not isinstance(word, str) or word not in GRAMMAR:
            return word
        rule = GRAMMAR[word]
        return fill(rule(random) if callable(rule) else random.choice(rule), depth)

    opened = [("open", name, *fill("<open>")) for name in names]
    connected = [("connect", name, 60) for name in names if random.random() < 0.9]
    return (*opened, *connected, *fill(("<test>*", "<test>*")))


def is_step(part: object) -> bool:
    return isinstance(part, tuple) and part != () and isinstance(part[0], str)


def smaller(steps: Any) -> Iterator[Any]:
    """Yield programs, or steps within a step, from which something is gone."""
    for number, step in enumerate(steps):
        before, after = steps[:number], steps[number + 1 :]
        if is_step(step):
            yield (*before, *after)
            yield from ((*before, part, *after) for part in step if is_step(part))
        if isinstance(step, tuple):
            yield from ((*before, part, *after) for part in smaller(step))
