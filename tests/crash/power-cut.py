"""The cuts of power-cut.sh, which says what they are: SERVER SCRATCH POLICY CUTS SEED LOSS_MAX."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from served import Place

SERVER, SCRATCH, POLICY = sys.argv[1:4]
CUTS, SEED, LOSS_MAX = int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6])
WRITERS = 4
# What one writer sends at once, at most.
BATCH_MAX = 8
# Beyond it the streams are trimmed, or the image would be full.
ENTRIES_MAX = 20_000
place = Place(SERVER, SCRATCH)


class Writer:
    """One connection's entries: `n-1` in its own stream and in order."""

    def __init__(self, me):
        self.key = f"key:{me}"
        # When each was sent, and when it was answered.
        self.sent, self.acked = {}, {}
        self.next = 1

    def run(self, rng):
        client = place.connect()
        try:
            while True:
                batch = range(self.next, self.next + rng.randint(1, BATCH_MAX))
                now = time.monotonic()
                self.sent.update((n, now) for n in batch)
                self.next = batch.stop
                client.send(*(f"XADD {self.key} {n}-1 field value-of-{n}" for n in batch))
                for n in batch:
                    assert client.reply() == f"{n}-1"
                    self.acked[n] = time.monotonic()
        except OSError:
            pass

    def check(self, client):
        """Compares with what is there; the last number that is."""
        found = client.ask(f"XREVRANGE {self.key} + - COUNT 100")
        last = int(found[0][0].split("-")[0]) if found else 0
        wanted = [[f"{n}-1", ["field", f"value-of-{n}"]] for n in range(last, 0, -1)[:100]]
        assert found == wanted, f"{self.key}: {found} at its end"
        count = int(client.ask(f"XLEN {self.key}"))
        first = client.ask(f"XRANGE {self.key} - + COUNT 1")
        first = int(first[0][0].split("-")[0]) if first else 1
        assert count == last - first + 1, f"{self.key}: {count} entries from {first} to {last}"
        known = max(self.sent, default=last)
        assert last <= known, f"{self.key}: nobody sent {last}, only {known}"
        return last


def run(*words):
    subprocess.run(words, check=True)


def mount(n):
    directory = f"{SCRATCH}/disk.{n}"
    os.mkdir(directory)
    run("mount", "-o", "loop", f"{SCRATCH}/image.{n}", directory)
    return directory


def copy(directory, n):
    """Copies the image as it is at one moment: again, if it was written to meanwhile."""
    device = subprocess.check_output(["findmnt", "-no", "SOURCE", directory], text=True).strip()
    stat = f"/sys/block/{os.path.basename(device)}/stat"

    def writes():
        with open(stat) as file:
            fields = file.read().split()
        # Writes that have ended, and what is under way.
        return fields[4], fields[8]

    for _ in range(100):
        before = writes()
        run("cp", "--sparse=always", f"{SCRATCH}/image.{n}", f"{SCRATCH}/image.{n + 1}")
        if before == writes() and before[1] == "0":
            return
    raise AssertionError("the image does not come to rest")


def check(writers, client, cut_at, what):
    """What a start found: nothing that was promised is missing; how much is, and its age."""
    lasts = [writer.check(client) for writer in writers]
    lost = [at for writer, last in zip(writers, lasts)
            for n, at in writer.acked.items() if n > last]
    kept = [at for writer, last in zip(writers, lasts)
            for n, at in writer.sent.items() if n <= last]
    age = cut_at - min(lost, default=cut_at)
    assert not lost or max(kept, default=0) <= min(lost), f"{what}: not a prefix"
    if POLICY == "always":
        assert not lost, f"{what}: {len(lost)} entries were answered and are lost"
    assert age <= LOSS_MAX, f"{what}: {len(lost)} of the last {age:.2f} s are lost"
    return lasts, len(lost), age


def main():
    rng = random.Random(SEED)
    directory = mount(0)
    writers = [Writer(me) for me in range(WRITERS)]
    cut_at, answered, all_lost, oldest = time.monotonic(), 0, 0, 0.0
    for cut in range(CUTS + 1):
        shards = rng.randint(1, 4)
        process, client = place.start(
            directory + "/data", "--appendfsync", POLICY, "--shards", str(shards))
        lasts, lost, age = check(writers, client, cut_at, f"{POLICY}, seed {SEED}, cut {cut}")
        all_lost, oldest = all_lost + lost, max(oldest, age)
        if cut == CUTS:
            place.end(process)
            break
        for writer, last in zip(writers, lasts):
            client.ask(f"XTRIM {writer.key} MAXLEN = {ENTRIES_MAX // WRITERS}")
            writer.sent, writer.acked, writer.next = {}, {}, last + 1
        # This life's base must last, or its loss would count as the next one's.
        assert client.ask("SAVE") == "OK"
        hands = [threading.Thread(target=writer.run, args=(random.Random(rng.random()),))
                 for writer in writers]
        for hand in hands:
            hand.start()
        end = time.monotonic() + rng.uniform(0.05, 1.0 if POLICY == "always" else 3.0)
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, rng.uniform(0.0, 0.6)))
            # It is refused while one is being taken.
            client.ask("BGSAVE")
        cut_at = time.monotonic()
        process.send_signal(signal.SIGSTOP)
        copy(directory, cut)
        place.end(process)
        for hand in hands:
            hand.join()
        answered += sum(len(writer.acked) for writer in writers)
        run("umount", directory)
        os.remove(f"{SCRATCH}/image.{cut}")
        directory = mount(cut + 1)
    run("umount", directory)
    os.remove(f"{SCRATCH}/image.{CUTS}")
    print(f"{POLICY}: {CUTS} cuts, {answered} entries answered, {all_lost} of them lost, "
          f"the oldest {oldest:.2f} s before its cut", flush=True)


main()
