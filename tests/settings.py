"""Django's settings for the tests."""

import os
import tempfile
import uuid

SECRET_KEY = "for tests only"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "channels",
    "tests",
]
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

DATABASES: dict[str, dict[str, object]]
if os.environ.get("CLOSETEST_DATABASE") == "postgresql":
    # PGHOST, PGPORT and PGUSER say where it is.
    DATABASES = {
        "default": {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres"}
    }
else:
    # A file, since Django never closes an in-memory database, which would hide that a
    # test's connection was closed. Of its own name, so that runs side by side do not
    # share it. Django removes it.
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": ":memory:",
            "TEST": {"NAME": f"{tempfile.gettempdir()}/{uuid.uuid4().hex}.sqlite3"},
        }
    }
