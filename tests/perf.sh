#!/bin/sh
# Samples belong to the functions of processes: by a chain of frame pointers from a SIGPROF handler, and by perf, which
# follows the same chain or the unwind information. Ends with "N passed, N failed".
cd "$(dirname "$0")/.." || exit 1
. tools/tally.sh
dir=build/perf
rm -rf "$dir"
mkdir -p "$dir"

# attributed NAME DATA: samples in burn() stand on the function of a process.
attributed() {
    perf script -i "$2" -F ip,sym >"$2.txt" 2>/dev/null
    for which in first second; do
        awk -v which=$which 'BEGIN { RS = "" }
            /burn/ { all++; known += /(first|second)_process/ && /otp__enter/; good += $0 ~ which "_process" }
            END { printf "%d of %d samples stand on otp__enter and a process, %d of them on %s_process\n", known, all, good, which
                  exit !(good >= 20 && known >= all * 0.98) }' "$2.txt" >"$2.$which" && ok "$1: $(cat "$2.$which")" ||
            not_ok "$1: $(cat "$2.$which")"
    done
}

for compiler in gcc clang; do
    command -v $compiler >/dev/null 2>&1 || { skip "$compiler is not installed"; continue; }
    bin=$dir/profile.$compiler
    # shellcheck disable=SC2086
    if ! $compiler -std=c11 $WARN -O2 -g -fno-omit-frame-pointer -pthread -I. -o "$bin" tests/debug/profile.c >"$dir/log" 2>&1; then
        not_ok "$compiler: does not compile"
        head -n 20 "$dir/log"
        continue
    fi
    if limit 60 "$bin" walk >"$bin.walk"; then ok "$compiler, frame pointers: $(cat "$bin.walk")"
    else not_ok "$compiler, frame pointers: $(cat "$bin.walk")"; fi
    # cpu-clock: a virtual machine has no counters. The kernel may forbid it.
    if ! command -v perf >/dev/null 2>&1; then
        skip 'perf is not installed'
        continue
    fi
    for how in fp dwarf,8192; do
        data=$bin.$how.data
        if limit 120 perf record -q -e cpu-clock:u -F 499 --call-graph $how -o "$data" "$bin" >"$dir/record.log" 2>&1; then
            attributed "$compiler, perf --call-graph $how" "$data"
        else
            skip "perf cannot record here: $(head -n 1 "$dir/record.log")"
        fi
    done
done
total
