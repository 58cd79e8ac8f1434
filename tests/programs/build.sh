#!/bin/sh
# Compiles the test programs into a directory, as distributions compile theirs:
# optimised, and without frame pointers.
#   build.sh DIRECTORY [FLAG...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
shift
mkdir -p "$out"
cc=${CC:-cc}
flags="-O2 -fomit-frame-pointer -g -Wall -Wextra $*"
$cc $flags -fPIC -shared -o "$out/libshares.so" "$here/library.c"
$cc $flags -fPIC -shared -o "$out/libplugin.so" "$here/plugin.c"
# -fplt and lazy binding: the call goes through a PLT stub.
$cc $flags -fplt -Wl,-z,lazy -pthread -o "$out/shares" "$here/shares.c" \
    -L"$out" -lshares -ldl -Wl,-rpath,'$ORIGIN'
$cc $flags -DWITHOUT_PLUGIN -static-pie -pthread -o "$out/shares-static" \
    "$here/shares.c" "$here/library.c"
$cc $flags -o "$out/brief" "$here/brief.c"
$cc $flags -o "$out/deep" "$here/deep.c"
$cc $flags -pthread -o "$out/waits" "$here/waits.c"
$cc $flags -pthread -o "$out/calls" "$here/calls.c"
$cc $flags -pthread -o "$out/targets" "$here/targets.c"
$cc $flags -pthread -o "$out/coupled" "$here/coupled.c"
$cc $flags -pthread -o "$out/storm" "$here/storm.c"
$cc $flags -o "$out/signals" "$here/signals.c"
$cc $flags -o "$out/memory" "$here/memory.c"
$cc $flags -o "$out/disk" "$here/disk.c"
$cc $flags -o "$out/postgres" "$here/postgres.c"
$cc $flags -fPIC -shared -DFIRST -o "$out/libfirst.so" "$here/replaceable.c"
$cc $flags -fPIC -shared -DSECOND -o "$out/libsecond.so" "$here/replaceable.c"
$cc $flags -o "$out/replaced" "$here/replaced.c" -ldl
$cc $flags -o "$out/work" "$here/work.c"
$cc $flags -o "$out/embed" "$here/embed.c" -ldl
cp "$here"/services/* "$out"
