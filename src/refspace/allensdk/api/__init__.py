"""Requests to the Allen Institute's hosts, by AllenSDK's names."""
