#!/bin/sh
# The models of the lock-free parts: checks the checker, runs every model on otp.h, then every known-wrong variant of
# otp.h, which must be found. Ends with "N passed, N failed".
#
#   tests/models/run.sh                 all of it
#   tests/models/run.sh models [NAME…]          only models
#   tests/models/run.sh mutants [TEXT]          only variants whose names hold TEXT
cd "$(dirname "$0")/../.." || exit 1
. tools/tally.sh
BUILD=${BUILD:-build/models}
GCC=${GCC:-gcc}
mkdir -p "$BUILD"

# gcc, since -fsanitize=thread is used without its runtime and without the macro that tells otp.h of it.
case $(uname -m) in
x86_64 | aarch64) ;;
*)
    skip "models: the checker's fibers know x86-64 and AArch64 only"
    echo '0 passed, 0 failed'
    exit
    ;;
esac
if ! command -v "$GCC" >/dev/null 2>&1 || [ "$(uname -s)" != Linux ]; then
    skip "models: $GCC on Linux is needed"
    echo '0 passed, 0 failed'
    exit
fi

# The variants are built with -O0: compiling is most of their time.
FLAGS='-std=gnu11 -O1 -fno-store-merging -fno-pie -Wall -Wextra -Wno-unused-function'
# build PROGRAM SOURCE DIRECTORY_OF_OTP_H [FLAG]
build() {
    # shellcheck disable=SC2086
    "$GCC" $FLAGS ${4-} -fsanitize=thread -U__SANITIZE_THREAD__ -I"$3" -Itests/models -c "$2" -o "$1.o" &&
        "$GCC" -no-pie "$BUILD/mc.o" "$1.o" -o "$1" -lpthread
}
# shellcheck disable=SC2086
if ! "$GCC" $FLAGS -O2 -c tests/models/mc.c -o "$BUILD/mc.o" || ! build "$BUILD/litmus" tests/models/litmus.c . ||
        ! build "$BUILD/models" tests/models/models.c .; then
    not_ok 'the models do not compile'
    total
    exit
fi

# run PROGRAM…: shows what it says and adds its counts.
run() {
    limit "${TIMEOUT:-600}" "$@" >"$BUILD/log" 2>&1
    status=$?
    grep -v ' passed, ' "$BUILD/log"
    add_results "$1" "$BUILD/log" $status
}

# The record of a variant: mutant, models, in, old, new. Prints the changed otp.h; fails if it does not apply.
mutate() {
    AT="$at" OLD="$old" NEW="$new" awk '
        BEGIN { at = ENVIRON["AT"]; old = ENVIRON["OLD"]; new = ENVIRON["NEW"] }
        !inside && index($0, at) && (at !~ /^[a-z_]*\($/ || ($0 ~ /^[A-Za-z]/ && $0 !~ /;$/)) { inside = 1 }
        inside && !done && (i = index($0, old)) {
            $0 = substr($0, 1, i - 1) new substr($0, i + length(old))
            done = 1
        }
        { print }
        END { exit !done }' otp.h
}

one_mutant() {
    case $mutant in *"${wanted-}"*) ;; *) return ;; esac
    rm -rf "$BUILD/mutant"
    mkdir -p "$BUILD/mutant"
    if ! mutate >"$BUILD/mutant/otp.h"; then
        not_ok "variant: $mutant: no longer applies to otp.h"
    elif ! build "$BUILD/mutant/models" tests/models/models.c "$BUILD/mutant" -O0 >"$BUILD/mutant/log" 2>&1; then
        not_ok "variant: $mutant: does not compile"
        head -n 10 "$BUILD/mutant/log"
    else
        for model in $models; do
            if limit 120 "$BUILD/mutant/models" "$model" --mutant >"$BUILD/mutant/log" 2>&1; then
                n=$(sed -n 's/.*: \([0-9]*\) executions to.*/\1/p' "$BUILD/mutant/log")
                ok "variant: $mutant: found by $model after $n executions"
            else
                not_ok "variant: $mutant: not found by $model"
                head -n 5 "$BUILD/mutant/log"
            fi
        done
    fi
}

run_mutants() {
    mutant='' models='' at='' old=''
    while IFS= read -r line; do
        case $line in
        'mutant: '*) mutant=${line#mutant: } ;;
        'models: '*) models=${line#models: } ;;
        'in: '*) at=${line#in: } ;;
        'old: '*) old=${line#old: } ;;
        'new: '*)
            new=${line#new: }
            one_mutant
            ;;
        esac
    done <tests/models/mutants.txt
}

case ${1-} in
models)
    shift
    run "$BUILD/models" "$@"
    ;;
mutants)
    wanted=${2-}
    run_mutants
    ;;
*)
    run "$BUILD/litmus"
    run "$BUILD/models"
    run_mutants
    ;;
esac
total
