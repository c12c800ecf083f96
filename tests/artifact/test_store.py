"""The store of the compile cache: what is damaged, foreign or in the way counts as absent; nothing is left behind."""

import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from graphc.artifact.store import Store, Unusable

ROOT = Path(__file__).resolve().parent.parent.parent
PAYLOAD = bytes(range(256)) * 4


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path / "cache"), 1 << 20)


def only_file(store):
    [name] = os.listdir(store.folder)
    return Path(store.folder, name)


def test_what_is_written_is_read(store):
    assert store.read("key") is None
    assert store.write("key", PAYLOAD) is None
    assert store.read("key") == PAYLOAD
    assert store.read("other") is None
    assert store.write("key", b"") is None
    assert store.read("key") == b""
    assert store.usage() == (1, os.path.getsize(only_file(store)))


def test_only_its_user_may_look_at_it(store):
    store.write("key", PAYLOAD)
    assert os.stat(store.folder).st_mode & 0o777 == 0o700
    assert os.stat(only_file(store)).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("length", [0, 1, 7, 8, 40, 83, 84, 85, 600, 84 + len(PAYLOAD) - 1])
def test_an_entry_that_is_cut_off_is_absent(store, length):
    store.write("key", PAYLOAD)
    path = only_file(store)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.warns(RuntimeWarning, match="cut off"):
        assert store.read("key") is None
    assert not path.exists()


@pytest.mark.parametrize("position", [*range(0, 84, 3), 84, 500, 84 + len(PAYLOAD) - 1])
def test_an_entry_with_a_flipped_bit_is_absent(store, position):
    store.write("key", PAYLOAD)
    path = only_file(store)
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << position % 8
    path.write_bytes(data)
    with pytest.warns(RuntimeWarning, match=r"not used: it (is|has)"):
        assert store.read("key") is None
    assert store.write("key", PAYLOAD) is None
    assert store.read("key") == PAYLOAD


def test_an_entry_with_more_behind_it_is_absent(store):
    store.write("key", PAYLOAD)
    with open(only_file(store), "ab") as file:
        file.write(b"more")
    with pytest.warns(RuntimeWarning, match="cut off"):
        assert store.read("key") is None


def test_the_entry_of_another_key_is_absent(store):
    store.write("one", PAYLOAD)
    path = only_file(store)
    store.write("two", b"two")
    [other] = [found for found in Path(store.folder).iterdir() if found != path]
    path.replace(other)
    with pytest.warns(RuntimeWarning, match="another key"):
        assert store.read("two") is None


def test_an_entry_of_a_later_format_is_absent(store):
    store.write("key", PAYLOAD)
    path = only_file(store)
    data = bytearray(path.read_bytes())
    data[8] = 2
    path.write_bytes(data)
    with pytest.warns(RuntimeWarning, match="format 2, this version of graphc writes 1"):
        assert store.read("key") is None


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_what_is_no_file_is_absent(store, kind, tmp_path):
    store.write("key", PAYLOAD)
    path = only_file(store)
    moved = tmp_path / "moved"
    path.rename(moved)
    if kind == "link":
        path.symlink_to(moved)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.warns(RuntimeWarning, match="is not used"):
        assert store.read("key") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reason = store.write("key", PAYLOAD)
    assert (reason is None) == (kind != "folder")
    assert moved.exists()
    assert len(os.listdir(store.folder)) == 1


def test_an_entry_that_others_may_write_is_absent(store):
    store.write("key", PAYLOAD)
    only_file(store).chmod(0o660)
    with pytest.warns(RuntimeWarning, match="others"):
        assert store.read("key") is None


def test_a_folder_that_others_may_write_or_that_is_a_link_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(Unusable, match="others than you may write"):
        Store.open(str(folder), 1)
    folder.chmod(0o700)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(Unusable, match="link"):
        Store.open(str(tmp_path / "link"), 1)
    (tmp_path / "file").touch()
    with pytest.raises(Unusable, match="exists"):
        Store.open(str(tmp_path / "file"), 1)
    with pytest.raises(Unusable, match="Not a directory"):
        Store.open(str(tmp_path / "file" / "below"), 1)
    with pytest.raises(Unusable, match="null"):
        Store.open(str(folder) + "\0", 1)
    monkeypatch.setattr("os.geteuid", lambda: os.stat(folder).st_uid + 1)
    with pytest.raises(Unusable, match="others than you may write"):
        Store.open(str(folder), 1)


def test_a_folder_that_cannot_be_written_keeps_nothing(store, monkeypatch):
    store.write("key", PAYLOAD)

    def refuse(*_arguments, **_named):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkstemp", refuse)
        patch.setattr("os.utime", refuse)
        assert "Permission denied" in store.write("more", PAYLOAD)
        assert store.read("key") == PAYLOAD
    assert store.read("more") is None


FULL_DISK = """
import resource, sys
from graphc.artifact.store import Store
store = Store.open(sys.argv[1], 1 << 30)
resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
print(store.write("key", bytes(100000)))
"""


def test_a_full_disk_keeps_nothing_and_leaves_nothing(store):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    process = subprocess.run(
        [sys.executable, "-c", FULL_DISK, store.folder], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "File too large" in process.stdout
    assert os.listdir(store.folder) == []


def test_an_interrupted_write_leaves_nothing(store, monkeypatch):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.write("key", PAYLOAD)
    assert os.listdir(store.folder) == []


def test_what_a_killed_process_left_is_taken_away_later(store):
    left = Path(store.folder, ".new-left")
    left.write_bytes(PAYLOAD)
    store.write("key", PAYLOAD)
    assert left.exists()
    assert store.usage()[0] == 1
    os.utime(left, (time.time() - 7200,) * 2)
    store.write("key", PAYLOAD)
    assert not left.exists()


def test_the_entries_not_used_for_longest_go(tmp_path):
    size = len(PAYLOAD) + 84
    store = Store.open(str(tmp_path), 3 * size)
    for age, key in enumerate("abc"):
        store.write(key, PAYLOAD)
        newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (1000 + age, 1000 + age))
    assert store.read("a") == PAYLOAD  # which is a use
    store.write("d", PAYLOAD)
    assert [key for key in "abcd" if store.read(key) is not None] == ["a", "c", "d"]
    assert store.usage() == (3, 3 * size)


def test_what_is_larger_than_the_limit_is_not_kept(tmp_path):
    store = Store.open(str(tmp_path), 100)
    assert "more than the cache may hold" in store.write("key", PAYLOAD)
    assert os.listdir(tmp_path) == []


def test_clear_takes_all_entries_and_nothing_else(store):
    Path(store.folder, "notes.txt").touch()
    store.write("a", PAYLOAD)
    store.write("b", PAYLOAD)
    assert store.clear() == 2
    assert store.usage() == (0, 0)
    assert os.listdir(store.folder) == ["notes.txt"]


WRITER = """
import sys, warnings
from graphc.artifact.store import Store
warnings.simplefilter("error")
store = Store.open(sys.argv[1], 40000)
payloads = {str(key): bytes([key]) * (5000 + key) for key in range(12)}
for turn in range(60):
    for key, payload in payloads.items():
        found = store.read(key)
        assert found in (None, payload)
        if found is None:
            assert store.write(key, payload) is None
    if turn % 7 == 0:
        store.clear()
"""


def test_processes_that_read_write_evict_and_clear_at_once_see_whole_entries(store):
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, store.folder], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in running:
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
    assert not [name for name in os.listdir(store.folder) if name.startswith(".new-")]
    assert store.usage()[1] <= 40000
