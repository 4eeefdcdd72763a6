#!/bin/bash
# The Debian package on a machine made of this one: an overlay over its files, with process ids and a network of its own, in which nothing
# that is done reaches this machine. Installed, served as the unit does, rotated, upgraded, removed, purged.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

MACHINE=$WORK/machine
UNIT=$ROOT/packaging/systemd/dfos-forkd.service
LOG=$WORK/service.log
export PATH=$PATH:$ROOT/target/tools/bin

can_overlay() {
    can_mount && has unshare && has nsenter || return 1
    unshare --mount --pid --net --fork true 2>/dev/null || { echo "needs the permission to make namespaces"; return 1; }
    mount -t tmpfs dfos-probe "$WORK/probe"
    mkdir "$WORK/probe"/{upper,work,root}
    local status=0
    mount -t overlay -o "lowerdir=/,upperdir=$WORK/probe/upper,workdir=$WORK/probe/work" dfos-probe "$WORK/probe/root" 2>/dev/null || status=1
    if ((status == 0)); then umount "$WORK/probe/root"; else echo "needs overlayfs in the kernel"; fi
    umount "$WORK/probe"
    return "$status"
}
can_dpkg() { has dpkg && has adduser && has pgrep; }
can_logrotate() { has logrotate; }
can_lintian() { has lintian; }
can_package() { [[ -n $PACKAGE ]] || { echo "needs cargo-deb, and a registry to install it from"; return 1; }; }
can_machine() { can_package && can_overlay && can_dpkg; }

# --- the packages ---

# The package; and a newer one of the same, with another default configuration, as the next version may have.
PACKAGE='' NEWER=$WORK/newer.deb
make_packages() {
    "$ROOT/scripts/package.sh" --dev "$WORK/debs" >"$WORK/made" 2>&1 || return 1
    PACKAGE=$(tail -n 1 "$WORK/made")
    dpkg-deb -R "$PACKAGE" "$WORK/newer"
    sed -i 's/^Version: .*/Version: 99.0-1/' "$WORK/newer/DEBIAN/control"
    sed -i '1i # The next version has a line more.' "$WORK/newer/etc/dfos/forkd.toml"
    rm -f "$WORK/newer/DEBIAN/md5sums"
    dpkg-deb -Z gzip -b "$WORK/newer" "$NEWER" >/dev/null
}

critics() {
    equal "what lintian says" '' "$(lintian --allow-root --fail-on none --suppress-tags unstripped-binary-or-object "$PACKAGE")"
}

# --- the machine ---

# Whatever is done in it dies with HOLDER, and its files with the memory that they lie in.
start_machine() {
    mkdir "$MACHINE"
    # shellcheck disable=SC2016 # the inner shell's own
    unshare --mount --pid --net --fork --kill-child --propagation private bash -c '
        set -e
        mount -t tmpfs dfos-machine "$1"
        mkdir "$1/upper" "$1/work" "$1/root"
        mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" dfos-machine "$1/root"
        mount -t proc proc "$1/root/proc"
        mount --rbind /dev "$1/root/dev"
        mount -t tmpfs run "$1/root/run"
        python3 -c "
import fcntl, socket, struct
link = socket.socket()
fcntl.ioctl(link, 0x8914, struct.pack(\"16sh14x\", b\"lo\", 0x41)) # SIOCSIFFLAGS, IFF_UP and IFF_RUNNING
"
        rm -f "$1/root/var/lib/man-db/auto-update" # the index of all manuals takes its time
        touch "$1/ready"
        trap : CHLD
        while :; do sleep 60 & wait; done' holder "$MACHINE" 2>"$WORK/holder" &
    OUTER=$!
    eventually "the machine" machine_is_ready
}
machine_is_ready() {
    HOLDER=$(children_of "$OUTER" | head -n 1)
    [[ -n $HOLDER && -e /proc/$HOLDER/root/$MACHINE/ready ]] || { ! gone "$OUTER" || fail "no machine: $(cat "$WORK/holder")"; return 1; }
}
stop_machine() {
    { kill -KILL "$OUTER" && wait "$OUTER"; } 2>/dev/null || true
    eventually "the machine to end" gone "$HOLDER"
}

# on COMMAND...: on the machine, as root.
on() {
    nsenter -t "$HOLDER" -m -p -n chroot "$MACHINE/root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"
}
# Its files as this machine sees them.
file() { echo "/proc/$HOLDER/root$MACHINE/root$1"; }
install_package() {
    cp "$1" "$(file /tmp/dfos.deb)"
    on dpkg --force-unsafe-io --force-confdef --force-confold -i /tmp/dfos.deb </dev/null
}
looks() { on stat -c '%a %U:%G' "$1"; }

# As the unit: the same user, right, mask, command lines.
as_the_unit() {
    on setpriv --reuid dfos --regid dfos --init-groups --no-new-privs --bounding-set=-all,+sys_chroot --inh-caps=-all,+sys_chroot \
        --ambient-caps=-all,+sys_chroot sh -c 'umask 0077; cd /; exec "$@"' sh "$@"
}
of_unit() { sed -n "s/^$1=//p" "$UNIT"; }
serve() {
    local words
    read -ra words < <(of_unit ExecStart)
    : >"$WORK/service.out"
    rm -f "$WORK/service.status"
    { as_the_unit "${words[@]}" >"$WORK/service.out" 2>>"$LOG"; echo $? >"$WORK/service.status"; } &
    eventually "the service to listen" grep -q '^listening ' "$WORK/service.out"
}
signal() { on sh -c "kill -$1 \$(pgrep -o -u dfos)"; } # the oldest is the listener
end_service() {
    signal TERM
    eventually "the service to end" test -s "$WORK/service.status"
    equal "the service's exit status" 0 "$(cat "$WORK/service.status")"
}
client() { on env XDG_STATE_HOME=/root/known DFOS_USER=anna DFOS_PASSWORD=secret DFOS_CONFIG=none dfos-client "$@"; }
audited() { client put -q - --to "audited/$1" <<<"$1" >/dev/null; }

# --- what is shown ---

before() { sha256sum /etc/passwd /etc/group /etc/shadow; ls -d /etc/dfos /srv/dfos /var/lib/dfos /var/log/dfos /usr/bin/dfos-* /var/lib/dpkg/info/dfos.* 2>/dev/null; sha256sum /var/lib/dpkg/status; }

installs() {
    install_package "$PACKAGE" >"$WORK/out" 2>&1 || fail "it is not installed: $(cat "$WORK/out")"
    grep -q "dfos-forkd user add" "$WORK/out" || fail "what to do next is not told: $(cat "$WORK/out")"
    matches "the user" 'dfos:x:*:/var/lib/dfos:/usr/sbin/nologin' "$(on getent passwd dfos)"
    equal "its group" dfos "$(on id -gn dfos)"
    equal "/etc/dfos" '755 root:root' "$(looks /etc/dfos)"
    equal "forkd.toml" '644 root:root' "$(looks /etc/dfos/forkd.toml)"
    equal "id_passwd" '640 root:dfos' "$(looks /etc/dfos/id_passwd)"
    equal "the storage" '750 dfos:dfos' "$(looks /srv/dfos)"
    equal "the state" '700 dfos:dfos' "$(looks /var/lib/dfos)"
    equal "the logs" '750 dfos:dfos' "$(looks /var/log/dfos)"
    equal "the run-time directory" '755 dfos:dfos' "$(looks /run/dfos)"
    local path
    for path in /usr/share/man/man{1/dfos-client.1,5/forkd.toml.5,5/id_passwd.5,5/user_limits.toml.5,7/dfos-protocol.7,8/dfos-forkd.8}.gz \
        /usr/share/bash-completion/completions/dfos-{client,forkd} /usr/share/zsh/vendor-completions/_dfos-{client,forkd} \
        /usr/share/fish/vendor_completions.d/dfos-{client,forkd}.fish /etc/fail2ban/filter.d/dfos.conf /usr/share/doc/dfos/copyright \
        /usr/lib/{sysusers.d,tmpfiles.d}/dfos.conf /usr/lib/systemd/system/dfos-forkd.{service,socket} /etc/logrotate.d/dfos; do
        equal "$path" '644 root:root' "$(looks "$path")"
    done
    [[ -L $(file /etc/systemd/system/multi-user.target.wants/dfos-forkd.service) ]] || fail "the service is not enabled"
    [[ ! -e $(file /etc/systemd/system/sockets.target.wants/dfos-forkd.socket) ]] || fail "the socket, open to all, is enabled"
    equal "the package's version" "$("$BIN/dfos-forkd" --version | cut -d ' ' -f 2)-1" "$(dpkg-deb -f "$PACKAGE" Version)"
    matches "the changelog's version" "dfos ($(dpkg-deb -f "$PACKAGE" Version)) *" "$(head -n 1 "$ROOT/packaging/debian/changelog")"
}

# What the packaged configuration names lies where the unit lets the server write.
unit_and_configuration_agree() {
    local key place writable
    writable=" $(of_unit ReadWritePaths | tr -d -) /var/lib/$(of_unit StateDirectory) /var/log/$(of_unit LogsDirectory) /run/$(of_unit RuntimeDirectory) "
    for key in dir state-dir audit control; do
        place=$(sed -n "s/^$key = \"\(.*\)\"/\1/p" "$ROOT/packaging/forkd.toml")
        [[ -n $place ]] || fail "forkd.toml sets no $key"
        [[ $writable == *" $place "* || $writable == *" ${place%/*} "* ]] || fail "the unit does not let the server write $place"
    done
    equal "the state's mode" "0$(looks /var/lib/dfos | cut -d ' ' -f 1)" "$(of_unit StateDirectoryMode)"
    equal "the logs' mode" "0$(looks /var/log/dfos | cut -d ' ' -f 1)" "$(of_unit LogsDirectoryMode)"
    equal "the run-time directory's mode" "0$(looks /run/dfos | cut -d ' ' -f 1)" "$(of_unit RuntimeDirectoryMode)"
    equal "the configuration's mode" "0$(looks /etc/dfos | cut -d ' ' -f 1)" "$(of_unit ConfigurationDirectoryMode)"
}

serves_as_the_unit_does() {
    local words
    read -ra words < <(of_unit ExecStartPre)
    as_the_unit "${words[@]}" >"$WORK/out" 2>&1 || fail "check refuses the packaged configuration: $(cat "$WORK/out")"
    serve
    equal "where it listens" 'listening tls://127.0.0.1:9000' "$(cat "$WORK/service.out")"
    on dfos-forkd user add anna --password-stdin <<<secret >/dev/null
    equal "id_passwd after a user was added" '640 root:dfos' "$(looks /etc/dfos/id_passwd)"
    signal HUP
    eventually "the user" grep -q 'users reloaded' "$LOG"
    head -c 300000 /dev/urandom >"$(file /root/sent)"
    client put -q /root/sent --to got
    client get -q got --to /root/back
    cmp "$(file /root/sent)" "$(file /root/back)"
    equal "what was stored" '600 dfos:dfos' "$(looks /srv/dfos/anna/got)"
    equal "the audit" '600 dfos:dfos' "$(looks /var/log/dfos/audit.jsonl)"
    grep -q '"verb":"UPLOAD","path":"got"' "$(file /var/log/dfos/audit.jsonl)" || fail "the upload is not in the audit"
    equal "the key" '600 dfos:dfos' "$(looks /var/lib/dfos/tls-key.pem)"
    matches "what root is told" '*"state":"serving"*"files_in":1,*' "$(on dfos-forkd status --json)"
    equal "the control socket" '600 dfos:dfos' "$(looks /run/dfos/control.sock)"
    on dfos-forkd report /var/log/dfos/audit.jsonl >"$WORK/out"
    grep -q anna "$WORK/out" || fail "no report: $(cat "$WORK/out")"
    if on setpriv --reuid nobody --clear-groups dfos-forkd status >"$WORK/out" 2>&1; then fail "anybody is told"; fi
}

# So many uploads stand in the audits. The last lines come when they come: nobody has asked for an audit before each OK.
all_are_audited() {
    on sh -c 'zcat -f /var/log/dfos/audit.jsonl*' >"$WORK/lines"
    (($(grep -oE '"verb":"UPLOAD","path":"audited/[^"]*"' "$WORK/lines" | sort -u | wc -l) == $1))
}

# Rotated three times while files come: every upload stands in one of the files, the older ones compressed.
rotates() {
    local number
    printf 'put /root/sent --to audited/%s\n' {1..100} >"$(file /root/batch)"
    client mkdir audited
    client -b /root/batch >/dev/null &
    number=$!
    on logrotate -f -s /root/rotated /etc/logrotate.d/dfos || fail "logrotate fails"
    audited a
    on logrotate -f -s /root/rotated /etc/logrotate.d/dfos || fail "logrotate fails"
    audited b
    wait "$number" || fail "an upload has failed"
    on logrotate -f -s /root/rotated /etc/logrotate.d/dfos || fail "logrotate fails"
    audited c
    eventually "the audit to be made anew" test -s "$(file /var/log/dfos/audit.jsonl)"
    eventually "103 uploads in the audits" all_are_audited 103
    on sh -c 'gzip -t /var/log/dfos/audit.jsonl.*.gz' || fail "nothing is compressed"
    equal "the new audit" '640 dfos:dfos' "$(looks /var/log/dfos/audit.jsonl)"
}

upgrades() {
    local before
    sed -i 's/^#quota = .*/quota = "5GiB"/' "$(file /etc/dfos/forkd.toml)"
    chmod 0700 "$(file /srv/dfos)" # the operator's own will
    before=$(on sh -c 'sha256sum /etc/dfos/forkd.toml /etc/dfos/id_passwd /var/lib/dfos/* /srv/dfos/anna/got')
    client stat got >/dev/null
    install_package "$NEWER" >"$WORK/out" 2>&1 || fail "it is not installed: $(cat "$WORK/out")"
    matches "the version" '*Version: 99.0-1*' "$(on dpkg -s dfos)"
    equal "what was there" "$before" "$(on sh -c 'sha256sum /etc/dfos/forkd.toml /etc/dfos/id_passwd /var/lib/dfos/* /srv/dfos/anna/got')"
    equal "the storage's mode" '700 dfos:dfos' "$(looks /srv/dfos)"
    grep -q 'next version' "$(file /etc/dfos/forkd.toml.dpkg-dist)" || fail "the new configuration is not laid beside the operator's"
    grep -q 'user add' "$WORK/out" && fail "an upgrade tells of first steps"
    # The new program takes over, in place, and its key is the one that the client knows.
    signal USR2
    eventually "the new program" grep -q 'upgraded in place' "$LOG"
    client get -q got --to - >/dev/null
    end_service
    # The line that forkd.toml offers for every address.
    sed -i "s|^#listen = .*|$(sed -n 's/^#  *\(listen = .*\)/\1/p' "$ROOT/packaging/forkd.toml")|" "$(file /etc/dfos/forkd.toml)"
    serve
    client --server tls://127.0.0.1:9000 get -q got --to - >/dev/null
    client --server 'tls://[::1]:9000' get -q got --to - >/dev/null
    end_service
}

# A service manager that notes what it is asked for, in the places of the true one.
told_to_systemd() {
    mkdir -p "$(file /run/systemd/system)"
    rm -f "$(file /usr/sbin/policy-rc.d)" # says no in containers
    cat >"$(file /usr/local/bin/systemctl)" <<'END'
#!/bin/sh
echo "$@" >>/root/systemctl
case "$*" in *is-enabled*) echo enabled ;; esac
END
    chmod +x "$(file /usr/local/bin/systemctl)"
    ln -f "$(file /usr/local/bin/systemctl)" "$(file /usr/bin/systemctl)"
    : >"$(file /root/systemctl)"
    "$@" >"$WORK/out" 2>&1 || fail "$* fails: $(cat "$WORK/out")"
    rm -r "$(file /run/systemd)"
    cat "$(file /root/systemctl)"
}

removed() {
    on dpkg -r dfos >"$WORK/out" 2>&1 || fail "it is not removed: $(cat "$WORK/out")"
    [[ ! -e $(file /usr/bin/dfos-forkd) ]] || fail "the program is still there"
    equal "id_passwd" '640 root:dfos' "$(looks /etc/dfos/id_passwd)"
    cmp "$(file /root/sent)" "$(file /srv/dfos/anna/got)"
    [[ -e $(file /etc/dfos/forkd.toml) && -e $(file /var/lib/dfos/tls-key.pem) && -e $(file /var/log/dfos/audit.jsonl) ]] || fail "something has gone"
}

purged() {
    on dpkg -P dfos >"$WORK/out" 2>&1 || fail "it is not purged: $(cat "$WORK/out")"
    grep -q 'files of its users are still in /srv/dfos' "$WORK/out" || fail "it does not say what stays: $(cat "$WORK/out")"
    cmp "$(file /root/sent)" "$(file /srv/dfos/anna/got)"
    on getent passwd dfos >/dev/null || fail "the user is gone, and the files are nobody's"
    nothing_else_is_left
}
nothing_else_is_left() {
    local left
    left=$(on sh -c 'ls -d /etc/dfos /var/lib/dfos /var/log/dfos /run/dfos /etc/logrotate.d/dfos /etc/fail2ban/filter.d/dfos.conf \
        /etc/systemd/system/*/dfos-forkd* /etc/systemd/system/dfos-forkd* /var/lib/systemd/deb-systemd-helper-*/dfos-forkd* 2>/dev/null') || true
    equal "what is left" '' "$left"
}

with_systemd_running() {
    local told
    rm -rf "$(file /srv/dfos)"
    told=$(told_to_systemd install_package "$PACKAGE")
    matches "the installation" '*daemon-reload*start dfos-forkd.service' "$told"
    [[ $told != *socket* ]] || fail "the socket is started: $told"
    told=$(told_to_systemd install_package "$NEWER")
    matches "the upgrade" '*daemon-reload*restart dfos-forkd.service' "$told"
    [[ $told != *stop* ]] || fail "an upgrade stops the service for longer than a restart: $told"
    told=$(told_to_systemd on dpkg -r dfos)
    matches "the removal" '*stop*dfos-forkd.service*' "$told"
    mkdir "$(file /srv/dfos/anna)"
    told_to_systemd on dpkg -P dfos >/dev/null
    nothing_else_is_left
    [[ ! -e $(file /srv/dfos) ]] || fail "an empty storage is left"
    ! on getent passwd dfos >/dev/null || fail "the user is left, though nothing is the user's"
}

nothing_runs() { equal "processes of dfos" '' "$(on pgrep -a dfos || true)"; }
untouched() { equal "this machine" "$BEFORE" "$(before)"; }

BEFORE=$(before)
if can_root >/dev/null && can_dpkg >/dev/null; then make_packages || { PACKAGE=''; cat "$WORK/made" >&2; }; fi
if (can_machine) >/dev/null 2>&1; then start_machine; fi
check "lintian finds nothing" critics root dpkg package lintian
check "it installs: user, places, modes, manuals, completions, units" installs machine
check "unit and configuration agree on where the server writes" unit_and_configuration_agree machine
check "started as the unit does it serves, reloads and tells root how it is" serves_as_the_unit_does machine
check "logrotate loses no line" rotates machine logrotate
check "an upgrade keeps configuration, users, keys and files, and can go on in place" upgrades machine
check "removed, it leaves what people need" removed machine
check "purged, it leaves the files of users, and says so" purged machine
check "where systemd runs it is told to start, restart and stop" with_systemd_running machine
check "nothing of it runs any more" nothing_runs machine
if [[ -n ${HOLDER-} ]]; then stop_machine; fi
check "this machine is as it was" untouched root dpkg
finish
