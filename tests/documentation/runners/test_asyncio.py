"""
On its own, because Django cannot run it in parallel: an
``IsolatedAsyncioTestCase`` cannot be pickled.
"""

import unittest

from tests.documentation.runners.conversations import Conversations


class IsolatedAsyncioTests(Conversations, unittest.IsolatedAsyncioTestCase):
    pass
