# shellcheck shell=bash
# One thing tried, one line printed, ok or FAIL. Sourced after common.sh; STATE and LOGS are folders that exist.

TRIED=0 FAILED=()

# try TEXT COMMAND...
try() {
    local text=$1 result note=''
    shift
    TRIED=$((TRIED + 1))
    rm -f "$STATE/note"
    printf '  %-66s ' "$text"
    # In a subshell that is not part of a condition, so that set -e means something inside.
    set +e
    (
        set -e
        "$@"
    ) </dev/null >"$LOGS/step.log" 2>&1
    result=$?
    set -e
    { printf '== %s: %s\n' "$text" "$result" && cat "$LOGS/step.log"; } >>"$LOGS/steps.log"
    [[ -f $STATE/note ]] && note=$(<"$STATE/note")
    if ((result == 0)); then
        printf '%sok%s   %s\n' "$GREEN" "$PLAIN" "$note"
    else
        FAILED+=("$text")
        printf '%sFAIL%s %s\n' "$RED" "$PLAIN" "$note"
        tail -n 8 "$LOGS/step.log" | sed 's/^/      /'
    fi
}

# A figure to stand behind the ok.
note() { printf '%s' "$*" >"$STATE/note"; }

refuses() {
    if "$@"; then
        say "this should not have worked: $*"
        return 1
    fi
}
