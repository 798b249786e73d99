"""Manifests, by AllenSDK's names."""
