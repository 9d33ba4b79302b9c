#!/bin/sh
# Checks the style of the public half of each header: the parts of its top comment, its guard, the marks that its
# contents promise, and a docstring with "returns:" and "caller:" for each public function. Declarations that
# follow each other without an empty line share a docstring.
#
#   tools/check_docs.sh [header …]           default: otp*.h
cd "$(dirname "$0")/.." || exit 1
all=0
if [ $# -eq 0 ]; then
    all=1
    set -- otp*.h
fi

awk -v all=$all '
function fail(line, text) { printf "FAIL %s:%d: %s\n", FILENAME, line, text; failed++ }
function need(text, what) { if (index(top, text)) passed++; else fail(1, "its top comment has no " what) }

# The end of the top comment: everything that a reader wants in the first screen.
function check_top(   parts, n, i, mark) {
    need("/* " base ": ", "first line \"" base ": purpose\"")
    need("SPDX-License-Identifier:", "SPDX line")
    need("#define OTP_IMPLEMENTATION", "program that shows how to use it")
    need("CONTENTS", "CONTENTS")
    need("NEEDS", "NEEDS")
    need("NOT HERE", "NOT HERE")
    need("NAMES", "NAMES")
    n = split(top, parts, ">> ")
    for (i = 2; i <= n; i++) {
        mark = parts[i]
        sub(/[,\n(].*/, "", mark)
        sub(/  .*/, "", mark)
        if (mark !~ /: *$/) promised[mark] = 1           # "types:" introduces marks, it is none
    }
}

function finish(   mark) {
    if (base == "") return
    if (!guard) fail(1, "no guard OTP_…_H_INCLUDED")
    for (mark in promised)
        if (found[mark]) passed++
        else fail(1, "its contents name \">> " mark "\", which is nowhere")
}

FNR == 1 {
    finish()
    base = FILENAME
    sub(/.*\//, "", base)
    in_top = 1
    in_comment = guard = over = depth = cplusplus = macro = 0
    top = doc = ""
    split("", promised)
    split("", found)
}

in_top {
    top = top $0 "\n"
    if (/\*\//) { in_top = 0; check_top() }
    next
}

/^ *(\/\* )?>> / {
    mark = $0
    sub(/^ *(\/\* )?>> /, "", mark)
    sub(/( \(|   | *\*\/).*/, "", mark)
    found[mark] = 1
}
/^#define OTP_[A-Z_]*H_INCLUDED/ { guard = 1; next }
/^#endif \/\* OTP_[A-Z_]*H_INCLUDED/ { over = 1 }
base == "otp.h" && /^\/\* -- 4\.[0-9]+ / { name = $0; sub(/^\/\* -- /, "", name); sub(/ -+ *$/, "", name); sections[name] = 1 }
over { next }

# The C++ side only wraps what C declares.
/^#ifdef __cplusplus/ { cplusplus = 1; next }
cplusplus { if (/^#(else|endif)/) cplusplus = 0; next }

in_comment { doc = doc $0 "\n"; if (/\*\//) in_comment = 0; next }
/^[ \t]*$/ { if (depth == 0) doc = ""; next }
/^\/\*/    { doc = $0 "\n"; if (!/\*\//) in_comment = 1; next }

# A macro that is called like a function needs words, but may leave returns and caller to what it stands on.
macro { if (!/\\$/) macro = 0; next }
/^#/ {
    if (/\\$/) macro = 1
    if (match($0, /^#define otp_[a-z0-9_]*\(/)) {
        name = substr($0, 9, RLENGTH - 9)
        if (name ~ /^otp__/) next
        if (doc == "") fail(FNR, name ": no docstring")
        else passed++
    }
    next
}

{
    if (depth == 0 && /^[A-Za-z]/ && !/^typedef/ && match($0, /otp_[a-z0-9_]*\(/)) {
        name = substr($0, RSTART, RLENGTH - 1)
        if (name !~ /^otp__/) {
            if (doc == "") fail(FNR, name ": no docstring")
            else if (doc !~ /returns:/) fail(FNR, name ": its docstring does not say what it returns:")
            else if (doc !~ /caller:/) fail(FNR, name ": its docstring does not name the caller:")
            else passed++
        }
    }
    line = $0
    depth += gsub(/\{/, "", line) - gsub(/\}/, "", line)
}

# The map of the implementation in CONTRIBUTING.md.
function check_map(   line, name) {
    while ((getline line < "CONTRIBUTING.md") > 0)
        if (match(line, /^\| 4\.[0-9]+ [a-z ]+ \|/)) mapped[substr(line, 3, RLENGTH - 4)] = 1
    for (name in sections)
        if (name in mapped) passed++
        else { printf "FAIL CONTRIBUTING.md: section %s is not on the map\n", name; failed++ }
    for (name in mapped)
        if (!(name in sections)) { printf "FAIL CONTRIBUTING.md: there is no section %s\n", name; failed++ }
}

END {
    finish()
    if (all) check_map()
    printf "%d passed, %d failed\n", passed, failed
    exit failed > 0
}' "$@"
