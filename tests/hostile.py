"""What an application may send, and what nothing can be done with but to hold it."""

from typing import Any


class Hostile:
    def refuse(self, *args: object) -> Any:
        raise RuntimeError("hostile")

    __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = refuse
    __eq__ = __hash__ = __lt__ = refuse
    __repr__ = __str__ = __format__ = __bytes__ = __int__ = __index__ = refuse
    __copy__ = __deepcopy__ = __reduce__ = __reduce_ex__ = refuse


class UnhashableText(str):
    __hash__ = None  # type: ignore[assignment]


HOSTILE = Hostile()
NESTED = "[" * 100_000 + "]" * 100_000
