#!/bin/sh
# Keeps the table of docs/differences.md true: which test proves which rule of Erlang's processes.
# A test belongs to rule 17 when its name starts with rule_17_; rule_17_18_… and rule_17_and_18_… belong to both.
#
#   tools/rules.sh            fails for a rule that has neither a test nor a line that starts with "- **N.**",
#                             and for a row that is not what the tests say
#   tools/rules.sh --update   writes the third column of the table anew
cd "$(dirname "$0")/.." || exit 1
doc=docs/differences.md
mode=${1:---check}
new=$(mktemp) || exit 1
trap 'rm -f "$new"' EXIT

# "number test file" for each rule in each test's name, then the document with its third column from those.
for file in tests/test_*.c; do
    [ -f "$file" ] || continue
    sed -n 's/^TEST[A-Z_]*(\(rule_[0-9][a-z0-9_]*\).*/\1/p' "$file" |
        awk -v file="$(basename "$file")" '{
            n = split($1, part, "_")
            for (i = 2; i <= n && part[i] ~ /^([0-9]+|and)$/; i++)
                if (part[i] != "and") print part[i] + 0, $1, file
        }'
done | sort -k1,1n -k3,3 -k2,2 | awk -v doc="$doc" -v new="$new" -v mode="$mode" '
    function fail(text) { print "FAIL " text; failed++ }
    {
        if ($3 != file_of[$1]) tests[$1] = tests[$1] (tests[$1] == "" ? "" : "; ") $3 ":"
        file_of[$1] = $3
        tests[$1] = tests[$1] " `" $2 "`"
    }
    END {
        while ((getline line < doc) > 0) {
            if (match(line, /^- \*\*[0-9]+\.\*\*/)) differs[substr(line, 5) + 0] = 1
            lines[++count] = line
        }
        for (i = 1; i <= count; i++) {
            line = lines[i]
            if (line ~ /^\| [0-9]+ \|/) {
                split(line, cell, / *\| */)
                n = cell[2] + 0
                row[n]++
                if (tests[n] != "") third = tests[n] (differs[n] ? " (differs, see above)" : "")
                else third = differs[n] ? "see above" : "MISSING"
                line = "| " n " | " cell[3] " | " third " |"
                if (line != lines[i] && mode != "--update") fail("rule " n ": the row is not up to date, run make rules")
            }
            print line > new
        }
        for (n = 1; n <= 102; n++) {
            if (row[n] != 1) fail("rule " n " has " row[n] + 0 " rows in " doc)
            else if (tests[n] == "" && !differs[n]) fail("rule " n " has no test and no line that says why")
            else passed++
        }
        printf "%d passed, %d failed\n", passed, failed
        exit failed > 0
    }'
status=$?
if [ "$mode" = --update ]; then cat "$new" >"$doc"; fi
exit $status
