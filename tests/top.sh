#!/bin/sh
# tools/otp-top against a live program, and tools/trace_svg against a timeline; ends with "N passed, N failed".
#
# CC and BUILD (default build/top) as usual. The terminal is checked where tmux is installed.
cd "$(dirname "$0")/.." || exit 1
. tools/tally.sh
BUILD=${BUILD:-build/top}
CC=${CC:-cc}
mkdir -p "$BUILD"
dir=$(mktemp -d) || exit 1
sock=$dir/top.sock
top=$BUILD/otp-top
tm="tmux -L otp-top-$$"

# Starts the program; its standard input is a pipe that fd 9 holds open, and that ends it.
start() {
    rm -f "$dir/in" "$dir/out"
    mkfifo "$dir/in" || return 1
    OTP_TOP=$sock OTP_TRACE=/dev/null "$BUILD/top_program" <"$dir/in" >"$dir/out" 2>"$dir/err" &
    program=$!
    exec 9>"$dir/in"
    for _ in $(seq 200); do
        if grep -q ready "$dir/out"; then return 0; fi
        sleep 0.1
    done
    cat "$dir/err"
    return 1
}

stop() {
    exec 9>&-
    wait "$program"
}

cleanup() {
    if command -v tmux >/dev/null 2>&1; then $tm kill-server 2>/dev/null; fi
    if [ -n "${program-}" ]; then kill "$program" 2>/dev/null; fi
    rm -rf "$dir"
}
trap cleanup EXIT

# names OPTIONS…: the column NAME of one table.
names() { "$top" -b "$@" "$sock" | awk 'NR > 2 && NF { print substr($0, 14, 20) }' | sed 's/ *$//'; }

# first KEY LIMIT NAMES…: the first rows when sorted by KEY.
first() {
    key=$1 limit=$2
    shift 2
    want=$(printf '%s\n' "$@")
    have=$(names -s "$key" -l "$limit")
    if [ "$have" = "$want" ]; then return 0; fi
    printf 'wanted:\n%s\nfound:\n%s\n' "$want" "$have"
    return 1
}

queue_of_computing() { "$top" -b -s q "$sock" | grep -Eq '^<[0-9.]+> +computes +running +7 '; }

# In the second table the reductions are those since the first one.
by_reductions() {
    "$top" -b -s r -l 1 -n 2 -d 0.3 "$sock" >"$dir/two" || return 1
    cat "$dir/two"
    [ "$(grep -c '^PID' "$dir/two")" = 2 ] && [ "$(grep -c ' works ' "$dir/two")" = 2 ]
}

two_clients() {
    "$top" -b -n 5 -d 0.1 "$sock" >"$dir/a" &
    other=$!
    "$top" -b -n 5 -d 0.1 "$sock" >"$dir/b" || return 1
    wait "$other" && [ "$(grep -c '^PID' "$dir/a")" = 5 ] && [ "$(grep -c '^PID' "$dir/b")" = 5 ]
}

# A client that is killed while it waits, and one whose reader is gone: the program serves the next one.
gone_clients() {
    "$top" -b -n 1000 -d 0.1 "$sock" >/dev/null &
    victim=$!
    sleep 0.3
    kill -9 "$victim"
    wait "$victim" 2>/dev/null
    "$top" -b -n 50 -d 0.1 "$sock" | head -n 1 >/dev/null
    first q 1 'queue 300'
}

bad_usage() {
    for options in '' '-s z x' '-n 0 x' '-d 0 x' '--what x' 'a b'; do
        # shellcheck disable=SC2086
        "$top" $options >/dev/null 2>&1
        if [ $? -ne 2 ]; then echo "options: $options"; return 1; fi
    done
    "$top" -b "$dir/nothing" 2>"$dir/err.top"
    [ $? -eq 1 ] && grep -q 'nothing' "$dir/err.top"
}

timeline() {
    "$top" -t "$sock" >"$dir/live.json" && "$BUILD/trace_svg" "$dir/live.json" >"$dir/live.svg" &&
        grep -q 'without scheduler' "$dir/live.svg" && grep -q '</svg>' "$dir/live.svg"
}

# screen NAME PATTERN: waits until the terminal shows it.
screen() {
    for _ in $(seq 100); do
        $tm capture-pane -p >"$dir/screen"
        if grep -Eq "$1" "$dir/screen"; then return 0; fi
        sleep 0.1
    done
    echo "not on the screen: $1"
    cat "$dir/screen"
    return 1
}

terminal() {
    $tm new-session -d -x 100 -y 10 'sh' 9>&- || return 1     # or it would keep the program alive
    $tm send-keys "stty -a | tr ';' '\n' | grep -c icanon; PS1='back '; clear; $top -d 0.5 $sock" Enter
    screen '^sort: r m q n' && screen '\*NEW REDS' || return 1
    $tm send-keys q
    screen '\*QUEUE' && screen 'queue 300' || return 1
    if [ "$(wc -l <"$dir/screen")" -ne 10 ]; then cat "$dir/screen"; return 1; fi
    $tm resize-window -x 60 -y 7
    for _ in $(seq 50); do
        $tm capture-pane -p >"$dir/screen"
        if sed -n 7p "$dir/screen" | grep -q '^sort:'; then break; fi
        sleep 0.1
    done
    if ! sed -n 7p "$dir/screen" | grep -q '^sort:'; then cat "$dir/screen"; return 1; fi
    $tm send-keys x
    screen '^back' || return 1
    $tm send-keys "stty -a | grep -c -- '-icanon'; echo typed" Enter
    screen '^typed' && screen '^0' || return 1
    $tm send-keys "clear; $top -d 0.5 $sock; echo status \$?" Enter
    screen '^sort: r m q n'
}

after_the_end() {
    if [ -e "$sock" ] && "$top" -b "$sock" 2>/dev/null; then return 1; fi
}

# shellcheck disable=SC2086
check 'otp-top compiles without a warning' $CC -std=c11 $WARN -Werror -O2 -o "$top" tools/otp-top.c
# shellcheck disable=SC2086
check 'trace_svg compiles without a warning' $CC -std=c11 $WARN -Werror -O2 -o "$BUILD/trace_svg" tools/trace_svg.c -lm
# shellcheck disable=SC2086
check 'trace_cost compiles without a warning' $CC -std=c11 $WARN -Werror -O1 -pthread -I. -o "$BUILD/trace_cost" bench/trace_cost.c
# shellcheck disable=SC2086
check 'the program compiles' $CC -std=c11 $WARN -Werror -O1 -g -pthread -I. -o "$BUILD/top_program" tests/top_program.c
# not by check, which runs its command in a shell of its own
if start; then ok 'the program is ready'; else not_ok 'the program is not ready'; fi
check 'only this user may open the socket' test "$(find "$sock" -perm 600 -type s)" = "$sock"
check 'sorted by queue' first q 3 'queue 300' 'queue 20' 'computes'
check 'sorted by memory' first m 2 'memory 4M' 'memory 2M'
check 'sorted by name' first n 6 'computes' 'memory 2M' 'memory 4M' 'queue 20' 'queue 300' 'works'
check 'sorted by new reductions' by_reductions
check 'the mailbox of one that computes is counted' queue_of_computing
check 'two clients' two_clients
check 'clients that go away' gone_clients
check 'bad options, no program' bad_usage
check 'the timeline through the socket, drawn' timeline
if command -v tmux >/dev/null 2>&1; then
    check 'in a terminal: keys, resize, restored at the end' terminal
    stop
    check 'in a terminal: the program ends' screen '^status 0'
else
    skip 'in a terminal: tmux is not installed'
    stop
fi
check 'after the end of the program' after_the_end
program=
total
