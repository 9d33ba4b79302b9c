#!/usr/bin/env bash
# GET and SET of redis-benchmark, 50 clients, with 1 and 16 commands in a pipeline: examples/kv_server.c beside
# redis-server. The programs take turns in each run. redis-server serves with one thread, so ours has one scheduler; the
# workloads that end in _2 are ours with two schedulers (the client wants a core, too).
#
#   bench/kv_bench.sh           prints lines: workload, program, rps_best, rps_median, runs; then the ratios
#   bench/kv_bench.sh --raw     prints a line for each run: workload, program, ns per request, requests per second
#
# RUNS      how often, default 3
# SERVER    the program, default: examples/kv_server.c built with -O2
# REQUESTS  in a run without pipeline, default 100000; five times as many with one
# DATA      bytes of a value, default 3
# SERVER_ARGS  options for our server
set -u
cd "$(dirname "$0")/.." || exit 1
runs=${RUNS:-3}
requests=${REQUESTS:-100000}
raw=${1-}
dir=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

if ! command -v redis-benchmark >/dev/null 2>&1; then
    echo 'skipped: kv (redis-benchmark is not installed)' >&2
    exit 0
fi
server=${SERVER:-}
if [ -z "$server" ]; then
    server=$dir/kv_server
    if ! ${CC:-cc} -O2 -pthread -I. -Wl,-z,now -o "$server" examples/kv_server.c; then exit 1; fi
fi

declare -A our_port
for schedulers in 1 2; do
    mkfifo "$dir/out$schedulers"
    # shellcheck disable=SC2086
    "$server" --port 0 --schedulers $schedulers ${SERVER_ARGS:-} >"$dir/out$schedulers" &
    pids+=($!)
    exec {out}<"$dir/out$schedulers"
    port=
    while [ -z "$port" ] && read -r line <&"$out"; do port=$(sed -n 's/.* -p \([0-9]*\)$/\1/p' <<<"$line"); done
    if [ -z "$port" ]; then
        echo 'our server does not start' >&2
        exit 1
    fi
    our_port[$schedulers]=$port
done

programs='otp.h'
if command -v redis-server >/dev/null 2>&1; then
    # It cannot be told to take any free port: one is tried after the other.
    for redis_port in $(seq $((20000 + RANDOM % 10000)) 32767); do
        redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no --dir "$dir" >"$dir/redis.log" 2>&1 &
        redis_pid=$!
        while kill -0 $redis_pid 2>/dev/null && ! grep -q 'Ready to accept' "$dir/redis.log"; do sleep 0.1; done
        if kill -0 $redis_pid 2>/dev/null; then break; fi
    done
    pids+=("$redis_pid")
    programs='redis-server otp.h'
else
    echo 'redis-server is not installed: only our own figures' >&2
fi

# one WORKLOAD PROGRAM COMMAND PIPELINE SCHEDULERS: adds a line with the requests per second
one() {
    local port=${our_port[$5]} n=$requests rps
    if [ "$2" = redis-server ]; then port=$redis_port; fi
    if [ "$4" -gt 1 ]; then n=$((requests * 5)); fi
    rps=$(timeout 120 redis-benchmark -h 127.0.0.1 -p "$port" -c 50 -n "$n" -P "$4" -d "${DATA:-3}" -r 10000 -t "$3" --csv 2>&1 |
        sed -n 's/^"[SG]ET","\([0-9.]*\)".*/\1/p')
    if [ -z "$rps" ]; then
        echo "no result of $1, $2" >&2
        return 1
    fi
    printf '%s\t%s\t%s\n' "$1" "$2" "$rps" >>"$dir/results"
}

status=0
for ((run = 0; run < runs; run++)); do
    for pipeline in 1 16; do
        for command in set get; do
            for program in $programs; do one "kv_${command}_p$pipeline" "$program" $command $pipeline 1 || status=1; done
            one "kv_${command}_p${pipeline}_2" otp.h $command $pipeline 2 || status=1
        done
    done
done
if [ "$raw" = --raw ]; then
    awk -F '\t' '{ printf "%s\t%s\t%.1f\trps=%.0f\n", $1, $2, 1e9 / $3, $3 }' "$dir/results"
    exit $status
fi
sort -t "$(printf '\t')" -k 1,2 -k 3,3gr "$dir/results" | awk -F '\t' '
    { key = $1 FS $2; if (!(key in n)) order[++keys] = key; value[key, ++n[key]] = $3; workload[key] = $1; program[key] = $2 }
    END {
        print "workload\tprogram\trps_best\trps_median\truns"
        for (k = 1; k <= keys; k++) {
            key = order[k]; c = n[key]
            median = c % 2 ? value[key, (c + 1) / 2] : (value[key, c / 2] + value[key, c / 2 + 1]) / 2
            printf "%s\t%.0f\t%.0f\t%d\n", key, value[key, 1], median, c
            best[workload[key], program[key]] = value[key, 1]
            middle[workload[key], program[key]] = median
        }
        for (k = 1; k <= keys; k++) {
            w = workload[order[k]]
            if (program[order[k]] != "otp.h" || !((w, "redis-server") in best)) continue
            printf "%s\tratio\t%.2f\t%.2f\t%d\n", w, best[w, "otp.h"] / best[w, "redis-server"],
                middle[w, "otp.h"] / middle[w, "redis-server"], n[order[k]]
        }
    }'
exit $status
