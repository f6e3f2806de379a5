#!/bin/bash
# tcl.sh PATH [redis|valkey]: the Tcl stream suites in the source tree PATH of Redis or Valkey
# against the server, with 1 and with 4 shards. The second argument is the server's
# compat-profile, redis if not given. `fetch.sh` obtains such trees.
#
# What may fail stands in expected-SUITE-PROFILE.txt. Any other failure is one of ours, and so is
# a listed test that passes: its line is out of date. A listed test whose reason begins with
# "skipped" is not run, because it would leave its connection unusable for those after it.
set -u
source "$(dirname "$0")/lib.sh"

tree=${1:?path of a source tree} profile=${2:-redis}
[ -x "$tree/runtest" ] || skip "there is no runtest in $tree"
command -v tclsh >/dev/null || skip "there is no tclsh"
if [ -f "$tree/src/valkey-cli.c" ]; then suite=valkey; else suite=redis; fi
[ -x "$tree/src/$suite-cli" ] || skip "$suite-cli is not built in $tree"
list=$suites/expected-$suite-$profile.txt
skips=()
while read -r name; do
    skips+=(--skiptest "$name")
done < <(sed -n 's/ → skipped.*//p' "$list")

status=0
for shards in $SHARDS; do
    start_server --shards "$shards" --compat-profile "$profile"
    out=$scratch/out
    # --durable: an error that a test does not catch fails that test alone, not the whole run.
    (cd "$tree" && ./runtest --host 127.0.0.1 --port "$port" --durable --timeout 120 "${skips[@]}" \
        --single unit/type/stream --single unit/type/stream-cgroups) 2>&1 |
        sed -u 's/\x1b\[[0-9;]*m//g' >"$out"
    keep "tcl-$suite-$profile-$shards.out" "$out"
    stop_server || status=1
    sed -n 's/^\[err\]: \(.*\) in tests\/.*/\1/p' "$out" >"$scratch/names"
    ok=$(grep -c '^\[ok\]' "$out") ignored=$(grep -c '^\[ignore\]' "$out")
    echo "$suite suites, profile $profile, shards $shards:" \
        "$ok ok, $(sort -u "$scratch/names" | wc -l) failed, $ignored ignored"
    compare "$list" "$scratch/names" || status=1
    if ! grep -q '^\[2/2 done\]' "$out"; then
        echo "  the run did not reach its end:"
        tail -n 20 "$out"
        status=1
    fi
done
exit $status
