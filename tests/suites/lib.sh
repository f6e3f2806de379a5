# Sourced by the runners beside it: starts and stops the server, and compares a run with what may
# fail in it.
#
#   SERVER   the binary; default: the debug build of this checkout
#   SHARDS   the numbers of shards to run with; default "1 4"
#   KEEP     a directory for what the suites print; default: none is kept
#
# Exit status of every runner: 0 as expected, 1 not as expected, 77 skipped.

: "${SERVER:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/target/debug/millstream}"
: "${SHARDS:=1 4}"
suites=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d)
pid=
trap 'stop_server; rm -rf "$scratch"' EXIT

skip() {
    echo "skipped: $*"
    exit 77
}

[ -x "$SERVER" ] || skip "there is no server binary at $SERVER"

# start_server OPTION...: on a free port of the loopback, with data of its own; sets $port.
start_server() {
    local attempt
    for attempt in 1 2 3 4 5; do
        port=$((20000 + RANDOM % 10000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue
        rm -rf "$scratch/data"
        "$SERVER" --bind 127.0.0.1 --port "$port" --dir "$scratch/data" \
            --enable-debug-command yes "$@" >"$scratch/server.log" 2>&1 &
        pid=$!
        # Ready when it answers, however long that takes; gone if it could not listen.
        while kill -0 "$pid" 2>/dev/null; do
            (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
            read -rt 0.05 <> <(:) || true
        done
    done
    cat "$scratch/server.log"
    echo "the server does not start"
    exit 1
}

# Fails if the server had stopped by itself, or does not stop when told to.
stop_server() {
    [ -n "$pid" ] || return 0
    local stopping=$pid n status=0
    pid=
    if ! kill "$stopping" 2>/dev/null; then
        echo "  the server had stopped:"
        tail -n 20 "$scratch/server.log"
        return 1
    fi
    for ((n = 0; n < 200; n++)); do
        kill -0 "$stopping" 2>/dev/null || break
        read -rt 0.05 <> <(:) || true
    done
    if kill -KILL "$stopping" 2>/dev/null; then
        echo "  the server did not stop when told to:"
        tail -n 20 "$scratch/server.log"
        status=1
    fi
    wait "$stopping" 2>/dev/null
    if grep -q 'panicked at' "$scratch/server.log"; then
        grep -m 5 -A 1 'panicked at' "$scratch/server.log"
        status=1
    fi
    return $status
}

# compare LIST: the tests in the files failed and passed, one a line, against LIST, in which each
# line is a name, " → ", and why it may fail. One whose reason begins with "clock" may pass as well.
# Prints what differs.
compare() {
    local status=0 line
    sed -n '/ → skipped/d; s/ → .*//p' "$1" | sort -u >"$scratch/may-fail"
    while read -r line; do
        echo "  FAILED: $line"
        status=1
    done < <(sort -u "$scratch/failed" | comm -13 "$scratch/may-fail" -)
    while read -r line; do
        echo "  PASSED, but is listed as failing: $line"
        status=1
    done < <(sed '/ → clock/d; / → skipped/d; s/ → .*//' "$1" | sort -u |
        comm -12 - <(sort -u "$scratch/passed"))
    return $status
}

# keep NAME FILE: puts FILE aside as NAME, if asked to.
keep() {
    [ -z "${KEEP:-}" ] || { mkdir -p "$KEEP" && cp "$2" "$KEEP/$1"; }
}
