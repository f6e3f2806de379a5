#!/bin/bash
# tcl.sh PATH [redis|valkey]: the Tcl stream suites in the source tree PATH of Redis or Valkey
# against the server, with 1 and with 4 shards. The second argument is the server's
# compat-profile, redis if not given. `fetch.sh` obtains such trees.
#
# They run twice: against one server that is there already, and with servers that the harness
# starts, stops and restarts itself, for its tests of what is left after a restart.
#
# What may fail stands in expected-SUITE-PROFILE.txt. Any other failure is one of ours, and so is
# a listed test that passes: its line is out of date, but for those whose reason is the clock:
# they ask that a millisecond has gone by, and it may not have. A listed test whose reason begins
# with "skipped" is not run, because it would leave its connection unusable for those after it.
set -u
source "$(dirname "$0")/lib.sh"

tree=${1:?path of a source tree} profile=${2:-redis}
[ -x "$tree/runtest" ] || skip "there is no runtest in $tree"
command -v tclsh >/dev/null || skip "there is no tclsh"
if [ -f "$tree/src/valkey-cli.c" ]; then suite=valkey; else suite=redis; fi
[ -x "$tree/src/$suite-cli" ] || skip "$suite-cli is not built in $tree"
list=$suites/expected-$suite-$profile.txt

# --durable: an error that a test does not catch fails that test alone, not the whole run.
options=(--durable --timeout 120 --single unit/type/stream --single unit/type/stream-cgroups)
while read -r name; do
    options+=(--skiptest "$name")
done < <(sed -n 's/ → skipped.*//p' "$list")

# A copy of the harness whose server is a script that runs ours.
copy=$scratch/tree
mkdir -p "$copy/src"
cp -r "$tree/runtest" "$tree/tests" "$copy"
for program in cli benchmark; do
    ln -s "$(realpath "$tree/src/$suite-$program")" "$copy/src"
done
use_shards() {
    cat >"$copy/src/$suite-server" <<END
#!/bin/sh
case "\$1" in -*) exec "$SERVER" "\$@" ;; esac
# What the harness looks for in the log.
echo "> PID: \$\$, Server initialized"
file=\$1
shift
# A directive of Valkey's own tests.
sed -i /^enable-debug-assert/d "\$file"
exec "$SERVER" "\$file" --shards $1 --compat-profile $profile "\$@"
END
    chmod +x "$copy/src/$suite-server"
}

# run HOW OPTION...: runs the suites and judges them.
run() {
    local how=$1 out=$scratch/out ok ignored failed
    shift
    # Ports of its own, for two runs of a harness may meet.
    (cd "$copy" && ./runtest "${options[@]}" --baseport $((10100 + RANDOM % 9000)) "$@") 2>&1 | sed -u 's/\x1b\[[0-9;]*m//g' >"$out"
    keep "tcl-$suite-$profile-$how-$shards.out" "$out"
    sed -n 's/^\[err\]: \(.*\) in tests\/.*/\1/p' "$out" >"$scratch/failed"
    sed -n 's/^\[ok\]: \(.*\) ([0-9]* ms)$/\1/p' "$out" >"$scratch/passed"
    ok=$(grep -c '^\[ok\]' "$out") ignored=$(grep -c '^\[ignore\]' "$out")
    failed=$(sort -u "$scratch/failed" | wc -l)
    echo "$suite suites, $how, profile $profile, shards $shards:" \
        "$ok ok, $failed failed, $ignored ignored"
    compare "$list" || status=1
    if grep -q '\[exception\]' "$out" || ! grep -q '^\[2/2 done\]' "$out"; then
        echo "  the run did not reach its end:"
        tail -n 20 "$out"
        status=1
    fi
}

status=0
for shards in $SHARDS; do
    use_shards "$shards"
    start_server --shards "$shards" --compat-profile "$profile"
    run "one server" --host 127.0.0.1 --port "$port"
    stop_server || status=1
    run "own servers" --clients 1 --tags -repl
done
exit $status
