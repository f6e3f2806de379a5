#!/bin/bash
# redis-rs.sh PATH: the stream tests of redis-rs, in a copy PATH of its crate, against the server,
# in both protocols, with 1 and with 4 shards. `fetch.sh` obtains such a copy.
set -u
source "$(dirname "$0")/lib.sh"

tree=${1:?path of the crate} status=0
[ -f "$tree/tests/test_streams.rs" ] || skip "there are no tests in $tree"
tree=$(cd "$tree" && pwd)
export CARGO_PROFILE_TEST_DEBUG=0 CARGO_PROFILE_DEV_DEBUG=0
options=(-q --test test_streams --features streams,tokio-comp)
(cd "$tree" && cargo test "${options[@]}" --no-run) || skip "the tests of redis-rs do not build"

for shards in $SHARDS; do
    # The tests start a server of their own for each test; this adds what they do not say.
    printf '#!/bin/sh\nexec "%s" "$@" --dir "$(mktemp -d "%s/data.XXXXXX")" --shards %s\n' \
        "$SERVER" "$scratch" "$shards" >"$scratch/server"
    chmod +x "$scratch/server"
    for protocol in RESP2 RESP3; do
        out=$scratch/out
        (cd "$tree" && PROTOCOL=${protocol#RESP2} REDISRS_SERVER_TYPE=tcp \
            REDISRS_SERVER_BIN=$scratch/server \
            cargo test "${options[@]}" -- --test-threads=1) >"$out" 2>&1 || status=1
        keep "redis-rs-$protocol-$shards.out" "$out"
        echo "redis-rs, $protocol, shards $shards:" \
            "$(sed -n 's/^test result: [a-zA-Z]*\. //p' "$out" | cut -d';' -f1-3)"
        grep '^    ' "$out"
        grep -q '^test result: ok' "$out" || status=1
    done
done
exit $status
