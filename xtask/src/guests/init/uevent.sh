#!/bin/sh
# Loads the driver of a device that has just appeared.
[ "$ACTION" = add ] && [ -n "$MODALIAS" ] && exec /sbin/modprobe -q -b "$MODALIAS" 2>/dev/null
exit 0
