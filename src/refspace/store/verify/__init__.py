"""Verifies stores: proof that every file of a store is as it was written."""

from refspace.store.report import Fault, Report
from refspace.store.verify.verifying import verify_store

__all__ = ["Fault", "Report", "verify_store"]
