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
. "$(dirname "$0")/disk.sh"
needs_loop_devices

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
