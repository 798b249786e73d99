"""Plugin of pytest: in CI no test is skipped but for the few reasons that are listed here."""

import os
from collections.abc import Generator
from typing import Any, TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

# What a skip may say in CI, and why it may.
ALLOWED = {
    "set REFSPACE_CCF_DATA": "the real annotation is not part of the project",
    "may not mount": "a container may lack the right to make a small disk",
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report of a test: a failure if it was skipped."""
    return failed_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Report of a module: a failure if all of it was skipped."""
    return failed_if_skipped((yield))


def failed_if_skipped(report: Report) -> Report:
    """The same report; a failure if it is of a skip that CI does not allow."""
    is_expected_failure = hasattr(report, "wasxfail")
    if os.environ.get("CI") and report.skipped and not is_expected_failure:
        reason = _reason(report.longrepr)
        if not any(text in reason for text in ALLOWED):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI, where nothing is missing: {reason}"
    return report


def _reason(skip: Any) -> str:
    """What a skip says: the last of file, line and text."""
    return str(skip[-1] if isinstance(skip, tuple) else skip)
