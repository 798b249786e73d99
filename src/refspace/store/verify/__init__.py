"""Proving that the readers of a store get what was written, from every file of it."""

from refspace.store.report import Fault, Report
from refspace.store.verify.verifying import verify_store

__all__ = ["Fault", "Report", "verify_store"]
