"""Queries of the Allen Institute's API and archive, by AllenSDK's names."""
