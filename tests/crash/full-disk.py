"""One round of full-disk.sh, which says what it is: SERVER SCRATCH ROUND SEED RESUME_MAX."""

import os
import random
import sys
import threading
import time
from served import Place

SERVER, SCRATCH = sys.argv[1:3]
ROUND, SEED, RESUME_MAX = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
DISK = SCRATCH + "/disk"
WRITERS = 3
POLICY = ["always", "everysec"][ROUND % 2]
SHARDS = [1, 2, 4][ROUND % 3]
place = Place(SERVER, SCRATCH)


class Writer(threading.Thread):
    """Writes entries `n-1` of its own stream in order, whatever happens, until it is told to
    stop."""

    def __init__(self, me):
        super().__init__(daemon=True)
        self.key = f"key:{me}"
        self.rng = random.Random(f"{SEED} {ROUND} {me}")
        self.sent, self.acked, self.deleted, self.lengths = 0, [], set(), {}
        self.refused = self.broken = 0
        self.stopped, self.failure = False, None

    def run(self):
        try:
            client = None
            while not self.stopped:
                try:
                    client = client or place.connect()
                    self.sent += 1
                    length = self.rng.randint(1, 8000)
                    self.lengths[self.sent] = length
                    value = str(self.sent).ljust(length, "x")
                    reply = client.ask(f"XADD {self.key} {self.sent}-1 f {value}")
                    if isinstance(reply, RuntimeError):
                        assert str(reply).startswith(("MISCONF", "LOADING")), reply
                        self.refused += 1
                        time.sleep(0.005)
                    else:
                        assert reply == f"{self.sent}-1", reply
                        self.acked.append(self.sent)
                except OSError:
                    # Nobody knows what became of it.
                    self.broken += 1
                    client = None
                    time.sleep(0.005)
        except Exception as error:
            self.failure = error

    def check(self, client):
        """Compares with what is there; it may go on meanwhile."""
        acked, start, found = list(self.acked), "-", []
        while part := client.ask(f"XRANGE {self.key} {start} + COUNT 500"):
            found += [(int(i.split("-")[0]), fields[1]) for i, fields in part]
            start = "(" + part[-1][0]
        numbers = {n for n, _ in found}
        lost = [n for n in acked if n not in numbers and n not in self.deleted]
        assert not lost, f"{self.key}: lost {lost[:10]} of {len(acked)}"
        back = numbers & self.deleted
        assert not back, f"{self.key}: {sorted(back)} were deleted"
        for n, value in found:
            assert value == str(n).ljust(self.lengths[n], "x"), f"{self.key}: {n} is another"


class Reader(threading.Thread):
    """Reads all the time; a read that fails is a failure."""

    def __init__(self):
        super().__init__(daemon=True)
        self.stopped, self.failure, self.reads, self.slowest = False, None, 0, 0.0

    def run(self):
        try:
            client = place.connect()
            while not self.stopped:
                began = time.monotonic()
                for command in ["XREVRANGE key:0 + - COUNT 2", "XLEN key:1", "INFO memory"]:
                    reply = client.ask(command)
                    assert not isinstance(reply, RuntimeError), reply
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.reads += 1
                time.sleep(0.002)
        except Exception as error:
            self.failure = error


def start():
    return place.start(DISK + "/data", "--appendfsync", POLICY, "--shards", str(SHARDS))


def until(what, done):
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end, f"waited in vain until {what}:\n" + place.tail()
        time.sleep(0.002)


def fails(threads):
    for thread in threads:
        assert thread.failure is None, f"{thread.failure!r}\n{place.tail()}"
    return False


def fill(threads, writers):
    """Waits until every writer is refused."""
    before = [writer.refused for writer in writers]
    until("the disk is full", lambda: fails(threads) or all(
        writer.refused >= n + 20 for writer, n in zip(writers, before)))


def free(ballast, threads, writers, client):
    """Removes a ballast; how many seconds later every writer has been answered, and INFO has said
    that writes go on. It may say otherwise soon: they fill the disk again."""
    before = [len(writer.acked) for writer in writers]
    told = False

    def resumed():
        nonlocal told
        told = told or "aof_last_write_status:ok" in client.ask("INFO persistence")
        return fails(threads) or told and all(
            len(writer.acked) > n for writer, n in zip(writers, before))

    began = time.monotonic()
    os.remove(ballast)
    until("writes go on", resumed)
    took = time.monotonic() - began
    assert took <= RESUME_MAX, f"writes went on after {took:.2f} s"
    return took


rng = random.Random(f"{SEED} {ROUND}")
ballasts = [DISK + "/ballast.1", DISK + "/ballast.2"]
for name in ballasts:
    with open(name, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, rng.randint(4 << 20, 14 << 20))
process, client = start()
writers = [Writer(me) for me in range(WRITERS)]
threads = writers + [Reader()]
for thread in threads:
    thread.start()
times = []
fill(threads, writers)
# Now and then the last of the space is enough for something small.
until("INFO says so", lambda: "aof_last_write_status:err" in client.ask("INFO persistence"))
reply = client.ask("SAVE")
assert isinstance(reply, RuntimeError), f"a snapshot fits into a full disk: {reply}"
times.append(free(ballasts[0], threads, writers, client))
fill(threads, writers)
reader = threads[-1]
reader.stopped = True
reader.join()
fails(threads)
place.end(process)
if ROUND % 4 < 2:
    # Nothing at all is left, but what the next start finds unused in the log.
    with open(DISK + "/rest", "wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 12)):
                pass
        except OSError:
            pass
process, client = start()
for writer in writers:
    writer.check(client)
reader = Reader()
reader.start()
threads = writers + [reader]
fill(threads, writers)
until("INFO says so", lambda: "aof_last_write_status:err" in client.ask("INFO persistence"))
# What frees data lives from the reserve, if there is one.
lives = True
for writer in writers:
    gone = writer.acked[0]
    reply = client.ask(f"XDEL {writer.key} {gone}-1")
    if isinstance(reply, RuntimeError):
        assert str(reply).startswith("MISCONF"), reply
        lives = False
    else:
        assert reply == "1", reply
        writer.deleted.add(gone)
times.append(free(ballasts[1], threads, writers, client))
reader.stopped = True
reader.join()
for writer in writers:
    writer.stopped = True
    writer.join()
fails(threads)
for writer in writers:
    writer.check(client)
process.terminate()
status = process.wait()
assert status == 0, f"it ended with {status}:\n" + place.tail()
process, client = start()
for writer in writers:
    writer.check(client)
place.end(process)
acked = sum(len(writer.acked) for writer in writers)
refused = sum(writer.refused for writer in writers)
broken = sum(writer.broken for writer in writers)
print(f"round {ROUND}, {POLICY}, {SHARDS} shards: {acked} answered, {refused} refused, {broken} "
      f"broken off, 0 lost; XDEL {'lives' if lives else 'is refused'} after a start when full; "
      f"writes went on after {times[0]:.2f} and {times[1]:.2f} s; {reader.reads} reads, "
      f"the slowest {reader.slowest * 1000:.0f} ms")
