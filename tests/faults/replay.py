#!/usr/bin/env python3
"""Rebuilds a recorded folder as a power cut could have left it.

From the log of libcvm-recorder.so and a copy of the folder made before the recording:

    recording = load_log(log, initial)
    for k in cut_points(recording, limit=100, seed=1):
        rebuild(recording, dest, k, seed=1, mode="torn")
        ... every acknowledgement with acknowledged_before(recording, k, time_ns) must have survived in dest
    assert unseen(recording, folder) == []

A cut at k is a cut after the first k records, before record k + 1. What a file's completed syncs cover is there. Of
the rest each write is, by the mode, kept, dropped or torn at a multiple of 512 bytes; truncations are kept or
dropped. Names (create, rename, link, unlink, mkdir, rmdir) keep their order: those up to the last one whose folder was
synced are there, and of the later ones the first few. A new file needs both, its own sync and its folder's.

Modes: drop    nothing that wasn't synced
       random  each write kept or dropped
       torn    each write kept, dropped or torn
       keep    everything, as after kill -9
"""

import argparse
import bisect
import dataclasses
import os
import random
import stat
import struct
import tempfile

MODES = ("drop", "random", "torn", "keep")
SECTOR = 512
NEVER = float("inf")

_HEADER = struct.Struct("<IIQQqIIII")
_MAGIC = 0x524D5643  # "CVMR"
_DATA_KINDS = frozenset("WTX")
_NAME_KINDS = frozenset("CRLUMD")


@dataclasses.dataclass
class Record:
    kind: str  # record_log.h says what they are
    time_ns: int
    inode: int
    offset: int
    mode: int
    path: str
    second_path: str
    data: memoryview
    file: int | None = None  # which file of the recording: inodes are used again, these are not
    durable: float = NEVER  # the number of the record from which on this one is durable


@dataclasses.dataclass
class Recording:
    initial: str
    records: list[Record]
    names: dict[str, int]  # files at the beginning: path → file
    folders: dict[str, int]  # folders at the beginning: path → mode
    links: dict[str, str]  # symbolic links, which are taken as they are


# ---- reading ----


def load_log(log: str, initial: str) -> Recording:
    names, folders, links = _scan(initial)
    recording = Recording(str(initial), list(_parse(log)), names, folders, links)
    _resolve_files(recording)
    _resolve_syncs(recording)
    return recording


def _parse(log):
    with open(log, "rb") as file:
        content = memoryview(file.read())
    position = 0
    while position + _HEADER.size <= len(content):
        magic, kind, time_ns, inode, offset, mode, *lengths = _HEADER.unpack_from(content, position)
        if magic != _MAGIC:
            raise ValueError(f"{log}: no record at byte {position}")
        path_end = position + _HEADER.size + lengths[0]
        second_end = path_end + lengths[1]
        end = second_end + lengths[2]
        if end > len(content):
            break  # the recorded program died while it wrote this one
        path = os.fsdecode(bytes(content[position + _HEADER.size : path_end]))
        second = os.fsdecode(bytes(content[path_end:second_end]))
        yield Record(chr(kind), time_ns, inode, offset, mode, path, second, content[second_end:end])
        position = end


def _scan(folder):
    names, folders, links = {}, {}, {}
    for root, directories, files in os.walk(folder):
        for name in directories + files:
            full = os.path.join(root, name)
            path = os.path.relpath(full, folder)
            if os.path.islink(full):
                links[path] = os.readlink(full)
            elif name in directories:
                folders[path] = stat.S_IMODE(os.stat(full).st_mode)
            elif not name.endswith("-shm"):
                names[path] = -1 - len(names)  # negative: from the initial copy
    return names, folders, links


def _resolve_files(recording):
    """Says of each record which file it means, by following names and inodes through the log."""
    names = dict(recording.names)
    folders = dict(recording.folders)
    inodes = {}
    for number, record in enumerate(recording.records, 1):
        if record.kind == "C":
            record.file = inodes[record.inode] = number
        elif record.kind == "O":
            if record.path not in names:
                raise ValueError(f"record {number}: {record.path} came from nowhere: is the initial copy right?")
            record.file = inodes[record.inode] = names[record.path]
        elif record.kind in "WTXPBEF" and not stat.S_ISDIR(record.mode):
            record.file = inodes.get(record.inode)
            if record.file is None and record.kind in _DATA_KINDS:
                raise ValueError(f"record {number}: a write to a file that was never opened")
        if record.kind in _NAME_KINDS:
            _apply_name(record, names, folders)


def _resolve_syncs(recording):
    """Says of each effect when it became durable."""
    pending_data = {}  # file → its records that no sync covers
    pending_names = []
    begins = {}  # token → number of the record
    for number, record in enumerate(recording.records, 1):
        if record.kind in _DATA_KINDS:
            pending_data.setdefault(record.file, []).append((number, record))
        elif record.kind in _NAME_KINDS:
            pending_names.append((number, record))
        elif record.kind == "B":
            begins[record.offset] = number
        elif record.kind in "EF":
            begin = begins.pop(record.offset)
            if not stat.S_ISDIR(record.mode):
                pending = pending_data.get(record.file, [])
                pending_data[record.file] = _end_sync(pending, begin, number, record.kind)
            elif record.kind == "E":
                pending_names = _end_folder_sync(pending_names, begin, number, record.path)


def _end_sync(pending, begin, end, kind):
    """What a failed sync covered is never durable: the kernel forgets it, and a later sync doesn't bring it back."""
    for number, record in pending:
        if number < begin and kind == "E":
            record.durable = end
    return [(number, record) for number, record in pending if number > begin]


def _end_folder_sync(pending, begin, end, folder):
    """Names are a journal: with the last one of the folder all before it are durable."""
    last = max((n for n, r in pending if n < begin and _folder_of(r) == folder), default=0)
    for number, record in pending:
        if number <= last:
            record.durable = end
    return [(number, record) for number, record in pending if number > last]


def _folder_of(record):
    return os.path.dirname(record.second_path or record.path) or "."


# ---- cutting ----


def cut_points(recording: Recording, limit: int | None = None, seed: int = 0) -> list[int]:
    """All cuts from 0 to the number of records, or `limit` of them, chosen by the seed."""
    everything = range(len(recording.records) + 1)
    if limit is None or limit >= len(everything):
        return list(everything)
    return sorted(random.Random(f"cuts:{seed}").sample(everything, limit))


def cut_at_time(recording: Recording, time_ns: int) -> int:
    """The cut at this moment of time.monotonic_ns()."""
    return bisect.bisect_right([record.time_ns for record in recording.records], time_ns)


def acknowledged_before(recording: Recording, k: int, time_ns: int) -> bool:
    """Must what was acknowledged at this moment of time.monotonic_ns() survive the cut at k?

    So it is if it was acknowledged before record k + 1: it can't have waited for an effect that had yet to come.
    """
    return k >= len(recording.records) or time_ns < recording.records[k].time_ns


# ---- rebuilding ----


def rebuild(recording: Recording, dest: str, k: int, seed: int = 0, mode: str = "torn") -> None:
    """Makes the folder `dest`, which must not exist, as a power cut after the first k records could have left it."""
    if mode not in MODES:
        raise ValueError(f"no mode {mode}: one of {', '.join(MODES)}")
    chance = random.Random(f"{seed}:{k}:{mode}")
    records = recording.records[:k]
    names, folders = _surviving_names(recording, records, k, chance, mode)
    contents, modes = _surviving_contents(recording, records, k, chance, mode)
    _write_out(dest, recording.links, names, folders, contents, modes)


def _surviving_names(recording, records, k, chance, mode):
    names, folders = dict(recording.names), dict(recording.folders)
    changes = [record for record in records if record.kind in _NAME_KINDS]
    durable = sum(record.durable <= k for record in changes)
    count = {"drop": durable, "keep": len(changes)}.get(mode)
    if count is None:
        count = chance.randint(durable, len(changes))
    for record in changes[:count]:
        _apply_name(record, names, folders)
    return names, folders


def _apply_name(record, names, folders):
    path, second = record.path, record.second_path
    if record.kind == "C":
        names[path] = record.file
    elif record.kind == "U":
        names.pop(path, None)
    elif record.kind == "L":
        names[second] = names[path]
    elif record.kind == "M":
        folders[path] = record.mode
    elif record.kind == "D":
        folders.pop(path, None)
    elif record.kind == "R":
        _rename(names, path, second)
        _rename(folders, path, second)


def _rename(paths, old, new):
    for path in [p for p in paths if p == old or p.startswith(old + "/")]:
        paths[new + path[len(old) :]] = paths.pop(path)


def _surviving_contents(recording, records, k, chance, mode):
    contents, modes = {}, {}
    for path, file in recording.names.items():
        full = os.path.join(recording.initial, path)
        modes[file] = stat.S_IMODE(os.stat(full).st_mode)
        with open(full, "rb") as source:
            contents[file] = bytearray(source.read())
    for record in records:
        if record.kind in "CP":
            modes[record.file] = stat.S_IMODE(record.mode)
        if record.kind == "C":
            contents[record.file] = bytearray()
        elif record.kind in _DATA_KINDS:
            fate = "keep" if record.durable <= k else _fate(chance, mode)
            _apply_data(record, contents[record.file], fate, chance)
    return contents, modes


def _fate(chance, mode):
    if mode in ("keep", "drop"):
        return mode
    fate = chance.choice(["keep", "drop", "torn"] if mode == "torn" else ["keep", "drop"])
    # A dropped write may have left its mark on the file's size: the new part is zeroes then.
    return chance.choice(["drop", "size"]) if fate == "drop" else fate


def _apply_data(record, content, fate, chance):
    if fate == "drop" or (fate == "size" and record.kind == "T"):
        return
    if record.kind == "T":
        _resize(content, record.offset)
    elif record.kind == "X":
        _grow(content, record.offset)
    elif fate == "size":
        _grow(content, record.offset + len(record.data))
    else:
        size = len(record.data) if fate == "keep" else _torn_size(record, chance)
        _grow(content, record.offset + size)
        content[record.offset : record.offset + size] = record.data[:size]


def _torn_size(record, chance):
    """How much of a write is there that ended at the edge of a sector on its way."""
    end = record.offset + len(record.data)
    first = record.offset // SECTOR + 1
    edges = range(first, (end - 1) // SECTOR + 1)
    return chance.choice(edges) * SECTOR - record.offset if edges else 0


def _grow(content, size):
    if size > len(content):
        content.extend(bytes(size - len(content)))


def _resize(content, size):
    _grow(content, size)
    del content[size:]


def _write_out(dest, links, names, folders, contents, modes):
    os.makedirs(dest)
    for path in sorted(folders):
        os.makedirs(os.path.join(dest, path), exist_ok=True)
    for path, target in links.items():
        os.symlink(target, os.path.join(dest, path))
    for path, file in names.items():
        full = os.path.join(dest, path)
        with open(full, "wb") as target:
            target.write(contents[file])
        os.chmod(full, modes[file])
    for path, mode in folders.items():
        os.chmod(os.path.join(dest, path), mode)


# ---- checking ----


def unseen(recording: Recording, folder: str) -> list[str]:
    """Paths at which the folder, as the recorded program left it, isn't what the log makes of it.

    Anything here means that the program writes in a way that the recorder doesn't see, and that cuts prove nothing.
    """
    with tempfile.TemporaryDirectory() as scratch:
        dest = os.path.join(scratch, "all")
        rebuild(recording, dest, len(recording.records), mode="keep")
        made, found = _contents(dest), _contents(folder)
    return sorted(path for path in made.keys() | found.keys() if made.get(path) != found.get(path))


def _contents(folder):
    names, folders, _ = _scan(folder)
    result = dict.fromkeys(folders, b"a folder")
    for path in names:
        with open(os.path.join(folder, path), "rb") as file:
            result[path] = file.read()
    return result


# ---- by hand ----


def _print_log(recording):
    for number, record in enumerate(recording.records, 1):
        names = " → ".join(filter(None, (record.path, record.second_path)))
        durable = "" if record.durable == NEVER else f" durable at {record.durable}"
        print(f"{number} {record.time_ns} {record.kind} {names} {record.offset}+{len(record.data)}{durable}")


def main():
    parser = argparse.ArgumentParser(description="Rebuilds a recorded folder as a power cut could have left it.")
    parser.add_argument("log")
    parser.add_argument("initial", help="copy of the folder made before the recording")
    parser.add_argument("dest", nargs="?", help="folder to make; without it the log is printed")
    parser.add_argument("--cut", type=int, help="records before the cut (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mode", choices=MODES, default="torn")
    options = parser.parse_args()
    recording = load_log(options.log, options.initial)
    if options.dest is None:
        _print_log(recording)
        return
    cut = len(recording.records) if options.cut is None else options.cut
    rebuild(recording, options.dest, cut, options.seed, options.mode)


if __name__ == "__main__":
    main()
