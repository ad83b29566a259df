#!/bin/sh
# in_overlay.sh FOLDER SCRIPT ARGUMENT...: runs a script as root in a copy of this machine's root file
# system that is thrown away afterwards. FOLDER is empty and is seen there under its own name. Exit code 77: this
# machine does not let us make one.
set -eu
if [ "${CAIRN_IN_OVERLAY:-}" = "" ]; then
    unshare --mount true 2>/dev/null || { echo "no mount namespace can be made here"; exit 77; }
    CAIRN_IN_OVERLAY=1 exec unshare --mount "$0" "$@"
fi
unset CAIRN_IN_OVERLAY
folder=$1
shift
upper=$(mktemp -d)
mount --make-rprivate /
mount -t tmpfs tmpfs "$upper"
mkdir "$upper/upper" "$upper/work" "$upper/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$upper/upper,workdir=$upper/work" "$upper/root" 2>/dev/null ||
    { echo "no overlay file system can be made here"; exit 77; }
for one in proc dev sys; do
    mount --rbind "/$one" "$upper/root/$one"
done
mkdir -p "$upper/root$folder"
mount --bind "$folder" "$upper/root$folder"
exec chroot "$upper/root" "$@"
