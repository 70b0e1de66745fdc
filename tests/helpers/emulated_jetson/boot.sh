#!/bin/sh
# Lays the userland and the files of one device below ROOT, and starts its SSH server.
# Usage: boot.sh ROOT ARCHIVE FILES
set -eu
root=$1 archive=$2 files=$3
tar -x -f "$archive" -C "$root"
cp -a --remove-destination "$files/." "$root"
chown -R 1000:1000 "$root/home/jetson"
exec env -i PATH=/usr/sbin:/usr/bin chroot "$root" /usr/sbin/sshd -D -e
