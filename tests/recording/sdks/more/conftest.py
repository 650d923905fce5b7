from tests.recording.sdks.more import missing

collect_ignore_glob = ["test_*.py"] if missing() else []
