#!/usr/bin/env bash
# Makes the QEMU laboratory: a Debian trixie chroot with QEMU 11 (from backports), a guest kernel, and what it takes to
# build Linux's own tests and its sample mdev driver for the guest: the kernel's source, its headers, a compiler. That
# driver needs Debian's full kernel: the cloud one has no mediated devices.
#
# QEMU's vfio-user client needs version 10.1 or newer, which no stable Debian release carries yet; a chroot
# keeps it away from the host's own packages. Needs root and debootstrap, takes two to three minutes,
# does nothing when the chroot is already complete.
#
#   usage: scripts/qemu-setup.sh [DIR]     (default: $VFIOKIT_QEMU_ROOT or /var/cache/vfiokit/qemu)
set -euo pipefail

root=${1:-${VFIOKIT_QEMU_ROOT:-/var/cache/vfiokit/qemu}}
# Raised whenever the recipe below changes, so that an older chroot is completed and not trusted.
recipe=3
stamp=$root/.vfiokit-recipe

if [ "$(cat "$stamp" 2>/dev/null)" = "$recipe" ]; then
  echo "qemu: $root is ready"
  exit 0
fi
[ "$(id -u)" = 0 ] || { echo "qemu: making $root needs root" >&2; exit 1; }
if ! command -v debootstrap >/dev/null; then
  apt-get update -q
  apt-get install -y -q --no-install-recommends debootstrap debian-archive-keyring
fi

mirror=${VFIOKIT_DEBIAN_MIRROR:-http://deb.debian.org/debian}
mkdir -p "$root"
if [ ! -e "$root/usr/bin/apt-get" ]; then
  debootstrap --variant=minbase trixie "$root" "$mirror"
fi
echo "deb $mirror trixie-backports main" >"$root/etc/apt/sources.list.d/backports.list"
# apt in the chroot must reach the mirror the way the host does.
cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
for f in /etc/apt/apt.conf.d/*proxy*; do
  [ -e "$f" ] && cp "$f" "$root/etc/apt/apt.conf.d/"
done
# Nothing in the chroot may start a service.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"

in_root() { chroot "$root" /usr/bin/env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"; }
in_root apt-get update -q
in_root apt-get install -y -q --no-install-recommends -t trixie-backports qemu-system-x86 linux-image-cloud-amd64
in_root apt-get install -y -q --no-install-recommends busybox-static cpio pciutils kmod
# All of one version.
in_root apt-get install -y -q --no-install-recommends -t trixie-backports \
  linux-image-amd64 linux-headers-amd64 linux-source linux-libc-dev
in_root apt-get install -y -q --no-install-recommends gcc-14 make libc6-dev uuid-dev xz-utils
in_root apt-get clean

in_root qemu-system-x86_64 --version
echo "$recipe" >"$stamp"
echo "qemu: $root is ready"
