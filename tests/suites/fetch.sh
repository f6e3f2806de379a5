#!/bin/bash
# fetch.sh DIR [redis] [valkey] [redis-py] [redis-rs]: obtains the suites into DIR, all if none is
# named; what is there already stays as it is.
#
#   DIR/redis-8.6   DIR/valkey-9.1   source packages of Debian, with what their runtest needs built
#   DIR/redis-py-VERSION             source distribution, and a Python environment in .venv
#   DIR/redis-VERSION                a copy of the crate redis, whose package contains its tests
#
# Registries and mirrors are those this machine is set up for. Exit status 77: not obtainable here.
set -u

dir=${1:?directory for the suites}
shift
[ $# -gt 0 ] || set -- redis valkey redis-py redis-rs
: "${JOBS:=2}" "${REDIS_PY:=8.1.0}" "${REDIS_RS:=1.8.1}"
mkdir -p "$dir" && dir=$(cd "$dir" && pwd) || exit 1

skip() {
    echo "skipped: $*"
    exit 77
}

# Lists of source packages, kept apart from the system's: they are of other suites than its own.
apt_lists() {
    apt=$dir/apt
    [ -s "$apt/done" ] && return
    command -v apt-get >/dev/null && command -v dpkg-source >/dev/null ||
        skip "apt-get and dpkg-source are not here"
    local mirror suite key=/usr/share/keyrings/debian-archive-keyring.gpg
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
        grep '/debian/$' | head -n 1)
    [ -n "$mirror" ] || skip "the system's package sources name no Debian mirror"
    mkdir -p "$apt"/{lists/partial,cache/archives/partial,src}
    for suite in sid experimental; do
        echo "deb-src [signed-by=$key] $mirror $suite main"
    done >"$apt/sources.list"
    cat >"$apt/apt.conf" <<END
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
Acquire::Languages "none";
APT::Sandbox::User "root";
END
    APT_CONFIG=$apt/apt.conf apt-get -q update && echo done >"$apt/done" ||
        skip "the lists of source packages cannot be read"
}

# tree NAME PACKAGE VERSION: unpacks the newest source package whose version begins so.
tree() {
    [ -d "$dir/$1" ] && return
    apt_lists
    local version
    version=$(APT_CONFIG=$apt/apt.conf apt-cache madison "$2" |
        awk -F' *[|] *' -v begin="$3" 'index($2, begin) == 1 { print $2; exit }')
    [ -n "$version" ] || skip "no source package $2 $3* is offered"
    (cd "$apt/src" && APT_CONFIG=$apt/apt.conf apt-get -q source --download-only "$2=$version") ||
        skip "$2 $version cannot be downloaded"
    # apt has checked the hashes against its signed list.
    dpkg-source --no-check -x "$apt/src/$2_${version#*:}.dsc" "$dir/$1" ||
        skip "$2 $version cannot be unpacked"
}

# build NAME PROGRAM...: what runtest needs beside a server, without caring how fast it is.
build() {
    local name=$1
    shift
    [ -x "$dir/$name/src/$2" ] && return
    command -v gcc >/dev/null && command -v make >/dev/null || skip "gcc and make are not here"
    nice make -C "$dir/$name/src" -j"$JOBS" BUILD_TLS=no USE_SYSTEMD=no MALLOC=libc \
        OPTIMIZATION=-O1 "$@" >"$dir/$name.log" 2>&1 || { tail "$dir/$name.log"; exit 1; }
}

redis() {
    tree redis-8.6 redis 5:8.6.
    build redis-8.6 redis-cli redis-benchmark
}

valkey() {
    tree valkey-9.1 valkey 9.1.
    build valkey-9.1 valkey-cli valkey-benchmark
    # Its runtest wants the file to exist, and never runs it against a server that is there.
    local server=$dir/valkey-9.1/src/valkey-server
    [ -x "$server" ] || { printf '#!/bin/sh\nexit 1\n' >"$server" && chmod +x "$server"; }
}

redis_py() {
    local path=$dir/redis-py-$REDIS_PY
    [ -x "$path/.venv/bin/pytest" ] && return
    command -v python3 >/dev/null || skip "there is no python3"
    python3 -m venv "$dir/venv" || skip "python3 makes no environments"
    "$dir/venv/bin/pip" -q download --no-deps --no-binary redis -d "$dir" "redis==$REDIS_PY" ||
        skip "redis-py $REDIS_PY cannot be downloaded"
    rm -rf "$path" "$dir/venv" && mkdir "$path" &&
        tar -xzf "$dir/redis-$REDIS_PY.tar.gz" -C "$path" --strip-components 1 || exit 1
    # All that its tests import, also those that are not run.
    python3 -m venv "$path/.venv" && "$path/.venv/bin/pip" -q install "redis==$REDIS_PY" \
        pytest pytest-asyncio pytest-timeout pytest-cov numpy pybreaker cryptography PyJWT \
        requests xxhash httpx packaging opentelemetry-api opentelemetry-sdk redis-entraid ||
        skip "what the tests of redis-py import cannot be installed"
}

redis_rs() {
    local path=$dir/redis-$REDIS_RS fetch=$dir/fetch-redis found
    [ -d "$path" ] && return
    command -v cargo >/dev/null || skip "there is no cargo"
    mkdir -p "$fetch/src" && : >"$fetch/src/lib.rs"
    printf '[package]\nname = "fetch"\nedition = "2021"\n\n[dependencies]\nredis = "=%s"\n' \
        "$REDIS_RS" >"$fetch/Cargo.toml"
    (cd "$fetch" && cargo fetch -q) || skip "redis-rs $REDIS_RS cannot be downloaded"
    found=$(cd "$fetch" && cargo metadata -q --format-version 1 |
        grep -o "\"manifest_path\":\"[^\"]*/redis-$REDIS_RS/Cargo.toml\"" | cut -d'"' -f4)
    cp -r "$(dirname "$found")" "$path" || exit 1
    # The package leaves out that the tests need this, and with which redis it is to be built.
    printf '\n[dev-dependencies.redis-test]\nversion = "1"\n\n[patch.crates-io]\n%s\n' \
        'redis = { path = "." }' >>"$path/Cargo.toml"
    rm -f "$path/Cargo.lock"
}

for suite in "$@"; do
    case $suite in
    redis | valkey) "$suite" ;;
    redis-py) redis_py ;;
    redis-rs) redis_rs ;;
    *) echo "unknown suite: $suite" && exit 1 ;;
    esac
    echo "$suite is in $dir"
done
