"""
On its own, because Django cannot run it in parallel: since Python 3.11, an
``IsolatedAsyncioTestCase`` cannot be pickled.
"""

import unittest

from tests.runners.conversations import Conversations


class IsolatedAsyncioTests(Conversations, unittest.IsolatedAsyncioTestCase):
    pass
