#!/bin/bash
# half-open.sh: a client whose machine vanishes while it is blocked in XREADGROUP (C7). Two network
# namespaces joined by a cable; the cable is cut. The server must notice by keep-alive, close the
# connection, and give the next entry to somebody who is there.
#
# Needs root and `ip`; exit status 77 where they are missing.
#   SERVER   the binary; default: the debug build of this checkout
set -eu
: "${SERVER:=$(cd "$(dirname "$0")/../.." && pwd)/target/debug/millstream}"
[ "$(id -u)" = 0 ] && command -v ip >/dev/null || { echo "skipped: needs root and ip"; exit 77; }
[ -x "$SERVER" ] || { echo "skipped: there is no server binary at $SERVER"; exit 77; }

a=ms-a-$$ b=ms-b-$$ scratch=$(mktemp -d)
cleanup() {
    [ -z "${client:-}" ] || kill "$client" 2>/dev/null || true
    [ -z "${server:-}" ] || kill "$server" 2>/dev/null || true
    ip netns del "$a" 2>/dev/null || true
    ip netns del "$b" 2>/dev/null || true
    rm -rf "$scratch"
}
trap cleanup EXIT
ip netns add "$a" && ip netns add "$b" || { echo "skipped: no network namespaces"; exit 77; }
ip link add "va$$" netns "$a" type veth peer name "vb$$" netns "$b"
ip -n "$a" addr add 10.77.0.1/24 dev "va$$" && ip -n "$a" link set "va$$" up
ip -n "$b" addr add 10.77.0.2/24 dev "vb$$" && ip -n "$b" link set "vb$$" up
ip -n "$a" link set lo up

ip netns exec "$a" "$SERVER" --bind 10.77.0.1 --port 6399 --protected-mode no --tcp-keepalive 3 \
    --unixsocket "$scratch/socket" --dir "$scratch/data" >"$scratch/log" 2>&1 &
server=$!

# ask WORDS...: one command by the unix socket, inline; prints the first line of the reply.
ask() {
    python3 - "$scratch/socket" "$*" <<'END'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode() + b"\r\n")
data = b""
while b"\n" not in data or (data[:1] == b"$" and data.count(b"\n") < 2 and data[1:3] != b"-1"):
    part = s.recv(65536)
    if not part:
        break
    data += part
print(data.decode().replace("\r\n", " ").strip())
END
}

until_is() { # until_is SECONDS WHAT COMMAND...: until the reply contains WHAT
    local end=$((SECONDS + $1)) what=$2
    shift 2
    while :; do
        reply=$(ask "$@" 2>/dev/null || true)
        case $reply in *"$what"*) return 0 ;; esac
        [ $SECONDS -lt $end ] || { echo "FAILED: $* answers $reply, not $what"; exit 1; }
        sleep 0.2
    done
}

until_is 10 PONG PING
ask XGROUP CREATE s g 0 MKSTREAM >/dev/null
ip netns exec "$b" bash -c 'exec 3<>/dev/tcp/10.77.0.1/6399
    printf "XREADGROUP GROUP g gone BLOCK 0 STREAMS s >\r\n" >&3; exec sleep 60' &
client=$!
until_is 10 blocked_clients:1 INFO clients
ip -n "$b" link set "vb$$" down
began=$SECONDS
until_is 30 blocked_clients:0 INFO clients
echo "the connection was closed $((SECONDS - began)) s after the cable was cut"
ask XADD s 1-1 f v >/dev/null
ask XREADGROUP GROUP g here STREAMS s '>' >/dev/null
case $(ask XPENDING s g - + 10 here) in
"*1"*) echo "passed: the entry went to a client that is there" ;;
*) echo "FAILED: the entry is lost to a client that is gone"; exit 1 ;;
esac
