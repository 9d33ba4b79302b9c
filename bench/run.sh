#!/bin/sh
# Measures otp.h beside the peers that are installed.                 SPDX-License-Identifier: MIT
#
#   bench/run.sh [WORKLOAD]      all workloads, or one (ring, echo, kv, programs ...)
#   RUNS=3                       runs of each program; they alternate: otp.h, peer, peer, otp.h, peer ...
#   N=100000                     operations instead of each workload's own number (for a quick try)
#   KV=0, PROGRAMS=0             leave out the key-value server, the whole-program comparison
#
# Writes bench/results/latest.tsv and bench/results/*.svg, prints one table. See bench/README.md.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
build=$root/build/bench
results=$here/results
runs=${RUNS:-3}
only=${WORKLOAD:-}
[ $# -gt 0 ] && only=$1
n=${N:-}
tab=$(printf '\t')
mkdir -p "$build" "$results"
raw=$build/raw.tsv
failures=$build/failures
: >"$raw"
: >"$failures"

have() { command -v "$1" >/dev/null 2>&1; }
progress() { [ ! -t 2 ] || printf '\r\033[K%s' "$*" >&2; }
note() {
    progress ''
    printf 'bench: %s\n' "$*" >&2
}

# -- workload : schedulers : programs besides otp.h
list='ctxswitch:1:boost_context libaco minicoro
pingpong:1:erlang go caf boost_fiber libdill neco
pingpong_2:2:erlang go caf
pingpong_pairs:2:erlang go caf boost_fiber libdill
ring:2:erlang go boost_fiber libdill
spawn:2:erlang go boost_fiber libdill neco
skynet:2:erlang go caf neco
fanin:2:erlang go caf
fanin_1:1:erlang go caf boost_fiber neco
idle_handler:2:erlang go
idle_function:2:erlang go neco
idle_hibernated:2:erlang
timers_cancel:2:erlang go
timers_fire:2:erlang go
echo:2:erlang go raw_epoll
preempt_delay:1:erlang go
call:1:erlang go
call_2:2:erlang go
call_clients:2:erlang go
selective:1:erlang
cast:1:erlang go
idle_server:2:erlang'
echo "$list" >"$build/list"

# -- which programs there are
programs=
takes_part() { # program: has it a part in what is measured now?
    case $only:$1 in
    :* | *:warm | programs:erlang | programs:go) return 0 ;;
    esac
    grep -q "^$only:.*[: ]$1\\( .*\\)*\$" "$build/list"
}
build_program() { # name, what it takes, command ...
    name=$1 needs=$2
    shift 2
    takes_part "$name" || return 0
    if "$@" >"$build/$name.log" 2>&1; then
        programs="$programs $name"
    else
        note "skipped: $name (needs $needs; see $build/$name.log)"
    fi
}
if ! ${CC:-cc} -std=c11 ${BENCH_CFLAGS:--O2} -pthread -Wl,-z,now -I"$root" -o "$build/otp.h" "$here/bench.c" -lm \
    2>"$build/otp.h.log"; then
    cat "$build/otp.h.log" >&2
    note "the C side does not build"
    exit 1
fi
if have erlc && have erl; then
    build_program erlang erlang-base erlc -o "$build" "$here/peers/bench.erl"
else
    note "skipped: erlang (needs erlc and erl; Debian: erlang-base)"
fi
if have go; then
    build_program go golang-go env GO111MODULE=off go build -o "$build/go" "$here/peers/bench.go"
else
    note "skipped: go (needs go; Debian: golang-go)"
fi
if have "${CXX:-c++}"; then
    build_program boost_context libboost-context-dev "${CXX:-c++}" -O2 -o "$build/boost_context" \
        "$here/peers/boost_context.cpp" -lboost_context
    build_program boost_fiber libboost-fiber-dev "${CXX:-c++}" -O2 -pthread -o "$build/boost_fiber" \
        "$here/peers/boost_fiber.cpp" -lboost_fiber -lboost_context
    build_program caf "libcaf-dev 0.17" "${CXX:-c++}" -std=c++17 -O2 -pthread -o "$build/caf" \
        "$here/peers/caf.cpp" -lcaf_core
else
    note "skipped: boost_context, boost_fiber, caf (need a C++ compiler, Boost and CAF)"
fi
# Not in Debian: found where they are installed, or by CPATH and LIBRARY_PATH.
build_program libdill "libdill.h and libdill.a" ${CC:-cc} -O2 -o "$build/libdill" \
    "$here/peers/libdill.c" -ldill -lpthread
build_program neco "neco.h and libneco.a" ${CC:-cc} -O2 -o "$build/neco" "$here/peers/neco.c" -lneco -lpthread -ldl
build_program minicoro "minicoro.h and libminicoro.a" ${CC:-cc} -O2 -flto -o "$build/minicoro" \
    "$here/peers/minicoro.c" -lminicoro
build_program libaco "aco.h and libaco.a" ${CC:-cc} -O2 -o "$build/libaco" "$here/peers/libaco.c" -laco
build_program warm Linux ${CC:-cc} -O2 -o "$build/warm" "$here/warm.c"
build_program raw_epoll Linux ${CC:-cc} -O2 -pthread -o "$build/raw_epoll" "$here/peers/raw_epoll.c"

command_of() { # program workload schedulers: the command line
    case $1 in
    otp.h | caf) echo "$build/$1 $2 $3 $n" ;;
    erlang) echo "erl -noshell -noinput +P 4000000 +S $3:$3 -pa $build -run bench main $2 $n" ;;
    go) echo "env GOMAXPROCS=$3 $build/go $2 $n" ;;
    boost_fiber | libdill | neco) echo "$build/$1 $2 $n" ;;
    *) echo "$build/$1 $n" ;;
    esac
}

limit=
have timeout && limit='timeout 120'
measure() { # program workload schedulers
    # The memory of a virtual machine comes from its host at the first touch, which takes longer than what is measured.
    case $2 in idle_*) [ ! -x "$build/warm" ] || "$build/warm" ;; esac
    # shellcheck disable=SC2046     # a command line, to be split into words
    $limit $(command_of "$1" "$2" "$3") >"$build/out" 2>"$build/err" </dev/null
    case $? in
    0) ;;
    77) [ "$run" -gt 1 ] || note "skipped: $1 $2 ($(tail -n 1 "$build/err"))" ;;     # cannot be done here
    *)
        note "FAILED: $1 $2: $(tail -n 1 "$build/err")"
        echo "$2 $1" >>"$failures"
        ;;
    esac
    cat "$build/out" >>"$raw"
}

wanted() { [ -z "$only" ] || [ "$only" = "$1" ]; }

known=$(cut -d: -f1 "$build/list" | tr '\n' ' ')
case " $known kv programs " in
*" ${only:-ring} "*) ;;
*)
    note "unknown workload $only; there are: $known kv programs"
    exit 2
    ;;
esac

while IFS=: read -r workload schedulers peers; do
    wanted "$workload" || continue
    for run in $(seq "$runs"); do
        progress "$workload, run $run of $runs"
        measure otp.h "$workload" "$schedulers"
        for peer in $peers; do
            case " $programs " in *" $peer "*) measure "$peer" "$workload" "$schedulers" ;; esac
        done
    done
done <"$build/list"

# -- the key-value server beside redis-server: a script of its own, which prints lines of the same form
if wanted kv && [ "${KV:-1}" != 0 ]; then
    if [ -f "$here/kv_bench.sh" ]; then
        progress "kv, $runs runs"
        if ! RUNS=$runs bash "$here/kv_bench.sh" --raw >"$build/kv.tsv"; then
            note "FAILED: kv"
            echo kv >>"$failures"
        fi
        grep "$tab" "$build/kv.tsv" >>"$raw" || true
    else
        note "skipped: kv (no kv_bench.sh)"
    fi
fi

# -- whole programs, start and end included
if wanted programs && [ "${PROGRAMS:-1}" != 0 ]; then
    if have hyperfine; then
        set --
        for program in otp.h erlang go; do
            case " otp.h $programs " in
            *" $program "*) set -- "$@" --command-name "$program" "$(command_of "$program" skynet 2)" ;;
            esac
        done
        progress "whole programs"
        if hyperfine -N --style none --warmup 1 --runs "$((runs + 2))" --export-csv "$build/hyperfine.csv" "$@" \
            >"$build/hyperfine.log" 2>&1; then
            awk -F, -v runs="$((runs + 2))" 'NR > 1 {
                for (i = 1; i <= 2; i++)        # best and median, as two runs; see the aggregation below
                    printf "skynet_program\t%s\t%.0f\tstart to end of the program; hyperfine runs=%d\n",
                        $1, (i == 1 ? $7 : $4) * 1e9, runs
            }' "$build/hyperfine.csv" >>"$raw"
        else
            note "FAILED: hyperfine; see $build/hyperfine.log"
            echo programs >>"$failures"
        fi
    else
        note "skipped: whole programs (needs hyperfine)"
    fi
fi

progress ''

# -- best and median of each program; rows of workloads not measured now stay as they were
latest=$results/latest.tsv
awk -F '\t' '
    {
        key = $1 FS $2
        if (!(key in count)) order[++keys] = key
        value[key, ++count[key]] = $3 + 0
        if (!(key in best) || $3 + 0 < best[key]) { best[key] = $3 + 0; extra[key] = $4 }
    }
    END {
        OFS = FS
        for (k = 1; k <= keys; k++) {
            key = order[k]
            n = count[key]
            for (i = 2; i <= n; i++)
                for (j = i; j > 1 && value[key, j] < value[key, j - 1]; j--) {
                    t = value[key, j]; value[key, j] = value[key, j - 1]; value[key, j - 1] = t
                }
            median = n % 2 ? value[key, (n + 1) / 2] : (value[key, n / 2] + value[key, n / 2 + 1]) / 2
            shown = n
            if (match(extra[key], /; hyperfine runs=[0-9]+/)) {     # two lines stand for all its runs
                median = value[key, n]
                shown = substr(extra[key], RSTART + 17, RLENGTH - 17)
                extra[key] = substr(extra[key], 1, RSTART - 1)
            }
            printf "%s\t%.2f\t%.2f\t%d\t%s\n", key, best[key], median, shown, extra[key]
        }
    }' "$raw" >"$build/new.tsv"
[ -f "$latest" ] || : >"$latest"
{
    printf 'workload\tprogram\tbest_ns\tmedian_ns\truns\textra\n'
    {
        cat "$build/new.tsv"
        [ -n "$only" ] && awk -F '\t' -v new="$build/new.tsv" 'FILENAME == new { fresh[$1] = 1; next }
            FNR > 1 && !($1 in fresh)' "$build/new.tsv" "$latest"
    } | awk -F '\t' '       # in the order of targets.tsv, what it does not name last
        NR == FNR { if (!/^#/) place[$1] = ++last; next }
        { printf "%d\t%d\t%s\n", ($1 in place ? place[$1] : 9999), FNR, $0 }' "$here/targets.tsv" - |
        sort -t "$tab" -k 1,1n -k 2,2n | cut -f 3-
} >"$build/latest.tsv"
mv "$build/latest.tsv" "$latest"

# -- the table
awk -F '\t' -v only="$only" -v new="$build/new.tsv" '
    function format(x, unit) {
        if (unit == "bytes") return sprintf("%.0f B", x)
        if (x >= 10000000) return sprintf("%.1f ms", x / 1e6)
        if (x >= 100000) return sprintf("%.0f us", x / 1e3)
        return x < 100 ? sprintf("%.1f", x) : sprintf("%.0f", x)
    }
    function asked(metric, program,    parts, i, pair, bound) {
        bound = target[metric]
        if (bound ~ /\*/ || bound + 0 == 0) return ""
        split(reference[metric], parts, ",")
        for (i in parts) { split(parts[i], pair, "="); if (pair[1] == program) return sprintf("%.1f", pair[2] / bound) }
        return ""
    }
    function cell(metric, program,    ratio, want) {
        if (!((metric, program) in best)) return "-"
        if (!((metric, "otp.h") in best)) return format(best[metric, program], unit[metric])
        ratio = best[metric, program] / (best[metric, "otp.h"] > 0 ? best[metric, "otp.h"] : 1)
        want = asked(metric, program)
        return sprintf("%s  %.1fx%s", format(best[metric, program], unit[metric]), ratio, want == "" ? "" : " (" want ")")
    }
    FILENAME == new { fresh[$1] = 1; next }
    /^#/ { next }
    NF == 4 { target[$1] = $3; reference[$1] = $4; next }
    $1 == "workload" { next }
    {
        if (!($1 in seen)) { seen[$1] = 1; metrics[++m] = $1 }
        best[$1, $2] = $3
        if ($6 ~ /unit=bytes/) unit[$1] = "bytes"
        if ($2 != "otp.h" && $2 != "erlang" && $2 != "go" && !(($1, $2) in other)) {
            other[$1, $2] = 1
            others[$1] = others[$1] (others[$1] == "" ? "" : " ") $2
        }
    }
    END {
        rows = 1
        split("workload|otp.h|at most|met|Erlang  ratio (asked)|Go  ratio (asked)|other peers", head, "|")
        for (c = 1; c <= 7; c++) table[1, c] = head[c]
        for (i = 1; i <= m; i++) {
            w = metrics[i]
            if (only != "" && !(w in fresh)) continue
            rows++
            table[rows, 1] = w
            ours = ((w, "otp.h") in best) ? best[w, "otp.h"] : ""
            table[rows, 2] = ours == "" ? "-" : format(ours, unit[w])
            bound = ""
            if (target[w] ~ /\*/) {
                split(target[w], t, "*")
                if ((w, t[2]) in best) bound = t[1] * best[w, t[2]]
                else if ((t[2], "otp.h") in best) bound = t[1] * best[t[2], "otp.h"]
            } else if (target[w] != "" && target[w] != "-") bound = target[w]
            table[rows, 3] = bound == "" ? "-" : format(bound, unit[w])
            table[rows, 4] = bound == "" || ours == "" ? "-" : (ours <= bound ? "yes" : sprintf("%.2fx", ours / bound))
            table[rows, 5] = cell(w, "erlang")
            table[rows, 6] = cell(w, "go")
            table[rows, 7] = ""
            k = split(others[w], names, " ")
            for (j = 1; j <= k; j++) table[rows, 7] = table[rows, 7] (j > 1 ? ", " : "") names[j] " " cell(w, names[j])
            if (k == 0) table[rows, 7] = "-"
        }
        for (r = 1; r <= rows; r++)
            for (c = 1; c <= 7; c++) if (length(table[r, c]) > width[c]) width[c] = length(table[r, c])
        for (r = 1; r <= rows; r++) {
            line = ""
            for (c = 1; c <= 7; c++)
                line = line sprintf("%" (c == 1 || c == 7 ? "-" : "") width[c] "s", table[r, c]) "   "
            sub(/ +$/, "", line)
            print line
        }
    }' "$build/new.tsv" "$here/targets.tsv" "$latest"
echo "Nanoseconds for each operation, best of the runs; ratio: peer / otp.h in this run, in brackets what is asked for."
echo "Written to bench/results/latest.tsv"

# -- pictures
chart() { # file, title, unit, workloads ...
    chart=$1 title=$2 unit=$3
    shift 3
    columns=$(awk -F '\t' -v names="$*" -v out="$build/$chart.dat" '
        BEGIN { rows = split(names, row, " "); for (i in row) listed[row[i]] = 1 }
        $1 in listed { value[$1, $2] = $3; present[$1] = 1; column[$2] = 1 }
        END {       # always in this order, so that a program has the same colour in most pictures
            known = split("otp.h erlang go boost_fiber libdill caf neco boost_context libaco minicoro raw_epoll " \
                "redis-server", order, " ")
            for (k = 1; k <= known; k++) if (order[k] in column) { program[++n] = order[k]; delete column[order[k]] }
            for (other in column) program[++n] = other
            line = "workload"
            for (c = 1; c <= n; c++) line = line " " program[c]
            print line >out
            for (r = 1; r <= rows; r++) {
                if (!(row[r] in present)) continue
                line = row[r]
                for (c = 1; c <= n; c++) line = line " " ((row[r], program[c]) in value ? value[row[r], program[c]] : "-")
                print line >out
            }
            print n + 0
        }' "$latest")
    [ "$columns" -gt 0 ] || return 0
    gnuplot -e "data='$build/$chart.dat'; out='$results/$chart.svg'; name='$title'; unit='$unit'; n=$columns" \
        "$here/plot.gp" 2>"$build/gnuplot.log" || note "FAILED: gnuplot; see $build/gnuplot.log"
}
if have gnuplot; then
    ns='ns for each operation (log scale, less is better)'
    chart messages 'Messages' "$ns" ctxswitch pingpong pingpong_2 pingpong_pairs ring fanin fanin_1
    chart processes 'Processes' "$ns" spawn skynet idle_handler_create idle_handler idle_function_create idle_function
    chart memory 'A waiting process' 'bytes (log scale, less is better)' idle_handler_bytes idle_server_bytes \
        idle_function_bytes idle_hibernated_bytes
    chart calls 'Servers' "$ns" call call_2 call_clients selective cast idle_server_create idle_server
    chart timers 'Timers' "$ns" timers_cancel timers_fire preempt_delay
    # shellcheck disable=SC2046     # a list of words
    chart sockets 'Sockets' "$ns" echo $(cut -f 1 "$latest" | grep '^kv' | sort -u)
else
    note "skipped: pictures (needs gnuplot)"
fi
if [ -s "$failures" ]; then
    note "failed: $(sort -u "$failures" | tr '\n' ';')"
    exit 1
fi
