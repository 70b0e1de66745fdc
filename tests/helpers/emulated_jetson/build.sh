#!/bin/sh
# Makes the userland below ROOT and writes it to stdout as a tar archive; everything else goes to stderr.
#
# Packages and wheels are unpacked, and none of their scripts run: that takes seconds, where debootstrap's second stage
# and pip take minutes under emulation. What the scripts would do that an SSH server and Python need is done by hand.
# Usage: build.sh ROOT MIRROR SUITE PACKAGES PIP_INSTALL...
set -eu
mirror=$2 suite=$3 packages=$4 device=$1/device
shift 4
# What a killed build leaves behind goes with the namespace, too.
export TMPDIR="$device.tmp"
mkdir "$TMPDIR"
# The hook makes /bin and /lib links, as they are in every Debian and Ubuntu of today.
mmdebstrap --quiet --mode=root --variant=extract --skip=check/qemu --architectures=arm64 --include="$packages" \
    --aptopt='APT::Install-Recommends "false"' --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    "$suite" "$device" "$mirror" >&2
rm -rf "$device/usr/share/doc" "$device/usr/share/locale" "$device/usr/share/man"
"$@" --target "$device/usr/lib/python3/dist-packages" >&2
for name in passwd group; do
    cp "$device/usr/share/base-passwd/$name.master" "$device/etc/$name"
done
echo 'sshd:*:100:65534::/run/sshd:/usr/sbin/nologin' >>"$device/etc/passwd"
echo 'jetson:*:1000:1000::/home/jetson:/bin/bash' >>"$device/etc/passwd"
echo 'jetson:*:1000:' >>"$device/etc/group"
mkdir "$device/run/sshd"
# Shows that it runs, and compiles what every start of Python would compile anew.
env -i PATH=/usr/sbin:/usr/bin chroot "$device" python3 -c 'import argparse, numpy, onnxruntime, tarfile' >&2
tar -c -f - -C "$device" .
