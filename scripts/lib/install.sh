# shellcheck shell=bash
# Installs what is missing: distribution packages and the Rust toolchain. Sourced after common.sh.

# Which package brings which command, on Debian and its relatives.
package_of() {
    case $1 in
        ip | ss) echo iproute2 ;;
        nft) echo nftables ;;
        sysctl | pgrep) echo procps ;;
        ping) echo iputils-ping ;;
        c++) echo g++ ;;
        cc) printf '%s\n' gcc libc6-dev ;;
        setsid | flock | taskset | chrt) echo util-linux ;;
        renice) echo bsdutils ;;
        docker | dockerd) echo docker.io ;;
        promtool) echo prometheus ;;
        dig) echo bind9-dnsutils ;;
        dnsmasq) echo dnsmasq-base ;;
        in.tftpd) echo tftpd-hpa ;;
        pptp) echo pptp-linux ;;
        scp | ssh-keygen) echo openssh-client ;;
        script) echo bsdutils ;;
        sipp) echo sip-tester ;;
        sshd) echo openssh-server ;;
        dpdk-testpmd) printf "%s\n" dpdk libxdp1 ;;
        *) echo "$1" ;;
    esac
}

have() { command -v "$1" >/dev/null 2>&1; }

apt_get() {
    DEBIAN_FRONTEND=noninteractive timeout 600 apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=5 "$@" </dev/null
}

# need COMMAND...: afterwards each of them can be called.
need() {
    local command missing=() packages=()
    [[ $PATH == */usr/sbin* ]] || PATH=$PATH:/usr/sbin:/sbin
    for command in "$@"; do have "$command" || missing+=("$command"); done
    ((${#missing[@]})) || return 0
    mapfile -t packages < <(for command in "${missing[@]}"; do package_of "$command"; done)
    ((EUID == 0)) || die "missing: ${missing[*]} (packages: ${packages[*]}); installing them needs root"
    have apt-get || die "missing: ${missing[*]}, and this is no Debian-like system; install them by hand"
    say "installing ${packages[*]}"
    install_packages "${packages[@]}"
    for command in "${missing[@]}"; do have "$command" || die "$command is still missing after installing ${packages[*]}"; done
}

# A package that brings a service must not start it here: only the lab's own copy is wanted.
install_packages() {
    local log package service masked=()
    log=$(mktemp)
    if [[ -d /run/systemd/system ]]; then
        for package in vsftpd iperf3 prometheus tftpd-hpa ngircd pptpd openssh-server; do
            [[ " $* " == *" $package "* ]] || continue
            service=${package/openssh-server/ssh}
            systemctl mask --runtime "$service.service" >/dev/null 2>&1 && masked+=("$service.service")
        done
    fi
    local result=0
    apt_get install -y --no-install-recommends "$@" >"$log" 2>&1 ||
        { refresh_lists >>"$log" 2>&1 && apt_get install -y --no-install-recommends "$@" >>"$log" 2>&1; } || result=$?
    for service in "${masked[@]}"; do
        systemctl disable "$service" >/dev/null 2>&1 || true
        systemctl unmask --runtime "$service" >/dev/null 2>&1 || true
    done
    if ((result)); then
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "could not install: $*"
    fi
    rm -f "$log"
}

# retried COMMAND...: a download that failed once may not fail again.
retried() {
    local attempt
    for attempt in 1 2 3; do
        "$@" && return 0
        sleep "$((attempt * 3))"
    done
    "$@"
}

# Another apt may hold the lists; it lets go of them within seconds.
refresh_lists() {
    local attempt
    for attempt in 1 2 3 4 5 6; do
        apt_get update && return 0
        sleep "$attempt"
    done
    return 1
}

# The oldest toolchain Cargo.toml allows.
rust_wanted() { sed -n 's/^rust-version *= *"\(.*\)".*/\1/p' "$ROOT/Cargo.toml"; }

rust_is_new_enough() {
    local version
    have cargo && have rustc || return 1
    version=$(cd "$ROOT" && rustc --version 2>/dev/null | awk '{ print $2 }')
    [[ -n $version ]] && printf '%s\n%s\n' "$(rust_wanted)" "$version" | sort -V -C
}

# need_rust [COMPONENT...]: cargo is on the PATH and new enough, and has these components.
need_rust() {
    [[ -d ${CARGO_HOME:-$HOME/.cargo}/bin ]] && PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    need cc
    rust_is_new_enough || install_rust
    rust_is_new_enough || die "the Rust toolchain is older than $(rust_wanted) and could not be renewed"
    local component
    for component in "$@"; do
        (cd "$ROOT" && cargo "$component" --version >/dev/null 2>&1) && continue
        case $component in fmt) component=rustfmt ;; esac
        say "installing $component"
        if have rustup; then retried rustup -q component add "$component" >/dev/null; else install_packages "rust-$component"; fi
    done
}

# Best first: a rustup that is here, the distribution's rustup, rustup's own installer, and the
# distribution's cargo, which is the oldest.
install_rust() {
    say "installing the Rust toolchain ($(rust_wanted) or later)"
    if ! have rustup && ((EUID == 0)) && have apt-get; then
        [[ -n $(apt-cache policy rustup 2>/dev/null) ]] || refresh_lists >/dev/null 2>&1 || true
        if apt-cache policy rustup 2>/dev/null | grep -q 'Candidate: [^(]'; then install_packages rustup; fi
    fi
    if have rustup; then
        if retried timeout 600 rustup -q toolchain install stable --profile minimal -c rustfmt -c clippy >/dev/null 2>&1; then
            rustup -q default stable >/dev/null 2>&1 || true
        fi
    else
        need curl
        local installer
        installer=$(mktemp)
        if retried timeout 60 curl --proto '=https' --tlsv1.2 -sSf -o "$installer" https://sh.rustup.rs; then
            timeout 600 sh "$installer" -y -q --profile minimal -c rustfmt,clippy >/dev/null 2>&1 || true
            PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
        fi
        rm -f "$installer"
    fi
    rust_is_new_enough || ((EUID != 0)) || ! have apt-get || install_packages cargo rustc
}

# What a build with the feature dpdk needs, and what drives virtual devices then.
need_dpdk() {
    have pkg-config && pkg-config --exists libdpdk && compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null && return 0
    ((EUID == 0)) || die "missing: libdpdk-dev libclang-dev pkg-config; installing them needs root"
    say "installing libdpdk-dev libclang-dev pkg-config"
    install_packages libdpdk-dev libclang-dev pkg-config
}

# What the lab drives.
need_lab() { need ip ss nft sysctl ping traceroute curl iperf3 vsftpd in.tftpd ngircd irssi script python3 setsid flock; }

# The binary, built quietly; a build that fails shows why.
build_flowgate() {
    [[ -n ${FLOWGATE_BIN:-} ]] && return 0
    need_rust
    local log
    log=$(mktemp)
    if ! (cd "$ROOT" && cargo build --release --bin flowgate </dev/null) >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        rm -f "$log"
        die "flowgate does not build"
    fi
    rm -f "$log"
    FLOWGATE_BIN=${CARGO_TARGET_DIR:-$ROOT/target}/release/flowgate
}
