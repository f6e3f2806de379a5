#!/bin/bash
# redis-py.sh PATH: the stream tests of redis-py, in its source distribution PATH, against the
# server, in both protocols, with 1 and with 4 shards. `fetch.sh` obtains it, with a Python
# environment in PATH/.venv that holds what its tests import.
set -u
source "$(dirname "$0")/lib.sh"

tree=${1:?path of the source distribution} status=0
: "${PYTHON:=$tree/.venv/bin/python}"
[ -f "$tree/tests/test_commands.py" ] || skip "there are no tests in $tree"
"$PYTHON" -c 'import redis, pytest, pytest_asyncio' 2>/dev/null ||
    skip "$PYTHON lacks what the tests import"

for shards in $SHARDS; do
    start_server --shards "$shards"
    for protocol in 2 3; do
        out=$scratch/out
        (cd "$tree" && "$PYTHON" -m pytest -p no:cacheprovider -q --no-header -W ignore \
            --protocol "$protocol" --redis-url "redis://127.0.0.1:$port/0" \
            tests/test_commands.py tests/test_asyncio/test_commands.py \
            -k "(test_x or stream) and not cluster") >"$out" 2>&1 || status=1
        keep "redis-py-$protocol-$shards.out" "$out"
        echo "redis-py, RESP$protocol, shards $shards: $(tail -n 1 "$out")"
        grep -E '^(FAILED|ERROR)' "$out"
    done
    # The example of the README, which connects to the default port.
    sed -n '/^```python$/,/^```$/p' "$(dirname "$0")/../../README.md" |
        sed "/^\`\`\`/d; s/redis.Redis(/&port=$port, /" | "$PYTHON" - || status=1
    stop_server || status=1
done
exit $status
