"""One round of memory.sh, which says what it is: SERVER SCRATCH LIMIT_FILE ROUND SEED LIMIT."""

import os
import random
import sys
import threading
from served import Place

SERVER, SCRATCH, LIMIT_FILE = sys.argv[1:4]
ROUND, SEED, LIMIT = int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6])
WRITERS = 3
REFUSES = ROUND % 2 == 1
POLICY = ["always", "everysec"][ROUND // 2 % 2]
SHARDS = [1, 2, 4][ROUND % 3]
ARGS = ["--appendfsync", POLICY, "--shards", str(SHARDS)]
DATA = SCRATCH + "/data"
# What is there before, and how often a writer is refused before it stops.
ENTRIES, REFUSALS = 400, 30
place = Place(SERVER, SCRATCH)


def enter():
    """Puts this process into the group."""
    with open(os.path.dirname(LIMIT_FILE) + "/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))


def resident(process):
    with open(f"/proc/{process.pid}/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS:"))


class Writer(threading.Thread):
    """Adds `n-1` to two streams at once, until the server is gone or has refused often."""

    def __init__(self, me):
        super().__init__(daemon=True)
        self.keys = f"a:{me}", f"b:{me}"
        self.rng = random.Random(f"{SEED} {ROUND} {me}")
        self.client, self.sent, self.acked, self.refused = None, 0, set(), 0
        self.failure = None

    def add(self):
        self.sent += 1
        value = "x" * self.rng.randint(1, 30_000)
        self.client.send("MULTI", *(f"XADD {key} {self.sent}-1 f {value}" for key in self.keys),
                         "EXEC")
        replies = [self.client.reply() for _ in range(4)]
        if replies[3] == [f"{self.sent}-1"] * 2:
            self.acked.add(self.sent)
        else:
            refusals = [r for r in replies if isinstance(r, RuntimeError)]
            assert refusals and all(str(r).startswith(("OOM", "EXECABORT")) for r in refusals), \
                replies
            self.refused += 1

    def run(self):
        try:
            self.client = place.connect()
            while self.refused < REFUSALS:
                self.add()
        except OSError:
            # The system has killed it.
            pass
        except Exception as error:
            self.failure = error

    def check(self, client):
        a, b = ({int(i.split("-")[0]) for i, _ in self.entries(client, key)} for key in self.keys)
        assert a == b, f"halves of transactions: {sorted(a ^ b)[:10]}"
        lost = sorted(self.acked - a)
        assert not lost, f"{self.keys}: lost {lost[:10]} of {len(self.acked)}"
        assert max(a) <= self.sent, f"nobody sent {max(a)}"

    def entries(self, client, key):
        start = "-"
        while part := client.ask(f"XRANGE {key} {start} + COUNT 100"):
            yield from part
            start = "(" + part[-1][0]


process, client = place.start(DATA, *ARGS)
writers = [Writer(me) for me in range(WRITERS)]
for writer in writers:
    writer.client = place.connect()
    while writer.sent < ENTRIES:
        writer.add()
before = resident(process)
place.end(process)
limit = int(before * LIMIT)
with open(LIMIT_FILE, "w") as file:
    file.write(str(limit))
if REFUSES:
    ARGS += ["--maxmemory", str(int(before * 0.98))]
process, client = place.start(DATA, *ARGS, preexec_fn=enter)
for writer in writers:
    writer.start()
for writer in writers:
    writer.join()
    assert writer.failure is None, f"{writer.failure!r}\n{place.tail()}"
if REFUSES and process.poll() is None:
    assert all(writer.refused for writer in writers)
    key = writers[0].keys[0]
    assert client.ask(f"XADD {key} * f v").args[0].startswith("OOM command not allowed")
    assert client.ask(f"XDEL {key} 0-7") == "0", "what adds nothing is refused, too"
    assert client.ask("PING") == "PONG"
    ended = "refused"
    place.end(process)
else:
    # By the system, or by itself where it saw that there is none.
    process.wait()
    ended = f"ended by signal {-process.returncode}"
    assert process.returncode in (-9, -6), f"{ended}\n{place.tail()}"
# The limit holds for the start, too.
process = place.spawn(DATA, *ARGS, preexec_fn=enter)
again = place.answers(process)
assert again or process.returncode in (-9, -6), place.tail()
for writer in writers if again else []:
    try:
        writer.check(again)
    except OSError:
        # Its answers needed too much.
        process.wait()
        break
place.end(process)
process, client = place.start(DATA, *ARGS)
for writer in writers:
    writer.check(client)
place.end(process)
acked = sum(len(writer.acked) for writer in writers)
print(f"round {ROUND}, {POLICY}, {SHARDS} shards: {before >> 20} MB before, {limit >> 20} allowed: "
      f"{ended}; {acked} transactions answered, 0 lost, no halves; in the same limit it then "
      f"{'starts' if again else 'ends'}", flush=True)
