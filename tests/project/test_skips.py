"""In CI a test that is skipped fails, unless its reason is one of the few that are allowed."""

import pytest
from helpers.skips import ALLOWED

SKIPS = """
import pytest

@pytest.fixture
def server():
    pytest.skip("the server is not installed")

def test_at_the_server(server):
    pass

@pytest.mark.skipif(True, reason="there is no data")
def test_of_data():
    pass

def test_that_finds_out():
    pytest.skip("it is too late")

@pytest.mark.xfail(reason="as is known")
def test_that_is_known_to_fail():
    assert False

def test_that_passes():
    pass
"""


@pytest.fixture
def skipping(pytester: pytest.Pytester) -> pytest.Pytester:
    """Folder of one module, whose tests are skipped for several reasons."""
    pytester.makepyfile(test_it=SKIPS)
    return pytester


def outcomes(pytester: pytest.Pytester) -> dict[str, int]:
    result = pytester.runpytest_inprocess("-p", "helpers.skips", "-p", "no:cacheprovider", "-n0")
    return result.parseoutcomes()


def test_elsewhere_tests_may_be_skipped(
    skipping: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert outcomes(skipping) == {"passed": 1, "skipped": 3, "xfailed": 1}


def test_in_ci_a_skip_is_a_failure(
    skipping: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", "true")
    # pytest calls it an error where the test had not begun.
    assert outcomes(skipping) == {"passed": 1, "failed": 1, "errors": 2, "xfailed": 1}
    printed = capsys.readouterr().out
    for reason in ("the server is not installed", "there is no data", "it is too late"):
        assert f"skipped in CI, where nothing is missing: Skipped: {reason}" in printed


def test_in_ci_a_module_that_is_skipped_is_a_failure(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    pytester.makepyfile(test_it='import pytest; pytest.importorskip("no_such_package")')
    assert outcomes(pytester) == {"errors": 1}


@pytest.mark.parametrize("reason", ALLOWED)
def test_reasons_that_are_allowed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setenv("CI", "true")
    pytester.makepyfile(
        test_it=f"import pytest\ndef test_it(): pytest.skip({reason + ' to a folder'!r})"
    )
    assert outcomes(pytester) == {"skipped": 1}


def test_few_reasons_are_allowed() -> None:
    assert len(ALLOWED) <= 3
    assert all(ALLOWED.values())
