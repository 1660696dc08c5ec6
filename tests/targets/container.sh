# Makes a root file system in its first argument and becomes the rest, inside of it. In namespaces of its own already.
# The interpreter's directory is the second argument: inside it is /opt/py. The third one is /app.
set -e
root=$1 prefix=$2 app=$3
shift 3
mount -t tmpfs tmpfs "$root"
mkdir "$root/usr" "$root/proc" "$root/dev" "$root/tmp" "$root/app" "$root/opt" "$root/opt/py" "$root/old"
for link in bin lib lib64 sbin; do
    if [ -L "/$link" ]; then
        ln -s "usr/$link" "$root/$link"
    elif [ -d "/$link" ]; then
        mkdir "$root/$link"
        mount --rbind "/$link" "$root/$link"
    fi
done
mount --rbind /usr "$root/usr"
mount --rbind /dev "$root/dev"
mount --rbind "$prefix" "$root/opt/py"
mount --rbind "$app" "$root/app"
mount -t proc proc "$root/proc"
cd "$root"
pivot_root . old
umount -l old
exec "$@"
