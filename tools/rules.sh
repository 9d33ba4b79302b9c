#!/bin/sh
# Keeps the tables of docs/differences.md true: which test proves which rule of Erlang's processes and behaviours.
# A test belongs to rule 17 when its name starts with rule_17_; rule_17_18_… and rule_17_and_18_… belong to both.
# The rules of a behaviour have a letter before their number in the document: gen_server_17_… proves S17.
#
#   tools/rules.sh            fails for a rule that has neither a test nor a line that starts with "- **N.**",
#                             and for a row that is not what the tests say
#   tools/rules.sh --update   writes the third column of the tables anew
cd "$(dirname "$0")/.." || exit 1
doc=docs/differences.md
mode=${1:---check}
# prefix of the tests, letter ("-": none), number of rules
sets='rule - 102
gen_server S 82'
new=$(mktemp) || exit 1
trap 'rm -f "$new"' EXIT

# "label test file" for each rule in each test's name, then the document with its third column from those.
echo "$sets" | while read -r prefix letter _; do
    for file in tests/test_*.c; do
        [ -f "$file" ] || continue
        sed -n "s/^TEST[A-Z_]*(\\(${prefix}_[0-9][a-z0-9_]*\\).*/\\1/p" "$file" |
            awk -v file="$(basename "$file")" -v prefix="$prefix" -v letter="${letter#-}" '{
                n = split(substr($1, length(prefix) + 2), part, "_")
                for (i = 1; i <= n && part[i] ~ /^([0-9]+|and)$/; i++)
                    if (part[i] != "and") print letter (part[i] + 0), $1, file
            }'
    done
done | sort -k1,1 -k3,3 -k2,2 | awk -v doc="$doc" -v new="$new" -v mode="$mode" -v sets="$sets" '
    function fail(text) { print "FAIL " text; failed++ }
    {
        if ($3 != file_of[$1]) tests[$1] = tests[$1] (tests[$1] == "" ? "" : "; ") $3 ":"
        file_of[$1] = $3
        tests[$1] = tests[$1] " `" $2 "`"
    }
    END {
        while ((getline line < doc) > 0) {
            if (match(line, /^- \*\*[A-Z]?[0-9]+\.\*\*/)) differs[substr(line, 5, RLENGTH - 7)] = 1
            lines[++count] = line
        }
        for (i = 1; i <= count; i++) {
            line = lines[i]
            if (line ~ /^\| [A-Z]?[0-9]+ \|/) {
                split(line, cell, / *\| */)
                n = cell[2]
                row[n]++
                if (tests[n] != "") third = tests[n] (differs[n] ? " (differs, see above)" : "")
                else third = differs[n] ? "see above" : "MISSING"
                line = "| " n " | " cell[3] " | " third " |"
                if (line != lines[i] && mode != "--update") fail("rule " n ": the row is not up to date, run make rules")
            }
            print line > new
        }
        many = split(sets, set, "\n")
        for (i = 1; i <= many; i++) {
            split(set[i], field, " ")
            for (k = 1; k <= field[3]; k++) {
                n = (field[2] == "-" ? "" : field[2]) k
                known[n] = 1
                if (row[n] != 1) fail("rule " n " has " row[n] + 0 " rows in " doc)
                else if (tests[n] == "" && !differs[n]) fail("rule " n " has no test and no line that says why")
                else passed++
            }
        }
        for (n in tests) if (!(n in known)) fail("there is no rule " n ", which a test is named after")
        printf "%d passed, %d failed\n", passed, failed
        exit failed > 0
    }'
status=$?
if [ "$mode" = --update ]; then cat "$new" >"$doc"; fi
exit $status
