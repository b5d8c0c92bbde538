#!/bin/sh
# make install puts all into place, twice without harm; make uninstall takes all away but the configuration.
set -eu
cd "$(dirname "$0")/../.."
build=${BUILD:-build} dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
n=0
ok() { # STATUS WHAT
    n=$((n + 1))
    [ "$1" = 0 ] && echo "ok $n - $2" || { echo "not ok $n - $2"; find "$dir" -type f | sed 's/^/# /'; }
}
is() { # GOT EXPECTED WHAT
    [ "$1" = "$2" ] && ok 0 "$3" || { ok 1 "$3"; printf '# got      %s\n# expected %s\n' "$1" "$2"; }
}
run() { make -s BUILD="$build" PREFIX=/opt/meshify DESTDIR="$dir" "$@" >/dev/null 2>&1; }

run install && ok 0 "make install" || ok 1 "make install"
is "$("$dir/opt/meshify/sbin/meshifyd" --version | cut -d' ' -f1)" meshifyd "the daemon runs from there"
is "$("$dir/opt/meshify/bin/meshifyctl" --version | cut -d' ' -f1)" meshifyctl "so does the tool"
is "$(stat -c %a "$dir/etc/meshify.ini")" 600 "nobody else reads the configuration, which holds secrets"
[ -d "$dir/etc/meshify.d" ] && ok 0 "the drop-in directory" || ok 1 "the drop-in directory"
for unit in meshifyd.service meshifyd@.service; do
    grep -q '^ExecStart=/opt/meshify/sbin/meshifyd' "$dir/opt/meshify/lib/systemd/system/$unit" && ok 0 "$unit starts it" || ok 1 "$unit starts it"
done
is "$(cd "$dir/opt/meshify/share/man" && echo */*)" "man1/meshifyctl.1 man5/meshify.ini.5 man8/meshifyd.8" "the manual pages, but for the simulator's"
[ -e "$dir/opt/meshify/bin/meshify-sim" ] && ok 1 "the simulator is not installed" || ok 0 "the simulator is not installed"
echo "# mine" >>"$dir/etc/meshify.ini"
run install && ok 0 "again" || ok 1 "again"
is "$(tail -1 "$dir/etc/meshify.ini")" "# mine" "a configuration that is there is left alone"
run uninstall && ok 0 "make uninstall" || ok 1 "make uninstall"
is "$(find "$dir" -type f)" "$dir/etc/meshify.ini" "leaves only the configuration"
echo "1..$n"
