#!/bin/sh
# Runs the tests of tests/it/scale.rs with large numbers on a release build, one after the other,
# and prints what they measure. Takes some minutes and up to 4 GB of memory, and needs
# `ulimit -n 20000`. An argument chooses tests by name.
#
#   tests/scale/run.sh [many_pending_entries]
#
# The other long runs are chosen by variables:
#   MILLSTREAM_LONG=1 cargo test --test it restart::      every byte cut, every byte damaged
#   MILLSTREAM_KILLS=10000 cargo test --test it history:: killed so often under load
set -eu
cd "$(dirname "$0")/../.."
ulimit -n 20000
MILLSTREAM_SCALE=1 exec cargo test --release --test it "scale::${1-}" -- --test-threads 1 --nocapture
