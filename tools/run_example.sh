#!/bin/sh
# Builds examples with the cc line that they name, runs them and compares what they print.
#
#   tools/run_example.sh [examples/x.c …]    default: all of examples/*.c
#
# An example opens with a comment that holds its `cc …` line, and ends with the comment
#     /* Output:
#     the exact lines
#     */
# Further lines in the opening comment:
#     args: …                         what to run it with, seen from the directory in which the cc line works
#     unordered                       the order of the lines is not compared
#     not run by the tests: reason    it is only compiled
#
# CC replaces cc; CFLAGS are added to its line; BUILD is where programs go (default build/examples);
# WRAP is a command in front of the program, such as valgrind.
cd "$(dirname "$0")/.." || exit 1
. tools/tally.sh
BUILD=${BUILD:-build/examples}
CC=${CC:-cc}
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
mkdir -p "$BUILD"

head_comment() { awk '{ print } /\*\// { exit }' "$1"; }

# The value of a "key: value" line of the opening comment.
value_of() { head_comment "$1" | sed -n "s/^[ *]*$2 *\(.*\)\$/\1/p" | sed 's/ *\*\/ *$//' | head -n 1; }

expected_output() {
    awk '/^\/\* Output:/ { on = 1; next }
         on && /\*\/ *$/ { sub(/ *\*\/ *$/, ""); if ($0 != "") print; exit }
         on              { print }' "$1"
}

# cc_line SOURCE: sets line and the directory in which it works.
cc_line() {
    line=$(head_comment "$1" | sed -n 's/^[ *]*\(Build: *\)\{0,1\}\(cc .*\)$/\2/p' | sed 's/ *\*\/ *$//' | head -n 1)
    case $line in
    *examples/*) dir=. ;;
    *) dir=$(dirname "$1") ;;
    esac
}

if [ "${1-}" = --build ]; then                  # one program, called below
    name=$(basename "$2" .c)
    cc_line "$2"
    rm -f "$BUILD/$name"
    case $line in
    *"$name.c"*) ;;
    *) echo "its first comment has no cc line that names $name.c" >"$BUILD/$name.log"; exit 0 ;;
    esac
    # Of several -o, or -O, the last one counts.
    (cd "$dir" && eval "$CC ${line#cc } $WARN -Werror ${CFLAGS-} -o '$BUILD/$name'") >"$BUILD/$name.log" 2>&1
    exit 0                                      # a missing program is reported below
fi

one() {
    source=$1
    name=$(basename "$source" .c)
    cc_line "$source"
    if [ ! -x "$BUILD/$name" ]; then
        not_ok "$source does not compile: $line"
        head -n 40 "$BUILD/$name.log"
        return
    fi
    if reason=$(value_of "$source" 'not run by the tests:') && [ -n "$reason" ]; then
        ok "$source compiles (not run: $reason)"
        return
    fi
    if ! grep -q '^/\* Output:' "$source"; then
        not_ok "$source has no comment with its output"
        return
    fi
    args=$(value_of "$source" 'args:')
    expected_output "$source" >"$BUILD/$name.expected"
    # What goes to stderr, such as a crash report, is not part of the comparison.
    (cd "$dir" && eval "limit ${TIMEOUT:-30} ${WRAP-} '$BUILD/$name' $args") \
        >"$BUILD/$name.out" 2>"$BUILD/$name.err" </dev/null
    status=$?
    if head_comment "$source" | grep -Eq '^[ *]*unordered( *\*/)? *$'; then
        for f in out expected; do sort "$BUILD/$name.$f" -o "$BUILD/$name.$f"; done
    fi
    if ! diff "$BUILD/$name.expected" "$BUILD/$name.out" >"$BUILD/$name.diff"; then
        not_ok "$source prints something else (< expected, > printed), exit status $status:"
        head -n 40 "$BUILD/$name.diff"
        tail -n 40 "$BUILD/$name.err"
    elif [ "$status" -ne 0 ] && ! value_of "$source" 'status:' | grep -qx "$status"; then
        not_ok "$source ends with exit status $status"
        tail -n 40 "$BUILD/$name.err"
    else
        ok "$source"
    fi
}

if [ $# -eq 0 ]; then set -- examples/*.c; fi
export BUILD CC CFLAGS
printf '%s\n' "$@" | xargs -P 2 -n 1 sh tools/run_example.sh --build
for example in "$@"; do one "$example"; done
total
