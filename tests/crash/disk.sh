# Sourced by the scripts that take something from the server: SERVER, a scratch directory with a
# mount point `disk`, and its end, whatever happens. The server's process number stands in `pid`
# there; those of several in a directory each, beside mount points `disk.*`.
here=$(cd "$(dirname "$0")" && pwd)
: "${SERVER:=$here/../../target/debug/millstream}"
skip() { echo "skipped: $*"; exit 77; }
command -v python3 >/dev/null || skip "needs python3"
[ -x "$SERVER" ] || skip "there is no server binary at $SERVER"

# What loop devices with a file system want, of which ext4 is the default.
needs_loop_devices() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    for tool in "mkfs.${1:-ext4}" losetup; do
        command -v "$tool" >/dev/null || skip "needs $tool"
    done
}

scratch=$(mktemp -d)
mkdir "$scratch/disk"
# The kernel may take a moment to let go of it.
release() {
    for mounted in "$scratch/disk" "$scratch"/*/disk.*; do
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            ! mountpoint -q "$mounted" || umount "$mounted" 2>/dev/null || sleep 0.2
        done
    done
}
cleanup() {
    for pid in "$scratch/pid" "$scratch"/*/pid; do
        [ ! -s "$pid" ] || kill -9 "$(cat "$pid")" 2>/dev/null || true
    done
    release
    rm -rf --one-file-system "$scratch"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
