import pytest

from attnwidget.attention.limits import limits
from attnwidget.widget.tilecache import Reply, TileCache


def reply(n_bytes):
    return Reply({"n": n_bytes}, [bytes(n_bytes)])


@pytest.fixture
def cache(monkeypatch):
    monkeypatch.setattr(limits, "cache_bytes", 10_000)
    return TileCache()


def test_the_least_recently_used_goes_first(cache):
    for name in "abc":
        cache.put(name, reply(2000))  # and 1000 for the entry
    assert cache.get("a") == reply(2000)
    cache.put("d", reply(2000))
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]
    assert cache.n_bytes == 9000


def test_what_is_larger_than_the_whole_is_not_kept(cache):
    cache.put("a", reply(2000))
    cache.put("b", reply(9001))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    cache.put("b", reply(9000))
    assert (cache.get("a"), cache.n_bytes) == (None, 10_000)


def test_another_limit_holds_from_the_next_entry_on(cache, monkeypatch):
    for name in "abc":
        cache.put(name, reply(2000))
    monkeypatch.setattr(limits, "cache_bytes", 6000)
    cache.put("d", reply(2000))
    assert cache.n_bytes <= 6000
    assert cache.get("d") is not None
    monkeypatch.setattr(limits, "cache_bytes", 0)
    cache.put("e", reply(0))
    assert cache.n_bytes == 0


def test_all_of_it_can_be_dropped(cache):
    cache.put("a", reply(1))
    cache.clear()
    assert (cache.get("a"), cache.n_bytes) == (None, 0)
