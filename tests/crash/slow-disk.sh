#!/bin/bash
# slow-disk.sh [SECONDS]: a disk whose every sync takes that long (E7), 1 second if SECONDS does
# not say otherwise; in two ways:
#
#   calls      `strace` holds each sync of the server when it ends; nothing else is traced
#   device     the data lies on ext4 in an image whose device takes 2 / SECONDS writes a second, so
#              that everything waits that has to do with the disk, the file system included
#
# and with each policy:
#
#   always     an acknowledgement waits for its sync, and PING does not
#   everysec   writes go on to aof-unsynced-max-bytes and wait there, refused never; PING does not
#
# Prints the 99th percentile of PING, in milliseconds, which may be PING_MAX, or on a busy machine
# twice what it is while nothing is written. A way is left out
# where it cannot be gone: `calls` needs strace 5.3 or newer, `device` root, loop devices and the
# throttle of cgroups (version 1). Exit status 77 if neither can, or without python3.
#   SERVER     the binary; default: the debug build of this checkout
#   PING_MAX   in milliseconds; default 5
set -eu
. "$(dirname "$0")/disk.sh"
: "${PING_MAX:=5}"

throttle=/sys/fs/cgroup/blkio/blkio.throttle.write_iops_device
device=
trap '[ -z "$device" ] || echo "$device 0" >"$throttle"; cleanup' EXIT
gone=
run() {
    gone=yes
    for policy in always everysec; do
        python3 "$here/slow-disk.py" "$SERVER" "$scratch" "$1" "$policy" "$2" "$PING_MAX" $device
    done
}

if strace -f -qq --seccomp-bpf -e trace=fsync -o /dev/null true 2>/dev/null; then
    run calls "${1:-1}"
else
    echo "calls: left out, strace may not trace here"
fi
truncate -s 192M "$scratch/image"
if [ -w "$throttle" ] && mkfs.ext4 -q -F "$scratch/image" 2>/dev/null &&
    mount -o loop "$scratch/image" "$scratch/disk" 2>/dev/null; then
    device=$(cat "/sys/block/$(basename "$(findmnt -no SOURCE "$scratch/disk")")/dev")
    run device "${1:-1}"
else
    echo "device: left out, there is no device to make slow"
fi
[ -n "$gone" ] || skip "nothing can be made slow here"
echo "passed"
