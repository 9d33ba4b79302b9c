# Sourced by the scripts that count: ok, not_ok and total, so that every one of them ends with the same line.
# Nothing here is specific to otp.h.
passed=0
failed=0

ok() { passed=$((passed + 1)); printf 'ok   %s\n' "$*"; }
not_ok() { failed=$((failed + 1)); printf 'FAIL %s\n' "$*"; }
skip() { printf 'skip %s\n' "$*"; }

# total: the closing line, and the exit status of the script that ends with it. Nothing counted is a failure.
total() {
    if [ $((passed + failed)) -eq 0 ]; then not_ok 'nothing was tested'; fi
    printf '%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ]
}

# check NAME COMMAND…: one result from one command, whose output is shown only if it fails.
check() {
    check_name=$1
    shift
    if check_output=$("$@" 2>&1); then
        ok "$check_name"
    else
        not_ok "$check_name"
        printf '%s\n' "$check_output" | head -n "${SHOW_LINES:-60}" | sed 's/^/     /'
    fi
}

# add_results NAME LOG STATUS: adds the closing line of a finished program ("N passed, N failed", and maybe a comma and
# more); without one it counts as one failure.
# Sets `added` to what it found, for the report.
add_results() {
    added=$(sed -n 's/^\([0-9][0-9]*\) passed, \([0-9][0-9]*\) failed\(, .*\)\{0,1\}$/\1 \2/p' "$2" | tail -n 1)
    if [ -z "$added" ]; then
        added='0 1'
    elif [ "$3" -ne 0 ] && [ "${added#* }" -eq 0 ]; then
        added="${added% *} 1"
    fi
    passed=$((passed + ${added% *}))
    failed=$((failed + ${added#* }))
}

# limit SECONDS COMMAND…: the command, ended when it takes longer. macOS has no timeout(1), but it has perl.
limit() {
    if command -v timeout >/dev/null 2>&1; then
        limit_s=$1
        shift
        timeout -k 5 "$limit_s" "$@"
    elif command -v perl >/dev/null 2>&1; then
        perl -e 'alarm shift; exec @ARGV or exit 127' "$@"
    else
        shift
        "$@"
    fi
}

# find_cxx: the name of a C++ compiler, or nothing.
find_cxx() {
    for cxx in ${CXX:-c++ g++ clang++}; do
        if command -v "$cxx" >/dev/null 2>&1; then
            printf '%s\n' "$cxx"
            return
        fi
    done
}

# The strict set, as the house style names it. C++ knows neither of the prototype warnings.
WARN_BOTH='-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion'
WARN="$WARN_BOTH -Wstrict-prototypes -Wmissing-prototypes"
