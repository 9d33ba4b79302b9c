#!/bin/sh
# Tests of examples/kv_server.c; ends with "N passed, N failed".
#
#   tests/kv.sh [wide]      wide: with all numbers of schedulers, sanitizers, and longer runs of redis-benchmark
#
# CC, CFLAGS, LDFLAGS as usual; SERVER_ARGS: options for kv_client, such as --no-crash.
cd "$(dirname "$0")/.." || exit 1
. tools/tally.sh
CC=${CC:-cc}
dir=build/kv
mkdir -p "$dir"

# build NAME SOURCE FLAGS…
build() {
    to=$dir/$1
    from=$2
    shift 2
    # shellcheck disable=SC2086
    check "$from compiles: $CC $*" $CC -std=c11 $WARN -Werror "$@" -pthread -I. -o "$to" "$from" ${LDFLAGS-}
}

# client NAME SERVER ARGUMENTS…: adds the results of one run of kv_client, and shows what failed
client() {
    name=$1
    log=$dir/client.log
    shift
    # shellcheck disable=SC2086
    limit 300 "$dir/kv_client" "$@" ${SERVER_ARGS-} >"$log" 2>"$log.err" </dev/null
    add_results "$name" "$log" $?
    echo "$name: ${added% *} passed, ${added#* } failed"
    if [ "${added#* }" -ne 0 ]; then
        grep -v '^ok' "$log" | head -n 60
        tail -n 60 "$log.err"
    fi
}

rm -f "$dir/kv_server" "$dir/kv_client"
# shellcheck disable=SC2086
build kv_server examples/kv_server.c ${CFLAGS:--O2 -g}
build kv_client tests/kv_client.c -O2
if [ ! -x "$dir/kv_server" ] || [ ! -x "$dir/kv_client" ]; then total; exit; fi

client 'one scheduler, one shard' "$dir/kv_server" --schedulers 1 --shards 1
client 'two schedulers, three shards' "$dir/kv_server" --schedulers 2 --shards 3
if [ "${1-}" = wide ]; then
    client 'one scheduler, five shards' "$dir/kv_server" --schedulers 1 --shards 5
    client 'eight schedulers, eight shards' "$dir/kv_server" --schedulers 8 --shards 8
    for kind in address,undefined thread; do
        if ! echo 'int main(void) { return 0; }' | $CC -fsanitize=$kind -o "$dir/works" -x c - >/dev/null 2>&1; then
            skip "$CC -fsanitize=$kind does not work here"
            continue
        fi
        export ASAN_OPTIONS="detect_stack_use_after_return=0:detect_leaks=1" UBSAN_OPTIONS=halt_on_error=1
        export TSAN_OPTIONS='exitcode=66'
        build kv_server.san examples/kv_server.c -O1 -g -fno-omit-frame-pointer -fsanitize=$kind -fno-sanitize-recover=all
        if [ -x "$dir/kv_server.san" ]; then client "with -fsanitize=$kind" "$dir/kv_server.san" --no-crash; fi
        rm -f "$dir/kv_server.san"
    done
fi
if command -v redis-cli >/dev/null 2>&1; then
    limit 600 sh tests/kv_redis.sh "$dir/kv_server" ${1+"$1"} >"$dir/redis.log" 2>&1 </dev/null
    add_results 'redis-cli and redis-benchmark' "$dir/redis.log" $?
    echo "redis-cli and redis-benchmark: ${added% *} passed, ${added#* } failed"
    if [ "${added#* }" -ne 0 ]; then grep -v '^ok' "$dir/redis.log" | head -n 80; fi
else
    skip 'redis-cli is not installed'
fi
total
