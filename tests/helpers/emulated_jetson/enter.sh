#!/bin/sh
# Runs a program in mount and process namespaces of its own, where ROOT is a fresh file system in memory and arm64
# programs run; `unshare` made the namespaces. When it ends, or is killed, the kernel takes all of it away: there is
# nothing to unmount, to kill or to delete.
# Usage: enter.sh ROOT QEMU_CONF PROGRAM [ARGUMENTS]
set -eu
root=$1 conf=$2 handler=emulated-jetson
shift 2
# The handler goes with the last mount of binfmt_misc. That is this one, below the other, unless the machine has its own
# or a Linux older than 6.7: then it stays until the next boot. Another run may have made it already.
mount -t binfmt_misc binfmt_misc "$root"
[ -e "$root/$handler" ] || sed "s/^:[^:]*:/:$handler:/" "$conf" >"$root/register" || [ -e "$root/$handler" ]
mount -t tmpfs -o size=2g,mode=755 tmpfs "$root"
exec "$@"
