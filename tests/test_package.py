"""The metadata of the package, and what the README and the changelog repeat of it."""

import re
from configparser import ConfigParser
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files
from itertools import product
from pathlib import Path
from pkgutil import iter_modules

import pytest
from docutils import nodes
from docutils.core import publish_doctree

import channels_closetest

ROOT = Path(__file__).parent.parent
SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def lines(section: str, option: str) -> list[str]:
    return SETUP[section][option].strip().splitlines()


def expand(name: str) -> list[str]:
    """Expand braces as tox does: ``a{b,c}`` to ``ab`` and ``ac``."""
    parts = re.split(r"\{(.*?)\}", name)
    return ["".join(choice) for choice in product(*(part.split(",") for part in parts))]


ENVIRONMENTS = [name for line in lines("tox:tox", "envlist") for name in expand(line)]
SPAN = re.findall(r"py[^\s,]+", SETUP["tox:tox"]["labels"])


def requirements_of(environment: str) -> list[str]:
    """Return the lines of ``deps`` that tox selects by the environment's factors."""
    return [
        requirement.strip()
        for line in lines("testenv", "deps")
        if not line.startswith("#")
        for condition, requirement in [line.split(":")]
        if any(
            set(factors.split("-")) <= set(environment.split("-"))
            for factors in expand(condition)
        )
    ]


def versions_in_environments(name: str) -> set[str]:
    return {
        f"{major}.{minor}"
        for environment in ENVIRONMENTS
        for major, minor in re.findall(rf"\b{name}(\d)(\d+)", environment)
    }


def versions_in_classifiers(prefix: str) -> set[str]:
    return {
        classifier.removeprefix(prefix)
        for classifier in lines("metadata", "classifiers")
        if re.fullmatch(re.escape(prefix) + r"\d+\.\d+", classifier)
    }


def versions_in_readme() -> dict[str, list[str]]:
    """Return the rows of the table of supported versions."""
    document = publish_doctree((ROOT / "README.rst").read_text())
    [section] = [
        title.parent
        for title in document.findall(nodes.title)
        if title.astext() == "Supported versions"
    ]
    return {
        row[0].astext(): re.findall(r"\d+\.\d+", row[1].astext())
        for row in section.findall(nodes.row)
    }


def oldest_versions() -> dict[str, str]:
    """Return the oldest versions that can be installed."""
    requirements = [
        "Python" + SETUP["options"]["python_requires"],
        *lines("options", "install_requires"),
    ]
    return {
        re.split(r"\W", requirement)[0].lower(): requirement.split(">=")[1]
        for requirement in requirements
    }


def test_the_version_is_written_in_setup_cfg_alone() -> None:
    written = SETUP["metadata"]["version"]
    assert version("channels-closetest") == written
    sources = [ROOT / "setup.py", *Path(str(files(channels_closetest))).glob("*.py")]
    assert [path for path in sources if written in path.read_text()] == []


def test_the_changelog_starts_with_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"\d+\.\d+\.\d+", changelog)[:1] == [SETUP["metadata"]["version"]]


def test_the_public_names_are_listed_in_order() -> None:
    assert channels_closetest.__all__ == [
        "ClientView",
        "DenialResponse",
        "Record",
        "RecordingWebsocketCommunicator",
        "Transcript",
        "Undeliverable",
        "UndeliverableWarning",
    ]
    for name in channels_closetest.__all__:
        assert getattr(channels_closetest, name).__name__ == name


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Recorder'"):
        channels_closetest.Recorder  # type: ignore[attr-defined]


def test_every_module_can_be_imported() -> None:
    for module in iter_modules(channels_closetest.__path__):
        import_module(f"channels_closetest.{module.name}")


def test_type_checkers_find_the_marker_of_a_typed_package() -> None:
    assert (files(channels_closetest) / "py.typed").is_file()


@pytest.mark.parametrize(
    ("name", "factor"),
    [("Python", "py"), ("Channels", "channels"), ("Django", "django")],
)
def test_the_readme_names_the_versions_that_are_tested(name: str, factor: str) -> None:
    tested = versions_in_environments(factor)
    assert set(versions_in_readme()[name]) == tested


def test_the_readme_names_the_oldest_versions_that_can_be_installed() -> None:
    oldest = {name.lower(): row[0] for name, row in versions_in_readme().items()}
    assert oldest == oldest_versions()


def test_the_readme_begins_with_the_description_and_the_oldest_versions() -> None:
    document = publish_doctree((ROOT / "README.rst").read_text())
    beginning = next(iter(document.findall(nodes.paragraph))).astext()
    assert " ".join(beginning.split()).startswith(SETUP["metadata"]["description"])
    named = {
        name.lower(): version
        for name, version in re.findall(r"(\w+) (\d+\.\d+)", beginning)
    }
    assert named == {
        name: version for name, version in oldest_versions().items() if name in named
    }
    assert set(named) == {"python", "channels", "django"}


@pytest.mark.parametrize(
    ("prefix", "factor"),
    [
        ("Programming Language :: Python :: ", "py"),
        ("Framework :: Django :: ", "django"),
    ],
)
def test_the_classifiers_name_the_versions_that_are_tested(
    prefix: str, factor: str
) -> None:
    assert versions_in_classifiers(prefix) == versions_in_environments(factor)


def test_every_environment_installs_the_versions_in_its_name() -> None:
    for environment in ENVIRONMENTS:
        _, channels, django, asgiref = environment.split("-")
        named = [
            f"channels[daphne]~={channels[-2]}.{channels[-1]}.0",
            f"Django~={django[-2]}.{django[-1]}.0",
            *(["asgiref"] if asgiref == "asgirefold" else []),
        ]
        installed = [line.split("==")[0] for line in requirements_of(environment)]
        assert (environment, installed) == (environment, named)


def test_the_span_contains_every_version_and_both_ends() -> None:
    assert set(SPAN) <= set(ENVIRONMENTS)
    assert {ENVIRONMENTS[0], ENVIRONMENTS[-1]} <= set(SPAN)

    def factors(environments: list[str]) -> set[str]:
        return {factor for name in environments for factor in name.split("-")}

    assert factors(SPAN) == factors(ENVIRONMENTS)
