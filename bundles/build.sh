#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes the root file systems, bundles and images for the samples: bundles/build.sh OUTDIR
#
#   OUTDIR/rootfs/busybox       a root file system of a static busybox
#   OUTDIR/rootfs/pause         a root file system with only pause
#   OUTDIR/busybox, OUTDIR/pause    runnable bundles: a config.json that names these
#   OUTDIR/busybox-image.tar, OUTDIR/pause-image.tar    OCI image archives of the two
#
# BUSYBOX=FILE and PAUSE=FILE replace /bin/busybox and the pause that make builds; PYTHON=FILE names an interpreter. If it
# runs again, it changes only what differs, so that containers that use these files keep running.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
busybox=${BUSYBOX:-/bin/busybox}
pause=${PAUSE:-$here/../build/lib/pyoci/libexec/pause}
python=${PYTHON:-/usr/bin/python3}
tag=0.1

fail() {
    echo "bundles/build.sh: $1" >&2
    exit 1
}

# put FILE MODE: standard input becomes FILE, if that differs.
put() {
    cat >"$1.new"
    if cmp -s "$1.new" "$1"; then
        rm "$1.new"
    else
        chmod "$2" "$1.new"
        mv "$1.new" "$1"
    fi
}

busybox_rootfs() {
    root=$out/rootfs/busybox
    for folder in bin dev etc mnt proc root run srv sys tmp var www; do
        mkdir -p "$root/$folder"
    done
    chmod 1777 "$root/tmp"
    chmod 700 "$root/root"
    put "$root/bin/busybox" 755 <"$busybox"
    "$busybox" --list | while read -r applet; do
        [ "$applet" = busybox ] || [ -L "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
    done
    put "$root/etc/passwd" 644 <<'END'
root:x:0:0:root:/root:/bin/sh
web:x:1000:1000:web:/www:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
END
    put "$root/etc/group" 644 <<'END'
root:x:0:
web:x:1000:
nogroup:x:65534:
END
}

pause_rootfs() {
    root=$out/rootfs/pause
    mkdir -p "$root/dev" "$root/proc" "$root/sys"
    put "$root/pause" 755 <"$pause"
}

# bundle NAME: the sample's config.json, its root moved from the source tree's view to OUTDIR's.
bundle() {
    mkdir -p "$out/$1"
    sed 's|"\.\./\.\./build/bundles/rootfs/|"../rootfs/|' "$here/$1/config.json" | put "$out/$1/config.json" 644
}

image() {
    name=$1
    shift
    "$python" -I "$here/image.py" --rootfs "$out/rootfs/$name" --name "localhost/pyoci-$name:$tag" \
        --output "$out/$name-image.tar" "$@"
}

[ $# -eq 1 ] || fail "say where: bundles/build.sh OUTDIR"
[ -x "$busybox" ] || fail "$busybox: not found; install busybox-static, or set BUSYBOX"
# Debian's plain busybox needs a libc that the root file system does not have.
! ldd "$busybox" >/dev/null 2>&1 || fail "$busybox: is not static; install busybox-static, or set BUSYBOX"
[ -x "$pause" ] || fail "$pause: not found; run make, or set PAUSE"
umask 022
mkdir -p "$1"
out=$(cd "$1" && pwd)

busybox_rootfs
pause_rootfs
bundle busybox
bundle pause
image busybox --command /bin/sh --env PATH=/bin
image pause --entrypoint /pause --user 65535:65535
