"""Trees, reference spaces and caches, by AllenSDK's names."""
