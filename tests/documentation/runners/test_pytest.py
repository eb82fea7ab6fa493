import pytest

from tests.documentation.runners.test_django import DatabaseConversations


@pytest.mark.django_db(transaction=True)
class TestConversations(DatabaseConversations):
    pass
