"""Providers: one of a name per tenant."""

from uuid import UUID

import pytest

from mofa_usage.errors import ConstraintError
from mofa_usage.records import NIL_UUID
from mofa_usage.stores import Store
from tests.samples import SECRET, provider

TENANT, OTHER, UNKNOWN = UUID(int=7), UUID(int=8), UUID(int=404)


async def test_unknown_providers_are_none(store: Store) -> None:
    assert await store.get_provider(UNKNOWN) is None
    assert await store.get_provider_by_name(TENANT, "openai") is None
    assert await store.list_providers(TENANT) == []
    assert await store.get_enabled_providers(TENANT) == []
    assert await store.delete_provider(UNKNOWN) is False


async def test_a_provider_is_found_by_tenant_and_exact_name(store: Store) -> None:
    mine, theirs, nobodys = provider(tenant_id=TENANT), provider(tenant_id=OTHER), provider()
    for each in (mine, theirs, nobodys):
        await store.save_provider(each)
    assert await store.get_provider_by_name(TENANT, "openai") == mine
    assert await store.get_provider_by_name(OTHER, "openai") == theirs
    assert await store.get_provider_by_name(NIL_UUID, "openai") == nobodys
    for name in ("OpenAI", "openai ", "open%", ""):
        assert await store.get_provider_by_name(TENANT, name) is None


async def test_names_that_look_alike_are_different_names(store: Store) -> None:
    alike = [provider(name, tenant_id=TENANT) for name in ("openai", "OpenAI", "openai ", "ópenai", "openai\t")]
    for each in alike:
        await store.save_provider(each)
    for each in alike:
        assert await store.get_provider_by_name(TENANT, each.provider_name) == each


async def test_listing_is_by_tenant_and_may_be_only_the_enabled(store: Store) -> None:
    on, off = provider("on", tenant_id=TENANT), provider("off", tenant_id=TENANT, enabled=False)
    for each in (on, off, provider("x", tenant_id=OTHER), provider("y")):
        await store.save_provider(each)
    assert {each.id for each in await store.list_providers(TENANT)} == {on.id, off.id}
    assert await store.get_enabled_providers(TENANT) == [on]


async def test_saving_again_replaces_the_provider_whole(store: Store) -> None:
    first = provider(tenant_id=TENANT)
    second = provider("renamed", id=first.id, tenant_id=OTHER, enabled=False, api_key="new", api_base="b")
    await store.save_provider(first)
    await store.save_provider(second)
    read = await store.get_provider(first.id)
    assert read == second
    assert read.api_key.get_secret_value() == "new"
    assert await store.get_provider_by_name(TENANT, "openai") is None


async def test_a_second_of_the_same_name_is_a_constraint_error_and_changes_nothing(store: Store) -> None:
    first = provider(tenant_id=TENANT)
    second = provider(tenant_id=TENANT, api_base="https://another")
    await store.save_provider(first)
    with pytest.raises(ConstraintError) as caught:
        await store.save_provider(second)
    assert SECRET not in repr(caught.value) + str(caught.value.__cause__)
    assert await store.get_provider(first.id) == first
    assert await store.get_provider(second.id) is None
    assert await store.list_providers(TENANT) == [first]


async def test_renaming_to_a_name_that_is_taken_is_a_constraint_error(store: Store) -> None:
    a, b = provider("a", tenant_id=TENANT), provider("b", tenant_id=TENANT)
    await store.save_provider(a)
    await store.save_provider(b)
    with pytest.raises(ConstraintError):
        await store.save_provider(b.model_copy(update={"provider_name": "a"}))
    assert await store.get_provider(a.id) == a
    assert await store.get_provider(b.id) == b


async def test_a_deleted_name_is_free_again(store: Store) -> None:
    first, second = provider(tenant_id=TENANT), provider(tenant_id=TENANT)
    await store.save_provider(first)
    assert await store.delete_provider(first.id) is True
    assert await store.delete_provider(first.id) is False
    await store.save_provider(second)
    assert await store.list_providers(TENANT) == [second]
