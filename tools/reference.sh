#!/bin/sh
# Writes the reference manual: the docstrings and declarations of the public half of each header, as Markdown in
# build/docs/. The header stays the source; this is for reading in a browser.
cd "$(dirname "$0")/.." || exit 1
mkdir -p build/docs
for header in otp*.h; do
    out=build/docs/${header%.h}.md
    awk -v header="$header" '
    function flush() {
        if (code != "") {
            if (doc != "") print doc
            print "```c\n" code "```\n"
        } else if (doc != "") {
            print doc
        }
        doc = code = ""
    }
    # A line of a comment as Markdown: the keys of a docstring become a list.
    function markdown(line) {
        sub(/^(\/\*| {1,3})? */, "", line)
        sub(/ *\*\/ *$/, "", line)
        gsub(/</, "\\&lt;", line)
        gsub(/\*/, "\\*", line)
        if (line ~ /^(returns|caller|like|owns): /) {
            key = line
            sub(/:.*/, "", key)
            sub(/^[a-z]+: /, "", line)
            return "- *" key "*: " line
        }
        return line
    }
    BEGIN { print "# " header "\n\nWritten by `make docs` from the public half of the header.\n" }
    /^#define OTP_[A-Z_]*H_INCLUDED/   { on = 1; next }
    /^#endif \/\* OTP_[A-Z_]*H_INCLUDED/ { exit }
    !on { next }
    /^#ifdef __cplusplus/ { skip = 1 }
    skip { if (/^#(else|endif)/) skip = 0; if (!/^#else/) next; next }
    /^\/\* -- / { flush(); line = $0; sub(/^\/\* -- /, "", line); sub(/ -+.*/, "", line); print "\n## " line "\n"
                  in_comment = !/\*\//; next }
    !in_comment && /^(\/\* )?>> |^\/\* >> / {
        flush(); line = $0; sub(/^\/\* >> /, "", line)
        rest = line; sub(/ *\*\/ *$/, "", rest)
        title = rest; sub(/   .*/, "", title); sub(/^[^ ].*   /, "", rest)
        print "\n### " title "\n"
        if (rest != title) doc = markdown(rest) "\n"
        in_comment = !/\*\//; next
    }
    in_comment { if (/>> /) { line = $0; sub(/.*>> /, "", line); sub(/   .*/, "", line); print "### " line "\n" }
                 else doc = doc markdown($0) "\n"
                 if (/\*\//) in_comment = 0; next }
    /^\/\*/    { if (code != "") flush(); doc = doc markdown($0) "\n"; if (!/\*\//) in_comment = 1; next }
    /^[ \t]*$/ { flush(); next }
    /^[a-z].*otp__/ { next }
    { code = code $0 "\n" }
    END { flush() }
    ' "$header" >"$out"
    echo "$out"
done
