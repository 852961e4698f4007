#!/usr/bin/env bash
# USB cameras: the tests of tests/v4l2 in a virtual machine with Debian's kernel, against vivid, the kernel's own test camera, and
# v4l2loopback, which gives MJPEG.
#
#   make test-v4l2
#
# The machine sees this computer's files, read-only, and runs .venv. It needs no KVM: without it, it takes a few minutes. ACCEL=kvm
# uses it. The kernel is downloaded once into .build/v4l2, and v4l2loopback is built there. Nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$PWD/.build/v4l2
export PATH=$PATH:/usr/sbin:/sbin
python=${PYTHON:-$PWD/.venv/bin/python}
MODULES="virtio_pci 9p 9pnet_virtio vivid v4l2loopback"

need() {
    echo "make test-v4l2: $1" >&2
    exit 1
}

check_host() {
    command -v qemu-system-x86_64 busybox cpio depmod v4l2-ctl ffmpeg make gcc-12 > /dev/null ||
        need "a program is missing: sudo apt install qemu-system-x86 busybox-static cpio kmod v4l-utils ffmpeg make gcc-12"
    busybox ldd "$(command -v busybox)" 2> /dev/null | grep -q libc && need "busybox is not static: sudo apt install busybox-static"
    return 0
}

# Debian's kernel with its modules, unpacked, and v4l2loopback built for it.
get_kernel() {
    [ -d "$work/kernel" ] && return
    local part=$work/kernel.part image headers sources archive
    rm -rf "$part"
    mkdir -p "$part/archives"
    image=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
    headers=${image/image/headers}
    (cd "$part/archives" && apt-get download -q "$image" v4l2loopback-dkms "$headers" \
        $(apt-cache depends "$headers" | awk '/Depends: linux-(headers|kbuild|compiler)/ { print $2 }'))
    for archive in "$part"/archives/*.deb; do dpkg-deb -x "$archive" "$part"; done
    rm -r "$part/archives"
    sources=$(echo "$part"/usr/src/v4l2loopback-*)
    sed -i "s|/usr/src/|$part/usr/src/|" "$part/usr/src/$headers/Makefile"
    make -s -C "$part/usr/src/$headers" M="$sources" modules
    cp "$sources/v4l2loopback.ko" "$part/lib/modules/${image#linux-image-}/kernel/"
    depmod -b "$part" "${image#linux-image-}"
    mv "$part" "$work/kernel"
}

# The first file system: busybox, the modules in the order in which they must be loaded, and a script that runs the tests.
make_initrd() {
    local root=$work/initrd release module
    release=$(ls "$work/kernel/lib/modules")
    rm -rf "$root"
    mkdir -p "$root"/{bin,proc,sys,dev,modules,host}
    cp "$(command -v busybox)" "$root/bin/busybox"
    for module in $MODULES; do
        modprobe -d "$work/kernel" -S "$release" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' > "$work/modules.txt"
    while read -r module; do
        cp "$module" "$root/modules/"
        basename "$module"
    done < "$work/modules.txt" > "$root/modules/order"
    cat > "$root/init" << END
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do
    case \$module in
        vivid*) insmod /modules/\$module n_devs=1 node_types=0x1 num_inputs=1 input_types=0 ;;
        v4l2loopback*) insmod /modules/\$module video_nr=7 exclusive_caps=1 ;;
        *) insmod /modules/\$module ;;
    esac
done < /modules/order
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=262144 root /host
mount -t tmpfs run /host/run
for folder in proc sys dev; do mount -o bind /\$folder /host/\$folder; done
mkdir -p /host/dev/shm /host/run/site
mount -t tmpfs shm /host/dev/shm
ip link set lo up
ln -s $PWD /host/run/site/sacvit
chroot /host /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/run TMPDIR=/run LANG=C.UTF-8 PYTHONPATH=/run/site \\
    PYTHONDONTWRITEBYTECODE=1 $python -m pytest --rootdir $PWD -c $PWD/pyproject.toml --confcutdir $PWD/tests/v4l2 -p no:cacheprovider \\
    --color=no --durations=8 -v $PWD/tests/v4l2
echo "exit code \$?"
poweroff -f
END
    chmod +x "$root/init"
    (cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) > "$work/initrd.gz"
}

check_host
get_kernel
make_initrd
timeout 1200 qemu-system-x86_64 -accel "${ACCEL:-tcg}" -cpu max -m 3072 -smp 2 -nographic -no-reboot -nic none \
    -kernel "$work"/kernel/boot/vmlinuz-* -initrd "$work/initrd.gz" -append "console=ttyS0 quiet panic=-1" \
    -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap -device virtio-9p-pci,fsdev=root,mount_tag=root \
    < /dev/null | sed -u 's/\r$//' | tee "$work/log.txt"
grep -q '^exit code 0$' "$work/log.txt"
