"""The metadata of the package, and what the README and the changelog repeat of it."""

import re
from configparser import ConfigParser
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.resources import files
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import channels_closetest

ROOT = Path(__file__).parents[2]
SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def lines(section: str, option: str) -> list[str]:
    return SETUP[section][option].strip().splitlines()


ENVIRONMENTS = re.split(r",\s*", SETUP["tox:tox"]["envlist"])
#: The versions that the row of the oldest versions installs.
OLDEST = {
    name.lower(): version
    for name, version in re.findall(r"(\S+)==(\S+)", SETUP["testenv"]["commands_pre"])
}
PINS = [
    Requirement(line)
    for line in (ROOT / "tests" / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
]


@cache
def readme() -> nodes.document:
    return publish_doctree((ROOT / "README.rst").read_text())


def version_in(pin: Requirement) -> str:
    [specifier] = pin.specifier
    assert specifier.operator == "=="
    return specifier.version


def minor_of(version: str) -> str:
    return ".".join(version.split(".")[:2])


def pinned_versions(name: str) -> list[str]:
    return [version_in(pin) for pin in PINS if pin.name.lower() == name.lower()]


def versions_in_matrix(name: str) -> set[str]:
    if name == "Python":
        return {f"{it[2]}.{it[3:5]}" for it in ENVIRONMENTS}
    return set(map(minor_of, [OLDEST[name.lower()], *pinned_versions(name)]))


def versions_in_classifiers(prefix: str) -> set[str]:
    return {
        classifier.removeprefix(prefix)
        for classifier in lines("metadata", "classifiers")
        if re.fullmatch(re.escape(prefix) + r"\d+\.\d+", classifier)
    }


def versions_in_readme() -> dict[str, list[str]]:
    """Return the list of supported versions."""
    items = [item.astext() for item in readme().findall(nodes.list_item)]
    lines = filter(None, (re.fullmatch(r"(\w+): (\d.*)", item) for item in items))
    return {line[1]: re.findall(r"\d+\.\d+", line[2]) for line in lines}


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


def test_the_version_is_in_setup_cfg_and_at_the_start_of_the_changelog_alone() -> None:
    written = SETUP["metadata"]["version"]
    assert version("channels-closetest") == written
    sources = [ROOT / "setup.py", *Path(str(files(channels_closetest))).glob("*.py")]
    assert [path for path in sources if written in path.read_text()] == []
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"\d+\.\d+\.\d+", changelog)[:1] == [written]


def test_the_public_names_are_listed_in_order() -> None:
    assert channels_closetest.__all__ == [
        "ClientView",
        "DenialResponse",
        "Place",
        "Record",
        "RecordingWebsocketCommunicator",
        "Transcript",
        "Undeliverable",
        "UndeliverableWarning",
    ]
    for name in channels_closetest.__all__:
        assert getattr(channels_closetest, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Recorder'"):
        channels_closetest.Recorder  # type: ignore[attr-defined]


def test_type_checkers_find_the_marker_of_a_typed_package() -> None:
    assert (files(channels_closetest) / "py.typed").is_file()


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("Python", "Programming Language :: Python :: "),
        ("Django", "Framework :: Django :: "),
        ("Channels", ""),  # of which there are no classifiers
    ],
)
def test_the_readme_and_the_classifiers_name_the_versions_that_are_tested(
    name: str, prefix: str
) -> None:
    tested = versions_in_matrix(name)
    assert set(versions_in_readme()[name]) == tested
    assert not prefix or versions_in_classifiers(prefix) == tested


def test_the_readme_names_the_oldest_versions_that_can_be_installed() -> None:
    oldest = {name.lower(): row[0] for name, row in versions_in_readme().items()}
    assert oldest == oldest_versions()


def test_the_readme_begins_with_the_description() -> None:
    beginning = next(iter(readme().findall(nodes.paragraph))).astext()
    assert " ".join(beginning.split()) == SETUP["metadata"]["description"]


def test_the_oldest_versions_that_can_be_installed_are_tested() -> None:
    oldest = {name: minor_of(version) for name, version in OLDEST.items()}
    assert oldest | {"python": min(versions_in_matrix("Python"))} == oldest_versions()


def test_the_tables_hold_for_the_servers_that_are_pinned() -> None:
    tables = files(channels_closetest) / "servers" / "README.rst"
    [named] = re.findall(r"The tables hold for(.*?):", tables.read_text(), re.DOTALL)
    versions = dict(re.findall(r"(\w+) (\d[\d.]*\d)", named))
    assert versions.keys() == {"Daphne", "Uvicorn", "Hypercorn"}
    for name, number in versions.items():
        assert (name, [number]) == (name, pinned_versions(name))


def installed_for(requirement: Requirement, seen: set[str]) -> set[str]:
    """Return the names of what is installed for a requirement, and its own."""
    try:
        needed = map(Requirement, requires(requirement.name) or [])
    except PackageNotFoundError:
        # One of the checks, which the tests do not need, or for another system.
        return set()
    if str(requirement) in seen:
        return set()
    seen.add(str(requirement))
    names: set[str] = {canonicalize_name(requirement.name)}
    for it in needed:
        extras = requirement.extras or {""}
        if not it.marker or any(it.marker.evaluate({"extra": x}) for x in extras):
            names |= installed_for(it, seen)
    return names


def test_what_is_installed_for_the_tests_and_the_checks_is_pinned() -> None:
    package = Requirement("channels-closetest[tests,checks]")
    pinned = {
        canonicalize_name(pin.name)
        for pin in PINS
        if version_in(pin) and (pin.marker is None or pin.marker.evaluate())
    }
    assert installed_for(package, set()) - pinned == {package.name}
