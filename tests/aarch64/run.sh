#!/usr/bin/env bash
# The device's side on arm64, in a Debian for that processor under qemu-user: its tests, and sacvit-run against this machine.
#
#   make test-aarch64                       the tests of Makefile's DEVICE_TESTS
#   make test-aarch64 TESTS=tests/images    these only
#
# AARCH64_ROOT is the folder of the root file system, which is made once. MIRROR is where debootstrap finds Debian. The files in
# there belong to root, so a user who is not root is asked for a password by sudo: also for sudo rm -rf .build/aarch64.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$(realpath -m "${AARCH64_ROOT:-.build/aarch64}")
python=.venv/bin/python
work=.build/aarch64-decisions

need() {
    echo "make test-aarch64: $1" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Runs a command in the root file system $1. Its mounts belong to a name space that ends with the command. The processor is one
# whose instructions a Jetson Orin has. Before 8.1, qemu hands out this machine's /proc/cpuinfo, and ONNX Runtime crashes on it.
inside() {
    as_root env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_ROOT_USER_ACTION=ignore \
        PIP_DISABLE_PIP_VERSION_CHECK=1 ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} QEMU_CPU=cortex-a76 \
        unshare --mount --pid --fork --kill-child bash -euc '
            root=$1
            shift
            mount -t proc proc "$root/proc"
            mount -t sysfs sysfs "$root/sys"
            mount --rbind /dev "$root/dev"
            mount --bind "$root/etc/cpuinfo-of-a-cortex-a76" "$root/proc/cpuinfo"
            # Names and certificates as this machine has them: a proxy that it trusts is trusted there too.
            cp /etc/resolv.conf "$root/etc/resolv.conf"
            if [ -f "$root/etc/ssl/certs/ca-certificates.crt" ]; then
                mount --bind /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
            fi
            chroot "$root" "$@" || exit' inside "$@"
}

check_host() {
    command -v debootstrap qemu-aarch64-static unshare > /dev/null ||
        need "debootstrap or qemu is missing: sudo apt install debootstrap qemu-user-static"
    grep -qs '^enabled' /proc/sys/fs/binfmt_misc/qemu-aarch64 || need "the kernel starts no arm64 programs here. Register qemu:
  sudo mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc    # unless it is mounted
  sudo sh -c 'cat /usr/lib/binfmt.d/qemu-aarch64.conf > /proc/sys/fs/binfmt_misc/register'"
}

# Debian 12 with its OpenCV, which has GStreamer, and its NumPy 1.24. Under another name until it is whole.
make_root() {
    [ -d "$root" ] && return
    echo "making $root: about 25 minutes, once"
    mkdir -p "$(dirname "$root")"
    as_root rm -rf "$root.part"
    as_root unshare --mount debootstrap --arch=arm64 --variant=minbase --include=ca-certificates \
        bookworm "$root.part" ${MIRROR:+"$MIRROR"}
    for core in $(seq 0 $(($(nproc) - 1))); do
        printf 'processor\t: %s\nBogoMIPS\t: 62.50\n' "$core"
        echo 'Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp'
        printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd0b\nCPU revision\t: 1\n\n'
    done | as_root tee "$root.part/etc/cpuinfo-of-a-cortex-a76" > /dev/null
    inside "$root.part" apt-get update -q
    inside "$root.part" apt-get install -q -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io \
        python3-venv python3-opencv gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
    inside "$root.part" python3 -m venv --system-site-packages /opt/device
    as_root mv "$root.part" "$root"
}

# The project as a device gets it. NumPy stays Debian's, since Debian's OpenCV was built for it.
install_project() {
    as_root rm -rf "$root/src"
    as_root mkdir "$root/src"
    git ls-files -z --cached --others --exclude-standard | tar --null -T - -c | as_root tar x -C "$root/src" --no-same-owner
    grep -v '^numpy==' constraints.txt | as_root tee "$root/src/constraints-device.txt" > /dev/null
    inside "$root" sh -c \
        'cd /src && /opt/device/bin/python -m pip install -q -c constraints-device.txt ".[cpu]" pytest hypothesis'
}

# The example's checkpoint on two shots of its clip, 60 frames, on both machines.
compare_decisions() {
    rm -rf "$work"
    mkdir -p "$work"
    .venv/bin/sacvit-export --ckpt examples/digits/model.pth --out "$work/build" > "$work/export.txt"
    PYTHONPATH=examples/digits $python -c "import clip, pathlib; clip.write_clip(pathlib.Path('$work/clip.mp4'), shots=2)"
    .venv/bin/sacvit-run --engine "$work"/build/{ee,sac}.onnx --camera "$work/clip.mp4" --json > "$work/host.jsonl"
    as_root rm -rf "$root/decisions"
    as_root cp -r "$work" "$root/decisions"
    inside "$root" /opt/device/bin/sacvit-run --engine /decisions/build/{ee,sac}.onnx --camera /decisions/clip.mp4 --json \
        > "$work/arm64.jsonl"
    $python tests/aarch64/compare_decisions.py "$work/host.jsonl" "$work/arm64.jsonl"
}

check_host
make_root
install_project
versions=$(inside "$root" /opt/device/bin/python /src/tests/aarch64/versions.py)
echo "$versions"
status=0
decisions=$(compare_decisions) || status=1
echo "$decisions"
# Property tests run Python code on many examples: they take long under emulation and do not depend on the processor.
mkdir -p .build
inside "$root" sh -c 'cd /src && exec /opt/device/bin/python -m pytest -p no:cacheprovider -rs -m "not hypothesis" "$@"' \
    pytest ${TESTS:-$DEVICE_TESTS} | tee .build/aarch64-tests.txt || status=1
printf '\narm64\n%s\n%s\n%s\n' "$versions" "$(tail -1 .build/aarch64-tests.txt)" "$decisions"
exit $status
