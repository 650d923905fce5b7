"""The object store of the tests does what S3 does and the warehouse leans on: of two conditional writes one wins."""

from concurrent.futures import ThreadPoolExecutor

from tests.object_store import ObjectStore


def test_of_conditional_writes_at_once_one_wins(object_store: ObjectStore) -> None:
    bucket = object_store.bucket().removeprefix("s3://")
    for attempt in range(5):
        with ThreadPoolExecutor(8) as threads:
            answers = threads.map(
                lambda n, key=f"k{attempt}": object_store.put(bucket, key, b"%d" % n, if_absent=True), range(8)
            )
        won = [n for n, answer in enumerate(answers) if answer]
        assert len(won) == 1
        assert object_store.get(bucket, f"k{attempt}") == b"%d" % won[0]


def test_a_store_that_heeds_no_conditions_takes_every_write(object_store: ObjectStore) -> None:
    bucket = object_store.bucket(conditional=False).removeprefix("s3://")
    assert [object_store.put(bucket, "key", content, if_absent=True) for content in (b"a", b"b")] == [True, True]
    assert object_store.get(bucket, "key") == b"b"
