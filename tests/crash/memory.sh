#!/bin/bash
# memory.sh [ROUNDS]: memory that ends (E8). A server has some data; then it runs in a group of
# processes that may have LIMIT times the memory it has now, and clients add, by transactions of
# two streams. By turns the server knows nothing of it and is killed by the system, or its
# `maxmemory` is below that limit and it refuses.
#
#   maxmemory   commands that add are refused with OOM, XDEL is not, reads go on, and it lives
#   killed      the next start, in the same group, is whole or ends
#   the end     nothing that was answered is missing, and of no transaction there is a half
#
# Needs root, cgroups (version 1 or 2) with the memory controller, and python3; exit status 77
# where they are missing. 6 rounds if ROUNDS does not say how many; by turns each policy and 1, 2
# or 4 shards.
#   SERVER   the binary; default: the debug build of this checkout
#   LIMIT    default 1.1
#   SEED     of the sizes; default 1
set -eu
. "$(dirname "$0")/disk.sh"
: "${LIMIT:=1.1}" "${SEED:=1}"
group=
# It is busy until the processes in it are gone.
release() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -z "$group" ] || ! [ -d "$group" ] || rmdir "$group" 2>/dev/null || sleep 0.2
    done
}
for parent in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    mkdir "$parent/millstream.$$" 2>/dev/null || continue
    group=$parent/millstream.$$
    for limit in "$group/memory.limit_in_bytes" "$group/memory.max"; do
        [ ! -w "$limit" ] || break 2
    done
    rmdir "$group"
    group=
done
[ -n "$group" ] || skip "no group with a limit of memory can be made"
round=0
while [ "$round" -lt "${1:-6}" ]; do
    python3 "$here/memory.py" "$SERVER" "$scratch" "$limit" "$round" "$SEED" "$LIMIT"
    rm -rf "$scratch/data"
    round=$((round + 1))
done
echo "passed"
