# shellcheck shell=bash
# Huge pages for a while. Sourced after common.sh.
#
# The number belongs to the whole machine, so what is added is taken away again, and no more.

PAGES_ADDED=0 PAGES='no huge pages'

nr_hugepages() { echo /proc/sys/vm/nr_hugepages; }

# reserve_pages COUNT: so many more, or none where the memory for them is not free.
reserve_pages() {
    local before after
    before=$(<"$(nr_hugepages)")
    echo $((before + $1)) >"$(nr_hugepages)" 2>/dev/null || return 0
    after=$(<"$(nr_hugepages)")
    PAGES_ADDED=$((after - before))
    if ((PAGES_ADDED < $1)); then give_pages_back; else PAGES="$PAGES_ADDED huge pages reserved"; fi
}

give_pages_back() {
    ((PAGES_ADDED)) || return 0
    echo $(($(<"$(nr_hugepages)") - PAGES_ADDED)) >"$(nr_hugepages)"
    PAGES_ADDED=0
}
