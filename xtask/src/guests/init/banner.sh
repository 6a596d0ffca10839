#!/bin/sh
# Something to look at on the display: a penguin and what this machine is.
PATH=/bin:/sbin:/usr/bin:/usr/sbin
esc=$(printf '\033')
printf '%s[2J%s[H\n' "$esc" "$esc"

# One letter is one square of colour: b sky, k black, w white, y yellow.
sed -e "s/b/$esc[44m  /g" -e "s/k/$esc[40m  /g" -e "s/w/$esc[47m  /g" -e "s/y/$esc[43m  /g" -e "s/^/   /" -e "s/\$/$esc[0m/" <<'PICTURE'
bbbbbbbbbbbbbbbbb
bbbbbbkkkkkbbbbbb
bbbbbkkkkkkkbbbbb
bbbbbkwkkkwkbbbbb
bbbbbkkyyykkbbbbb
bbbbbkwwywwkbbbbb
bbbbkkwwwwwkkbbbb
bbbkkwwwwwwwkkbbb
bbbkkwwwwwwwkkbbb
bbkkkwwwwwwwkkkbb
bbkkbkwwwwwkbkkbb
bbbbbkwwwwwkbbbbb
bbbbbbkkkkkbbbbbb
bbbbyyybbbyyybbbb
bbbbbbbbbbbbbbbbb
PICTURE

model=$(sed -n -e 's/^\(model name\|cpu model\|cpu\|Model\|uarch\)[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
memory=$(($(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo) / 1024))
display=$(cat /sys/class/graphics/fb0/name 2>/dev/null)
size=$(tr , x </sys/class/graphics/fb0/virtual_size 2>/dev/null)
row() { printf '   %s[1;36m%-12s%s[0m %s\n' "$esc" "$1" "$esc" "$2"; }
printf '\n   %s[1;33mVivarium test guest %s%s[0m\n\n' "$esc" "$(cat /etc/vivarium/name)" "$esc"
row kernel "$(uname -srm)"
row processors "$(nproc) ${model:+of $model}"
row memory "$memory MiB"
row display "${display:-text} $size"
row disks "$(ls /sys/block 2>/dev/null | grep -v -e ^loop -e ^ram | tr '\n' ' ')"
row network "$(ls /sys/class/net | grep -v ^lo | tr '\n' ' ')"
echo
