#!/bin/sh
# Takes the ```c blocks out of README.md and docs/*.md and the first program out of the top comment of each header,
# compiles them without a warning, runs those that can run, and compares with the ```text block behind them.
# What kinds of block there are stands in CONTRIBUTING.md under "Snippets".
#
#   tools/snippets.sh [file …]               default: README.md CONTRIBUTING.md docs/*.md otp*.h
#
# CC and BUILD (default build/snippets) as usual.
cd "$(dirname "$0")/.." || exit 1
. tools/tally.sh
BUILD=${BUILD:-build/snippets}
CC=${CC:-cc}
FLAGS="-std=c11 -D_DEFAULT_SOURCE $WARN -Werror -O0 -g -pthread -I."
mkdir -p "$BUILD"
rm -f "$BUILD"/*.c "$BUILD"/*.expected

# Writes each block to a file and prints "path kind file:line" for it.
from_markdown() {
    awk -v build="$BUILD" -v headers="$(echo otp*.h)" '
    function begin_block(   base) {
        base = FILENAME
        gsub(/[^A-Za-z0-9]/, "_", base)
        path = build "/" base "_" FNR
        at = FILENAME ":" FNR
        kind = $0
        sub(/^```c */, "", kind)
        text = ""
    }
    function end_block() {
        if (kind ~ /^ignore:/) {
            print path, "ignore", at
        } else if (kind != "" && kind != "body" && kind != "file") {
            print path, "unknown", at
        } else {
            if (kind == "" && text ~ /int main\(/) kind = "program"
            if (kind == "" && text ~ /static void app\(/) kind = "app"
            if (kind == "" && text ~ /(^|\n)OTP_TEST\(/) kind = "test"
            if (kind == "") kind = "unknown"
            print path, kind, at
        }
        c = path ".c"
        printf "" > c
        if (text ~ /(^|\n)OTP_TEST\(/) print "#define OTP_IMPLEMENTATION\n#include \"otp_test.h\"" > c
        if (kind != "program") {
            n = split(headers, heads, " ")
            for (i = 1; i <= n; i++) print "#include \"" heads[i] "\"" > c
            split("inttypes stdio stdlib string unistd pthread sys/socket", heads, " ")
            for (i = 1; i in heads; i++) print "#include <" heads[i] ".h>" > c
        }
        if (kind == "body") print "static void app(void *arg)\n{\n    (void)arg;" > c
        line = at
        sub(/.*:/, "", line)
        printf "#line %d \"%s\"\n%s", line + 1, FILENAME, text > c
        if (kind == "body") print "}" > c
        if (kind == "body" || kind == "app") print "int main(void) { return otp_run(app, NULL, NULL); }" > c
        close(c)
        last = path                             # a text block right behind it is its output
    }
    /^```c( |$)/            { begin_block(); in_c = 1; next }
    /^```$/ && in_c         { end_block(); in_c = 0; next }
    in_c                    { text = text $0 "\n"; next }
    /^```text$/ && last     { out = last ".expected"; printf "" > out; in_text = 1; last = ""; next }
    /^```$/ && in_text      { close(out); in_text = 0; next }
    in_text                 { print > out; next }
    /[^ ]/                  { last = "" }
    ' "$1"
}

# The first program in the top comment: from the define to the end of the indented block.
from_header() {
    path=$BUILD/$(echo "$1" | tr -c 'A-Za-z0-9\n' _)
    awk '!on && /^ +#define OTP_IMPLEMENTATION/ {
             on = 1
             match($0, /^ +/)
             indent = RLENGTH
             print "#line " FNR " \"" FILENAME "\""
         }
         on && /[^ ]/ { match($0, /^ */); if (RLENGTH < indent) exit }
         on           { print substr($0, indent + 1) }
         /\*\//       { exit }' "$1" >"$path.c"
    if [ -s "$path.c" ]; then
        echo "$path program $1"
    else
        echo "$path missing $1"
    fi
}

one() {
    path=$1 kind=$2 at=$3
    case $kind in
    ignore) skip "$at (ignored by its mark)"; return ;;
    missing) not_ok "$at: no program in its top comment"; return ;;
    unknown) not_ok "$at: the block needs one of: int main, static void app, body, file, ignore: reason"; return ;;
    file) object=-c ;;
    program | test) object= ;;                  # it brings the implementation with it
    *) object=$BUILD/otp.o ;;
    esac
    # A snippet may show a function or a variable that it does not go on to use.
    # shellcheck disable=SC2086
    if ! $CC $FLAGS -Wno-unused-function -Wno-unused-variable -Wno-unused-but-set-variable -o "$path.bin" "$path.c" $object \
            >"$path.log" 2>&1; then
        not_ok "$at does not compile"
        head -n 30 "$path.log"
        return
    fi
    if [ "$kind" = file ] || { [ "$kind" = body ] && [ ! -f "$path.expected" ]; }; then
        ok "$at compiles"
        return
    fi
    # Cases run in the order in which they stand, and may fail where the page shows how that looks.
    if [ "$kind" = test ]; then set -- --order 0; else set --; fi
    limit "${TIMEOUT:-30}" "$path.bin" "$@" >"$path.out" 2>"$path.err" </dev/null
    status=$?
    if [ "$kind" = test ] && [ "$status" -eq 1 ] && [ -f "$path.expected" ]; then status=0; fi
    if [ "$status" -ne 0 ]; then
        not_ok "$at ends with exit status $status"
        tail -n 30 "$path.err"
    elif [ -f "$path.expected" ] && ! diff "$path.expected" "$path.out" >"$path.diff"; then
        not_ok "$at prints something else (< expected, > printed)"
        head -n 30 "$path.diff"
    else
        ok "$at"
    fi
}

if [ $# -eq 0 ]; then set -- README.md CONTRIBUTING.md docs/*.md otp*.h; fi
for source in "$@"; do
    case $source in
    *.h) from_header "$source" ;;
    *) from_markdown "$source" ;;
    esac
done >"$BUILD/list"
# shellcheck disable=SC2086
check 'the implementation compiles' $CC $FLAGS -c -o "$BUILD/otp.o" tests/headers/implementation.c
while read -r path kind at; do one "$path" "$kind" "$at"; done <"$BUILD/list"
total
