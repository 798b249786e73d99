"""Data on other machines: objects read one by one, whole files downloaded."""
