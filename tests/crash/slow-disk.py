"""One policy of slow-disk.sh, which says what it is:
SERVER SCRATCH calls|device POLICY SECONDS PING_MAX [DEVICE]."""

import multiprocessing
import sys
import threading
import time
from served import Place

SERVER, SCRATCH, WAY, POLICY = sys.argv[1:5]
SLOW, PING_MAX = float(sys.argv[5]), float(sys.argv[6])
THROTTLE = "/sys/fs/cgroup/blkio/blkio.throttle.write_iops_device"
# aof-unsynced-max-bytes, and the bytes of a value.
BOUND, VALUE = 1 << 20, 16 << 10
place = Place(SERVER, SCRATCH)


def throttle(writes):
    """How many writes the device takes in a second; 0 is no limit."""
    with open(THROTTLE, "w") as file:
        file.write(f"{sys.argv[7]} {writes}")


def start():
    tracer = []
    if WAY == "calls":
        # The tracer is a grandchild: the process started here is the server.
        inject = f"inject=fdatasync,fsync:delay_exit={round(SLOW * 1e6)}"
        tracer = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"]
        tracer += ["-e", "trace=fdatasync,fsync", "-e", inject]
    return place.start(f"{SCRATCH}/disk/{WAY}.{POLICY}", "--appendfsync", POLICY, "--shards", "2",
                       "--aof-unsynced-max-bytes", str(BOUND), wrapper=tracer)


def ping(stop, tell):
    """Runs in a process of its own, so that it waits for nothing here."""
    client, times = place.connect(), []
    while not stop.is_set():
        began = time.monotonic()
        assert client.ask("PING") == "PONG"
        times.append(time.monotonic() - began)
        time.sleep(0.002)
    tell.put(sorted(times))


def pings_during(work):
    """How long each PING takes while `work` runs, in ascending order."""
    stop, told = multiprocessing.Event(), multiprocessing.Queue()
    pinger = multiprocessing.Process(target=ping, args=(stop, told))
    pinger.start()
    work()
    stop.set()
    times = told.get()
    pinger.join()
    return times


def p99(times):
    return times[len(times) * 99 // 100] * 1000


def write(count, me, times):
    client = place.connect()
    for n in range(1, count + 1):
        value = "x" * VALUE
        began = time.monotonic()
        assert client.ask(f"XADD s:{me} {n}-1 f {value}") == f"{n}-1"
        times.append(time.monotonic() - began)


def load():
    writers = [threading.Thread(target=write, args=(COUNT, me, acks)) for me in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


COUNT = 2 if POLICY == "always" else 30
process, _ = start()
calm = p99(pings_during(lambda: time.sleep(1)))
if WAY == "device":
    throttle(max(1, round(2 / SLOW)))
acks, began = [], time.monotonic()
pings = pings_during(load)
took = time.monotonic() - began
if WAY == "device":
    throttle(0)
assert len(acks) == 4 * COUNT, "a write was refused"
waited = sum(1 for ack in acks if ack > SLOW / 2)
print(f"{WAY}, {POLICY}, {SLOW:g} s: {len(acks)} writes of {VALUE} bytes in {took:.1f} s, "
      f"{waited} waited; PING p99 {p99(pings):.2f} ms of {len(pings)} ({calm:.2f} before), the "
      f"slowest {pings[-1] * 1000:.2f}", flush=True)
if WAY == "calls" and POLICY == "always":
    assert min(acks) >= SLOW, f"an acknowledgement after {min(acks):.3f} s"
elif POLICY == "always":
    assert waited, "the device is not slow"
else:
    # More than the bound was written, so that some had to wait; fewer than all did.
    assert 0 < waited < len(acks) / 2, f"{waited} of {len(acks)} waited"
    assert took >= SLOW, f"{BOUND} bytes unsynced at most, and done in {took:.2f} s"
assert p99(pings) <= max(PING_MAX, 2 * calm), "PING waits for the disk"
place.end(process)
