#!/bin/bash
# read-only.sh [ROUNDS]: the file system becomes read-only under a server that is loaded, as ext4
# does with itself when it finds an error (E6).
#
#   writes     none is acknowledged from then on, and new ones are refused with MISCONF
#   reads      go on, INFO says err, and the server lives
#   the end    started again on what was mounted anew, nothing that was answered is missing
#
# Needs root, loop devices, ext4's trigger_fs_error and python3; exit status 77 where they are
# missing. 2 rounds, one a policy, if ROUNDS does not say how many.
#   SERVER   the binary; default: the debug build of this checkout
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${SERVER:=$here/../../target/debug/millstream}"
skip() { echo "skipped: $*"; exit 77; }
[ "$(id -u)" = 0 ] || skip "needs root"
for tool in mkfs.ext4 losetup python3; do
    command -v "$tool" >/dev/null || skip "needs $tool"
done
[ -x "$SERVER" ] || skip "there is no server binary at $SERVER"

scratch=$(mktemp -d)
release() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        ! mountpoint -q "$scratch/disk" || umount "$scratch/disk" 2>/dev/null || sleep 0.2
    done
}
cleanup() {
    [ ! -s "$scratch/pid" ] || kill -9 "$(cat "$scratch/pid")" 2>/dev/null || true
    release
    rm -rf --one-file-system "$scratch"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
mkdir "$scratch/disk"
round=0
while [ "$round" -lt "${1:-2}" ]; do
    truncate -s 0 "$scratch/image"
    truncate -s 64M "$scratch/image"
    mkfs.ext4 -q -F "$scratch/image"
    mount -o loop,errors=remount-ro "$scratch/image" "$scratch/disk" 2>/dev/null ||
        skip "needs loop devices"
    trigger=/sys/fs/ext4/$(basename "$(findmnt -no SOURCE "$scratch/disk")")/trigger_fs_error
    [ -w "$trigger" ] || skip "needs trigger_fs_error"
    python3 "$here/read-only.py" "$SERVER" "$scratch" "$round" "$trigger"
    release
    mount -o loop "$scratch/image" "$scratch/disk"
    python3 "$here/read-only.py" "$SERVER" "$scratch" "$round"
    release
    round=$((round + 1))
done
echo "passed"
