"""Half a round of read-only.sh, which says what it is: SERVER SCRATCH ROUND [TRIGGER]. With a
trigger it loads a server and pulls it; without one it looks at what is left."""

import json
import sys
import threading
import time
from served import Place

SERVER, SCRATCH, ROUND = *sys.argv[1:3], int(sys.argv[3])
POLICY = ["always", "everysec"][ROUND % 2]
ARGS = [SCRATCH + "/disk/data", "--appendfsync", POLICY, "--shards", "2"]
TOLD = SCRATCH + "/told.json"
place = Place(SERVER, SCRATCH)


def write(me, acked, refusals):
    """Adds `n-1` in order, until it is refused."""
    client, n = place.connect(), 0
    while not refusals:
        n += 1
        try:
            reply = client.ask(f"XADD s:{me} {n}-1 f v")
        except OSError:
            # Nobody knows what became of it.
            client = place.connect()
            continue
        if isinstance(reply, RuntimeError):
            refusals.append(str(reply))
        else:
            acked.append((n, time.monotonic()))


def ids(client, me):
    return {int(i.split("-")[0]) for i, _ in client.ask(f"XRANGE s:{me} - +")}


if len(sys.argv) > 4:
    process, client = place.start(*ARGS)
    client.ask("XADD kept 1-1 f v")
    assert client.ask("WAITAOF 1 0 0") == ["1", "0"]
    acked, refusals = [[], [], []], []
    writers = [threading.Thread(target=write, args=(me, acked[me], refusals)) for me in range(3)]
    for writer in writers:
        writer.start()
    time.sleep(1.0 if POLICY == "always" else 3.5)
    pulled = time.monotonic()
    with open(sys.argv[4], "w") as trigger:
        trigger.write("1")
    for writer in writers:
        writer.join()
    assert all(text.startswith("MISCONF") for text in refusals), refusals
    for me in range(3):
        assert ids(client, me).issuperset(n for n, _ in acked[me]), "reads go on"
    assert "aof_last_write_status:err" in client.ask("INFO persistence")
    assert isinstance(client.ask("SAVE"), RuntimeError)
    assert isinstance(client.ask("XADD s:0 * f v"), RuntimeError)
    assert process.poll() is None, "it has ended:\n" + place.tail()
    place.end(process)
    # The promise of `everysec` is about what is older than a sync and its period.
    since = pulled - (0 if POLICY == "always" else 2)
    promised = [[n for n, at in own if POLICY == "always" or at < since] for own in acked]
    with open(TOLD, "w") as file:
        json.dump(promised, file)
    print(f"round {ROUND}, {POLICY}: {sum(map(len, acked))} answered, then {refusals[0]!r}",
          flush=True)
else:
    with open(TOLD) as file:
        promised = json.load(file)
    process, client = place.start(*ARGS)
    assert client.ask("XLEN kept") == "1"
    for me, own in enumerate(promised):
        lost = sorted(set(own) - ids(client, me))
        assert not lost, f"s:{me}: lost {lost[:10]} of {len(own)}"
    assert client.ask("XADD s:0 * f v").endswith("-0"), "writes go on"
    place.end(process)
