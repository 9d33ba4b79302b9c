#!/bin/sh
# Form of the sources: no tabs, no space at the end of a line, no empty line at the end of a file, and no line that is
# much longer than the 120 columns that the style allows. And clang-format agrees about the spaces inside of lines
# (around operators, parentheses and stars). Line breaks and alignment by hand are welcome: runs of spaces and line
# breaks count as one space.
#
#   tools/check_format.sh [file …]           default: the C files of tests, examples and bench
cd "$(dirname "$0")/.." || exit 1
. tools/tally.sh
LIMIT=160

plain() {
    awk -v limit=$LIMIT '
        function say(what) { print FILENAME ":" FNR ": " what; bad = 1 }
        /\t/              { say("a tab") }
        /[ \r]$/          { say("a space at the end of the line") }
        length($0) > limit {
            text = $0
            gsub(/[\200-\277]/, "", text)       # bytes that are not the first of a character
            if (length(text) > limit) say(length(text) " columns")
        }
        END { if (NR && $0 == "") say("an empty line at the end"); exit bad }' "$1"
}

# Left alone besides: empty braces, the colons of asm, and the backslashes of macros.
words() { sed 's/{ *}/{}/g; s/: *: *:/: : :/g; s/: *:/: :/g; s/ *\\$//' | tr -s ' \n' '\n\n'; }

clang_formatted() {
    words <"$1" >build/format.have
    clang-format --style=file "$1" | words | diff -U 3 build/format.have - | sed 1,2d >build/format.diff
    cat build/format.diff
    [ ! -s build/format.diff ]
}

mkdir -p build
for file in otp*.h tests/*.[ch] tests/headers/*.c* tests/conformance/* examples/*.[ch] examples/*/*.[ch] bench/*.[ch] \
        tests/*.sh tools/*.sh bench/*.sh .ci/run; do
    if [ -f "$file" ]; then check "$file" plain "$file"; fi
done
if ! command -v clang-format >/dev/null 2>&1; then
    skip 'clang-format is not installed'
    total
    exit
fi
if [ $# -eq 0 ]; then set -- tests/*.[ch] tests/headers/*.c* tests/conformance/*.[ch] examples/*.[ch] examples/*/*.[ch] bench/*.[ch]; fi
for file in "$@"; do
    if [ -f "$file" ]; then SHOW_LINES=30 check "$file, clang-format" clang_formatted "$file"; fi
done
total
