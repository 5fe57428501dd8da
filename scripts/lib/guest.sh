# shellcheck shell=bash
# A small Linux guest: the distribution's kernel for virtual machines and a busybox. Sourced after install.sh.

# What virtio-net needs, in the order of loading.
GUEST_MODULES=(virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci failover net_failover virtio_net)

need_guest() {
    have qemu-system-x86_64 || { say "installing qemu-system-x86 seabios ipxe-qemu"; install_packages qemu-system-x86 seabios ipxe-qemu; }
    # The other kind of busybox needs libraries, which the guest has not.
    if ldd /bin/busybox >/dev/null 2>&1 || [[ ! -x /bin/busybox ]]; then install_packages busybox-static; fi
    need cpio
}

# make_guest FOLDER: `vmlinuz` and `initrd` in it. The kernel's package is unpacked there and not installed.
make_guest() {
    local folder=$1 package module found tree=$1/tree
    [[ ! -f $folder/initrd ]] || return 0
    rm -rf "$folder"
    mkdir -p "$folder/kernel" "$tree"/{bin,proc,sys,dev,modules}
    package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ { print $2; exit }')
    (cd "$folder" && apt-get -qq download "$package" 2>/dev/null) || die "could not fetch $package"
    dpkg-deb -x "$folder"/linux-image-*.deb "$folder/kernel"
    cp "$folder"/kernel/boot/vmlinuz-* "$folder/vmlinuz"
    for module in "${GUEST_MODULES[@]}"; do
        found=$(find "$folder/kernel" -name "$module.ko")
        [[ -n $found ]] || continue
        cp "$found" "$tree/modules/"
    done
    cp /bin/busybox "$tree/bin/"
    guest_init >"$tree/init"
    chmod 755 "$tree/init"
    (cd "$tree" && find . | cpio --quiet -o -H newc | gzip -1) >"$folder/initrd"
    rm -rf "$folder/kernel" "$folder"/linux-image-*.deb
}

# The guest's only program: brings up its interface, asks the server, says what came of it, ends.
guest_init() {
    cat <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in ${GUEST_MODULES[*]}; do
    [ ! -e /modules/\$module.ko ] || insmod /modules/\$module.ko
done
for word in \$(cat /proc/cmdline); do
    case \$word in guest.*=*) eval "\${word#guest.}" ;; esac
done
ip link set lo up
ip link set eth0 up
ip address add \$address dev eth0
ip route add default via \$gateway
echo "guest: Linux \$(uname -r), mac \$(cat /sys/class/net/eth0/address)"
ping -c 5 -i 0.3 -w 20 \$server && echo "guest: ping good"
# The distribution's static wget crashes.
printf 'GET /payload.bin HTTP/1.0\\r\\n\\r\\n' | nc -w 60 \$server 80 | sed '1,/^\\r*\$/d' >/payload
echo "guest: sha256 \$(sha256sum /payload | cut -d' ' -f1), \$(wc -c </payload) octets"
echo "guest: done"
poweroff -f
INIT
}

# guest_command FOLDER SOCKET MAC WORDS...: the words of a command into GUEST_COMMAND; its console is its standard
# output. Its memory is shared with the backend, which is how frames get there. Without KVM, QEMU 7.2 crashes over
# vhost-user's MSI-X vectors, so there are none.
guest_command() {
    local folder=$1 socket=$2 mac=$3 accel=tcg
    shift 3
    [[ -z ${GUEST_KVM:-} ]] || accel=kvm
    GUEST_COMMAND=(qemu-system-x86_64 -machine "q35,accel=$accel,memory-backend=mem" -cpu max -m 256
        -nodefaults -no-user-config -nographic -no-reboot
        -object "memory-backend-memfd,id=mem,size=256M,share=on"
        -chardev "socket,id=chr,path=$socket" -netdev "vhost-user,id=net,chardev=chr"
        -device "virtio-net-pci,netdev=net,mac=$mac,romfile=,vectors=0" -serial stdio
        -kernel "$folder/vmlinuz" -initrd "$folder/initrd" -append "console=ttyS0 panic=-1 quiet $*")
}
