#!/bin/sh
# Runs the tests of clients, resources and the clock (C1 to C15, T1 to T3) with large numbers on a
# release build, one after the other, and prints what they measure beside what it may be; fails if
# a test fails, or if something is too much.
# Takes some minutes and up to 8 GB of memory, and needs `ulimit -n 20000` and a quiet machine.
# Arguments choose tests by their names.
#
#   tests/scale/run.sh [c03_ c10_many_groups]
# The long forms of crashes and faults are `tests/crash/run.sh`.
set -eu
cd "$(dirname "$0")/../.."
ulimit -n 20000
[ $# -gt 0 ] || set -- ::c0 ::c1 ::t0
said=$(mktemp)
trap 'rm -f "$said"' EXIT
{
    MILLSTREAM_SCALE=1 cargo test --release --test it -- --test-threads 1 --nocapture "$@" ||
        echo "TOO MUCH: a test fails"
} | tee "$said"
if grep "TOO MUCH" "$said" >/dev/null; then
    printf '\nNot as it must be:\n'
    grep "TOO MUCH" "$said"
    exit 1
fi
