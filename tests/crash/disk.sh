# Sourced by the scripts that put the server's data on a file system of their own: SERVER, a
# scratch directory with a mount point `disk`, and its end, whatever happens. The server's process
# number stands in `pid` there.
here=$(cd "$(dirname "$0")" && pwd)
: "${SERVER:=$here/../../target/debug/millstream}"
skip() { echo "skipped: $*"; exit 77; }
command -v python3 >/dev/null || skip "needs python3"
[ -x "$SERVER" ] || skip "there is no server binary at $SERVER"

# What loop devices want.
needs_loop_devices() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    for tool in mkfs.ext4 losetup; do
        command -v "$tool" >/dev/null || skip "needs $tool"
    done
}

scratch=$(mktemp -d)
mkdir "$scratch/disk"
# The kernel may take a moment to let go of it.
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
