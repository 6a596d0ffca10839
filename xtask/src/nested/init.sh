#!/bin/sh
# The first process of the Linux in which `cargo xtask nested` runs programs: it lays a layer that can be written over the files of the
# computer outside, and runs the program in there.

/bin/busybox mkdir -p /proc /sys /dev /sbin /usr/bin /usr/sbin /outside /layer /job /new
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s
for module in virtio_pci 9pnet_virtio 9p overlay kvm-amd dummy tun; do
    modprobe "$module"
done
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
ip link set lo up
# A network that leads nowhere, so that programs that look for one find it.
ip link add nowhere type dummy
ip addr add 192.0.2.2/24 dev nowhere
ip link set nowhere up
ip route add default via 192.0.2.1

options=trans=virtio,version=9p2000.L,msize=262144
mount -t 9p -o "ro,cache=loose,$options" root /outside || poweroff -f
mount -t 9p -o "ro,$options" job /job || poweroff -f
mount -t tmpfs layer /layer
mkdir -p /layer/upper /layer/work
mount -t overlay -o lowerdir=/outside,upperdir=/layer/upper,workdir=/layer/work root /new || poweroff -f
mount -t tmpfs run /new/run
cp /job/job /bin/busybox /new/run/
cat >/new/run/init <<'END'
#!/run/busybox sh
/run/busybox env -i HOME=/root TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /bin/sh /run/job
echo "nested: ended with $?"
/run/busybox poweroff -f
END
chmod +x /new/run/init
for folder in dev proc sys; do
    mount -o move "/$folder" "/new/$folder"
done
# Not chroot: programs in a changed root may not make user namespaces, which some confine themselves by.
exec switch_root -c /dev/console /new /run/init
