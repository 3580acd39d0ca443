"""Files appear whole or not at all; what killed processes left goes with the next write."""

import os
import subprocess
import sys
import threading
import time

from gen_utils.base import files
from gen_utils.base.files import write_atomically


def test_two_writers_do_not_meet(tmp_path):
    path, errors = tmp_path / "x.json", []

    def write(byte):
        try:
            for _ in range(30):
                write_atomically(path, byte * 5000)
        except OSError as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(byte,)) for byte in (b"a", b"b", b"c")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            assert len(set(path.read_bytes())) == 1
    assert errors == [] and [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_what_a_killed_process_left_goes_and_what_a_live_one_writes_stays(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    node = files._NODE
    left = tmp_path / f"x.json.{node}.{dead.pid}.1.partial"
    live = tmp_path / f"x.json.{node}.{os.getpid()}.1.partial"
    elsewhere, old = tmp_path / f"x.json.other.{dead.pid}.1.partial", tmp_path / "x.json.other.7.1.partial"
    for path in (left, live, elsewhere, old):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * files._STALE,) * 2)
    write_atomically(tmp_path / "x.json", b"whole")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"x.json", live.name, elsewhere.name} or os.name != "posix"
