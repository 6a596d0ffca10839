#!/bin/sh
# The first process of a test guest.
#
# Words on the kernel's command line that it knows:
#   vivarium.net            asks for an address on the first network card
#   vivarium.run="COMMAND"  runs COMMAND when the guest is ready, and says how it ended
#   vivarium.poweroff       switches off after that

export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM=linux PS1='guest# '

/bin/busybox mkdir -p /dev /proc /sys /run /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
hostname vivarium
name=$(cat /etc/vivarium/name)
cmdline=$(cat /proc/cmdline)

# Drivers for what is there. A bus shows its devices only when its own driver is loaded, so until nothing new appears.
coldplug() {
    find /sys/devices -name modalias -exec cat {} + 2>/dev/null | sort -u >/run/modalias
    if ! cmp -s /run/modalias /run/modalias.before; then
        xargs modprobe -a -q -b </run/modalias >/dev/null 2>&1
        mv /run/modalias /run/modalias.before
        return 0
    fi
    return 1
}
while coldplug; do :; done
# Then for what is plugged in later, and for USB devices, which take a while to appear.
uevent /etc/vivarium/uevent >/dev/null 2>&1 &
coldplug

# From here on only errors of the kernel appear between what a person reads and types.
dmesg -n 4

# The serial console is the last that the kernel writes to; "tty0" is whichever screen is in front.
console=$(sed 's/.* //' /sys/class/tty/console/active 2>/dev/null)
case "$console" in '' | tty0) console=tty1 ;; esac
[ -c "/dev/$console" ] || console=console
echo "$console" >/run/console
exec </dev/null >"/dev/$console" 2>&1
stty -F "/dev/$console" sane rows 24 cols 80 2>/dev/null

# Ways to be asked to switch off: a power button (input event), ctrl-alt-del or a signal quiesce (SIGINT to this process),
# and what the kernel starts by itself (pseries, thermal events).
echo 0 >/proc/sys/kernel/ctrl-alt-del
echo /etc/vivarium/going-down >/proc/sys/kernel/poweroff_cmd 2>/dev/null
trap /etc/vivarium/going-down INT USR1 USR2
trap 'sync; reboot -f' TERM
acpid -f -l /dev/null -p /run/acpid.pid >/dev/null 2>&1 &

ip link set lo up
case " $cmdline " in *" vivarium.net "*)
    for card in /sys/class/net/*; do
        card=${card##*/}
        [ "$card" = lo ] && continue
        ip link set "$card" up
        udhcpc -i "$card" -n -q -t 8 -T 2 -s /usr/share/udhcpc/default.script >/dev/null 2>&1
        echo "vivarium network $card $(ip -4 -o addr show "$card" | sed -n 's/.* inet \([^ ]*\).*/\1/p')"
        break
    done ;;
esac

shell() { # a shell on a terminal, again and again
    while :; do
        setsid -c sh -i <"/dev/$1" >"/dev/$1" 2>&1
        sleep 1
    done
}

if [ "$console" != tty1 ] && [ -c /dev/tty1 ]; then
    stty -F /dev/tty1 sane 2>/dev/null
    /etc/vivarium/banner >/dev/tty1 2>/dev/null
    shell tty1 &
fi

echo "vivarium guest ready $name"

run=$(printf '%s\n' "$cmdline" | sed -n -e 's/.*vivarium\.run="\([^"]*\)".*/\1/p' -e t -e 's/.*"vivarium\.run=\([^"]*\)".*/\1/p' -e t -e 's/.*vivarium\.run=\([^ ]*\).*/\1/p')
if [ -n "$run" ]; then
    sh -c "$run" <"/dev/$console"
    echo "vivarium run exit $?"
fi
case " $cmdline " in *" vivarium.poweroff "*) /etc/vivarium/going-down ;; esac

shell "$console" &
# A signal ends the wait, so that its trap runs.
while :; do
    wait
    sleep 1
done
