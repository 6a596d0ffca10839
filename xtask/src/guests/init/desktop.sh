#!/bin/sh
# A session of X without a screen, with SPICE's agent, and the WebDAV folder on port 9843. Says "desktop ready" when all of it runs.
export DISPLAY=:0 HOME=/root XDG_CONFIG_HOME=/root/.config

mkdir -p /dev/virtio-ports /run/spice-vdagentd /run/dbus /tmp/.X11-unix /root/.config /root/Downloads
rm -rf /var/run && ln -s ../run /var/run
for port in /sys/class/virtio-ports/*; do
    [ -e "$port/name" ] && ln -sf "../${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"
done

until_there() {
    while [ ! -e "$1" ]; do usleep 100000; done
}

# The folder's server tells the network of itself, and does not run where it cannot.
dbus-daemon --system --nopidfile --fork
avahi-daemon --no-drop-root --no-chroot --no-rlimits --daemonize 2>/dev/null
# Without -noreset it would begin anew when its last client goes, which may be before the agent has come.
Xvfb :0 -noreset -screen 0 1024x768x24 -extension GLX -nolisten tcp >/run/xvfb.log 2>&1 &
until_there /tmp/.X11-unix/X0
# There is no session manager to ask, and no input device to make.
spice-vdagentd -x -X -f -u /dev/null >/run/vdagentd.log 2>&1 &
until_there /run/spice-vdagentd/spice-vdagent-sock
spice-vdagent -x -o 0 -f /root/Downloads >/run/vdagent.log 2>&1 &
[ -e /dev/virtio-ports/org.spice-space.webdav.0 ] && spice-webdavd -p 9843 >/run/webdavd.log 2>&1 &
echo "desktop ready"
