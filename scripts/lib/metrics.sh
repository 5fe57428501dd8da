# shellcheck shell=bash
# What the router counted. Sourced after topology.sh.
#
# With the kernel as router (MODE=kernel) the counters of its ruleset stand in, so that one set of
# expectations is held against both.

METRICS=127.0.0.1:9752

scrape() {
    case $MODE in
        flowgate) in_router curl -sf --max-time 2 "http://$METRICS/metrics" ;;
        kernel) in_router nft list counters | kernel_metrics ;;
    esac
}

# The named counters of kernel.nft and kernel-states.nft as the metrics they correspond to.
kernel_metrics() {
    awk '
        $1 == "counter" { split($2, word, "-"); rest = substr($2, length(word[1]) + 2) }
        $1 == "packets" && word[1] == "state" {
            printf "flowgate_conntrack_packets_total{state=\"%s\",family=\"%s\"} %d\n", word[2], word[3], $2
        }
        $1 == "packets" && word[1] == "rule" {
            printf "flowgate_rule_packets_total{chain=\"forward\",rule=\"%s\"} %d\n", rest, $2
        }
        $1 == "packets" && word[1] == "drop" { printf "flowgate_drops_total{reason=\"%s\"} %d\n", rest, $2 }'
}

# metric_of FILE NAME [LABEL=VALUE...]: the sum of the samples that carry all these labels.
metric_of() {
    local file=$1 name=$2
    shift 2
    awk -v name="flowgate_$name" -v labels="$*" '
        BEGIN { wanted = split(labels, pair, " "); for (i in pair) sub("=", "=\"", pair[i]) }
        index($0, name "{") == 1 || index($0, name " ") == 1 {
            for (i = 1; i <= wanted; i++)
                if (!index($0, "{" pair[i] "\"") && !index($0, "," pair[i] "\"")) next
            sum += $NF; found = 1
        }
        END { if (!found) exit 3; printf "%.0f\n", sum }' "$file"
}

# metric NAME [LABEL=VALUE...]: as it stands now.
metric() {
    scrape >"$STATE/now" && metric_of "$STATE/now" "$@"
}

# What received, forwarded, dropped, punted and held say; traffic is quiet when they stand still.
# How many times the workers polled would never do.
activity() {
    scrape | grep -E '^flowgate_(port|port_forwarded|port_punted|conntrack)_packets_total|^flowgate_drops_total' | cksum
}

# quiet: the counters stood still for two looks in a row, within twenty seconds.
quiet() {
    local last='' this deadline=$(($(now_ms) + 20000))
    while (($(now_ms) < deadline)); do
        this=$(activity)
        [[ -n $this && $this == "$last" ]] && return 0
        last=$this
        sleep 0.1
    done
    say "the router's counters do not come to rest"
    return 1
}

# Marks the point that the changes below are counted from.
mark() {
    quiet
    scrape >"$STATE/mark"
}

# change NAME [LABEL=VALUE...]: how much it grew since the mark.
change() {
    local before after
    before=$(metric_of "$STATE/mark" "$@") || { say "no metric flowgate_$*"; return 1; }
    after=$(metric "$@") || { say "no metric flowgate_$*"; return 1; }
    echo $((after - before))
}

change_is() {
    local operator=$1 amount=$2 grown
    shift 2
    grown=$(change "$@") || return 1
    test "$grown" "-$operator" "$amount"
}

# grew OPERATOR AMOUNT NAME [LABEL=VALUE...]: grew eq 1 …, grew ge 2 …; waits for the counters to
# be published, and for eq makes sure that they also stay there.
grew() {
    wait_for 10 change_is "$@" && quiet && change_is "$@" && return 0
    say "expected flowgate_${*:3} to grow by $1 $2, it grew by $(change "${@:3}")"
    return 1
}

# The same for the three things asked most often.
packets() { grew "$1" "$2" conntrack_packets_total "state=$3" "${@:4}"; }
# The kernel keeps its reasons to itself.
invalid() { [[ $MODE == kernel ]] || grew ge "$1" conntrack_invalid_total "reason=$2"; }
rule() { grew ge "$1" rule_packets_total chain=forward "rule=$2"; }

# Nothing but what this ordinary traffic needs: no INVALID packet among it.
all_valid() { packets eq 0 invalid; }

state_table() {
    local state family row
    quiet || true
    scrape >"$STATE/now" || return 1
    printf '  %-12s %12s %12s\n' state IPv4 IPv6
    for state in new established related invalid untracked; do
        row=()
        for family in ipv4 ipv6; do
            row+=("$(metric_of "$STATE/now" conntrack_packets_total "state=$state" "family=$family" || echo -)")
        done
        printf '  %-12s %12s %12s\n' "$state" "${row[@]}"
    done
}

# received = forwarded + dropped + punted + held, at a quiet moment, on each port.
balance() {
    local port received forwarded dropped punted held
    quiet
    scrape >"$STATE/now"
    for port in lan0 wan0; do
        received=$(metric_of "$STATE/now" port_packets_total direction=rx "port=$port")
        forwarded=$(metric_of "$STATE/now" port_forwarded_packets_total "port=$port")
        dropped=$(metric_of "$STATE/now" drops_total "port=$port")
        punted=$(metric_of "$STATE/now" port_punted_packets_total "port=$port")
        held=$(metric_of "$STATE/now" port_held_packets "port=$port")
        note "$port: $received = $forwarded + $dropped + $punted + $held"
        if ((received != forwarded + dropped + punted + held)); then
            say "$port: received $received, but forwarded $forwarded + dropped $dropped + punted $punted + held $held" \
                "= $((forwarded + dropped + punted + held))"
            return 1
        fi
    done
}
