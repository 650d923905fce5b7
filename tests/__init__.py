"""The tests. A package, so that test files may share names between folders and import `tests.servers`."""
