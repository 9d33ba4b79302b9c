#!/bin/sh
# Tests of examples/kv_server.c with the real redis-cli and redis-benchmark; ends with "N passed, N failed".
#
#   tests/kv_redis.sh SERVER [wide]      SERVER: the program, default build/kv/kv_server; wide: longer runs
#
# Ends with status 77 when redis-cli is not installed.
cd "$(dirname "$0")/.." || exit 1
. tools/tally.sh
if ! command -v redis-cli >/dev/null 2>&1; then
    echo 'skipped: redis-cli is not installed'
    exit 77
fi
server=${1:-build/kv/kv_server}
requests=5000
if [ "${2-}" = wide ]; then requests=100000; fi
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM HUP

# start OPTIONS…: starts the server and waits for the line that tells its port
start() {
    rm -f "$dir/out"
    mkfifo "$dir/out"
    "$server" --port 0 "$@" >"$dir/out" 2>>"$dir/err" &
    pid=$!
    exec 3<"$dir/out"
    port=
    while [ -z "$port" ] && read -r line <&3; do port=$(printf '%s\n' "$line" | sed -n 's/.* -p \([0-9]*\)$/\1/p'); done
    if [ -z "$port" ]; then
        not_ok 'the server does not start:'
        cat "$dir/err"
        total
        exit 1
    fi
}

# stop: SIGTERM, and the exit status
stop() {
    kill -TERM "$pid"
    wait "$pid"
    status=$?
    pid=
    exec 3<&-
    if [ $status -eq 0 ]; then ok "exit status 0 after SIGTERM$*"; else not_ok "exit status $status after SIGTERM$*"; fi
}

cli() { limit 60 redis-cli -p "$port" "$@" 2>&1; }

# is WANTED ARGUMENTS…: what redis-cli prints
is() {
    wanted=$1
    shift
    got=$(cli "$@")
    if [ "$got" = "$wanted" ]; then ok "redis-cli $*"
    else
        not_ok "redis-cli $*"
        printf '     wanted: %s\n     got:    %s\n' "$wanted" "$got"
    fi
}

# has TEXT ARGUMENTS…: what redis-cli prints contains a text
has() {
    wanted=$1
    shift
    case $(cli "$@") in
    *"$wanted"*) ok "redis-cli $* prints $wanted" ;;
    *) not_ok "redis-cli $* does not print $wanted" ;;
    esac
}

start --debug-commands
is PONG PING
is hello ECHO hello
is OK SET a 1
is 1 GET a
is 2 INCR a
is 12 INCRBY a 10
is 11 DECR a
is 3 APPEND a x
is 'ERR value is not an integer or out of range' INCR a
is "ERR wrong number of arguments for 'get' command" GET
is "ERR unknown command 'NOSUCH', with args beginning with: 'x' " NOSUCH x
is '' SET a 2 NX
is OK SET a 2 XX EX 100
is 100 TTL a
is 1 PERSIST a
is -1 TTL a
is OK MSET m1 one m2 two
is "$(printf 'one\n\ntwo')" MGET m1 none m2
is 2 EXISTS m1 m2 none
is string TYPE m1
is 3 DBSIZE
is 2 DEL m1 m2
is a KEYS '*'
is OK SELECT 0
is 'ERR DB index is out of range' -n 0 SELECT 5
is OK FLUSHALL
is "$(printf 'save\n')" CONFIG GET save
has redis_version INFO
has addr=127.0.0.1 CLIENT LIST
has "$(printf 'get')" COMMAND LIST

# Commands from a file: what the interactive mode does
printf 'set f "a b"\nget f\nquit\n' | cli >"$dir/got"
if [ "$(cat "$dir/got")" = "$(printf 'OK\na b')" ]; then ok 'commands from standard input'
else
    not_ok 'commands from standard input'
    cat "$dir/got"
fi

# A binary value: -x takes the last argument from standard input
head -c 100000 /dev/urandom >"$dir/random"
cli -x SET binary <"$dir/random" >"$dir/got"
cli --raw GET binary >"$dir/got"
printf '\n' | cat "$dir/random" - | check 'a binary value of 100,000 bytes' cmp "$dir/got" -

# redis-cli --pipe
i=0
while [ $i -lt 5000 ]; do
    printf '*3\r\n$3\r\nSET\r\n$8\r\npipe%04d\r\n$4\r\n%04d\r\n' $i $i
    i=$((i + 1))
done >"$dir/commands"
cli --pipe <"$dir/commands" >"$dir/got"
check 'redis-cli --pipe' grep -q 'errors: 0, replies: 5000' "$dir/got"
is 4999 GET pipe4999
n=$(cli --scan --pattern 'pipe*' | sort -u | wc -l)
check "redis-cli --scan finds 5000 keys: $n" [ "$n" -eq 5000 ]
has 'iggest string found' --bigkeys

# Expiry, seen from outside
is OK SET brief x PX 50
tries=0
while [ "$(cli EXISTS brief)" != 0 ] && [ $tries -lt 1000 ]; do tries=$((tries + 1)); done
check 'a key with PX 50 vanishes' [ $tries -lt 1000 ]

# A crash in one connection
mkfifo "$dir/in"
redis-cli -p "$port" <"$dir/in" >"$dir/witness" 2>&1 &
witness=$!
exec 4>"$dir/in"
echo 'SET witness before' >&4
has 'Server closed the connection' DEBUG SEGFAULT
echo 'GET witness' >&4
exec 4>&-
wait $witness
if [ "$(cat "$dir/witness")" = "$(printf 'OK\nbefore')" ]; then ok 'a crash harms no other connection'
else
    not_ok 'a crash harms no other connection'
    cat "$dir/witness"
fi
is PONG PING
is OK FLUSHALL

if command -v redis-benchmark >/dev/null 2>&1; then
    bench() { limit 300 redis-benchmark -p "$port" -c 50 -n $requests -q "$@" >"$dir/bench" 2>&1; }
    for pipeline in 1 16 64; do
        for size in 3 1000; do
            bench -P $pipeline -d $size -r 1000 -t ping,set,get,incr,mset
            status=$?
            lines=$(tr '\r' '\n' <"$dir/bench" | grep -c 'requests per second')
            if [ $status -eq 0 ] && [ "$lines" -ge 6 ] && ! grep -qi error "$dir/bench"; then
                ok "redis-benchmark -P $pipeline -d $size"
            else
                not_ok "redis-benchmark -P $pipeline -d $size: status $status, $lines results"
                tr '\r' '\n' <"$dir/bench" | tail -n 5
            fi
        done
    done
    bench -P 1 -d 100000 -t set,get
    check 'redis-benchmark -d 100000' grep -q 'requests per second' "$dir/bench"
    bench -P 4 --threads 2 -t set,get
    check 'redis-benchmark --threads 2' grep -q 'requests per second' "$dir/bench"
    bench -k 0 -P 1 -t ping
    check 'redis-benchmark -k 0, a connection for each request' grep -q 'requests per second' "$dir/bench"
    is PONG PING
    # SIGTERM in the middle of a run
    redis-benchmark -p "$port" -c 50 -n 100000000 -P 16 -q -t get >"$dir/bench" 2>&1 &
    benchmark=$!
    tries=0
    while [ "$(cli CLIENT LIST | wc -l)" -lt 50 ] && [ $tries -lt 1000 ]; do tries=$((tries + 1)); done
    check 'redis-benchmark is at work' [ $tries -lt 1000 ]
    stop ' with redis-benchmark at work'
    wait $benchmark
else
    skip 'redis-benchmark is not installed'
    stop
fi

start --max-value 1000 --max-clients 50
is OK SET a b
stop ' of an idle server'
if grep -v -e segfault -e SIGSEGV -e crash "$dir/err" | grep -qi -e 'leaked' -e 'sanitizer'; then
    not_ok 'messages of the server'
    cat "$dir/err"
fi
total
