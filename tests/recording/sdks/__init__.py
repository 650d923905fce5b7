"""Recorded clients of real SDKs, against a server of the tests that speaks their wire formats."""
