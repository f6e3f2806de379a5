#!/bin/bash
# full-disk.sh [ROUNDS]: a disk that is really full (E5). The data lies on 64 MB of ext4 beside two
# files of ballast. Clients write until the disk is full, one ballast is removed, they fill it
# again; the server is killed there and started on the full disk, by turns without a byte left, and
# the second ballast is removed.
#
#   writes     are refused with MISCONF while it is full, and go on by themselves in less than
#              RESUME_MAX seconds after space is back
#   reads      never fail
#   starts     there are none that fail; what frees data lives from the reserve, if there is one
#   the end    nothing that was answered is missing, and nothing is there that nobody sent
#
# Needs root, loop devices and python3; exit status 77 where they are missing. 2 rounds if ROUNDS
# does not say how many; by turns each policy and 1, 2 or 4 shards.
#   SERVER       the binary; default: the debug build of this checkout
#   RESUME_MAX   in seconds; default 2.0
#   SEED         of the sizes; default 1
set -eu
. "$(dirname "$0")/disk.sh"
needs_loop_devices
: "${RESUME_MAX:=2.0}" "${SEED:=1}"

round=0
while [ "$round" -lt "${1:-2}" ]; do
    truncate -s 0 "$scratch/image"
    truncate -s 64M "$scratch/image"
    mkfs.ext4 -q -F -m 0 "$scratch/image"
    mount -o loop "$scratch/image" "$scratch/disk" 2>/dev/null || skip "needs loop devices"
    python3 "$here/full-disk.py" "$SERVER" "$scratch" "$round" "$SEED" "$RESUME_MAX"
    umount "$scratch/disk"
    round=$((round + 1))
done
echo "passed"
