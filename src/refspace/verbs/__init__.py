"""Verbs: plain functions whose first argument is a space, bound by `ReferenceSpace`."""
