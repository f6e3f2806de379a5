#!/bin/bash
# run.sh [PART ...]: the long forms of the tests of crashes and faults (D1 to D10, E1 to E9, F7), on
# a release build of the server where it is another process. All of them take a night or two;
# TIMES=0.01 is a hundredth of them. The numbers are those of a release, per policy where there
# are two.
#
#   kills    D1   10,000 kills under load
#   cuts     D2   700 power cuts on each of ext4, xfs and btrfs that can be made here
#   states   D3   crash states of the log, the engine and the simulator, from random seeds
#   damage   D4 to D8   every byte cut, every bit flipped, a million overwritten ranges
#   saves    D10  500 snapshots under full load
#   calls    E1 to E4, E6 to E9   10,000 calls of the system and every call of the disk; 20,000
#            allocations that fail
#   disks    E5 to E7   500 times a full disk, 50 a read-only one, one of 5 s a sync
#   memory   E8   500 times memory that ends
#   bytes    F7   50 M files of the log and of snapshots
#
# What cannot be done here is skipped, and said. Ends with the first failure.
set -eu
cd "$(dirname "$0")/../.."
: "${TIMES:=1}"
n() { awk "BEGIN { n = int($1 * $TIMES); print n < 1 ? 1 : n }"; }
part() { [ ${#parts[@]} = 0 ] || [[ " ${parts[*]} " == *" $1 "* ]]; }
may_skip() { "$@" || [ $? = 77 ]; }
parts=("$@")
seed=${SEED:-$(date +%s)}
echo "SEED=$seed TIMES=$TIMES"
cargo build --release
SERVER=$PWD/target/release/millstream
export SERVER MILLSTREAM_BIN="$SERVER" MILLSTREAM_SEED="$seed" SEED="$seed"
it() { cargo test --test it -- --nocapture "$@"; }

if part kills; then MILLSTREAM_KILLS=$(n 10000) it history::d01_; fi
if part cuts; then
    for fs in ext4 xfs btrfs; do FS=$fs may_skip tests/crash/power-cut.sh "$(n 700)"; done
fi
if part states; then
    MILLSTREAM_LONG=1 MILLSTREAM_ROUNDS=$(n 2500) cargo test --lib d03_
    cargo test --lib d07_
    SIM_FIRST=$seed SIM_SEEDS=$(n 20000) cargo test --release --test sim
fi
if part damage; then
    MILLSTREAM_LONG=1 MILLSTREAM_ROUNDS=$(n 50) cargo test --lib d0
    MILLSTREAM_LONG=1 it restart::
fi
if part saves; then MILLSTREAM_SNAPSHOTS=$(n 500) it saving::d10_; fi
if part calls; then
    MILLSTREAM_ROUNDS=$(n 33) it faults::e01_a_call faults::e04_ faults::e06_
    MILLSTREAM_ROUNDS=$(n 100) it faults::memory
    MILLSTREAM_ROUNDS=$(n 10) it faults::disk
fi
if part disks; then
    may_skip tests/crash/full-disk.sh "$(n 500)"
    may_skip tests/crash/slow-disk.sh 5
    may_skip tests/crash/read-only.sh "$(n 50)"
fi
if part memory; then may_skip tests/crash/memory.sh "$(n 500)"; fi
if part bytes; then .ci/fuzz "$(n 100)" log_segment log_damage snapshot_file; fi
echo "all passed"
