#!/bin/bash
# power-cut.sh [CUTS]: the power is cut under load (D2). The data lies on a file system in an image;
# while clients write and snapshots are taken the server is stopped, and the image is copied as it
# is: what the file system has only in memory is not in the copy. The next server starts on the copy and must have
# what was promised; then it is loaded in turn, until the next cut.
#
#   always     nothing that was answered is missing
#   everysec   what is missing was answered in the last LOSS_MAX seconds before the cut
#   both       what is there is a prefix of what was sent, over all connections
#
# Needs root, loop devices and python3; exit status 77 where they are missing. Both policies at
# once, 25 cuts each if CUTS does not say how many; 1 to 4 shards.
#   SERVER     the binary; default: the debug build of this checkout
#   FS         ext4, xfs or btrfs; default ext4
#   LOSS_MAX   in seconds; default 2.0
#   SEED       of the moments; default 1
set -eu
. "$(dirname "$0")/disk.sh"
: "${LOSS_MAX:=2.0}" "${SEED:=1}" "${FS:=ext4}"
needs_loop_devices "$FS"

for policy in always everysec; do
    mkdir -p "$scratch/$policy/disk.probe"
    truncate -s 320M "$scratch/$policy/image.0"
    "mkfs.$FS" -q "$scratch/$policy/image.0"
done
mount -o loop "$scratch/always/image.0" "$scratch/always/disk.probe" 2>/dev/null ||
    skip "needs loop devices, and a kernel with $FS"
umount "$scratch/always/disk.probe"

run() {
    python3 "$here/power-cut.py" "$SERVER" "$scratch/$1" "$1" "$2" "$SEED" "$LOSS_MAX"
}
run always "${1:-25}" &
run everysec "${1:-25}"
wait $!
echo "passed"
