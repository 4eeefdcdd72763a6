"""Rows 1 to 3: one large file, from tmpfs to tmpfs, down and up, in plain text and over TLS."""

import os
import shutil

import files
import peers
from measure import Contender, alternate, paired, run, say
from place import GIB, Skip
from report import Goal, Row, at_least, both, either, number, timed
from scene import Scene

# Copies at a time: the source, a server's, and the one that comes back.
COPIES = 3


def sized(place, wanted):
    """The size that fits."""
    room = shutil.disk_usage(place.tmpfs).free
    size = wanted
    while size > 64 << 20 and room < COPIES * size + GIB:
        size //= 2
    if room < COPIES * size:
        raise Skip(f"there are {room >> 20} MiB free in /dev/shm")
    return size


class Large(Scene):
    """The file, and every server that can be had, serving it."""

    def __init__(self, place, size, which):
        self.size, under = size, place.fresh(place.tmpfs, "big")
        self.source, self.back = os.path.join(under, "source"), os.path.join(under, "back")
        say(f"making a file of {size >> 20} MiB")
        self.digest = files.big(self.source, size)
        super().__init__(place, under, which)

    def serve(self):
        """Gives every server the file under the name `file`: one file with many names, so that each sends the same pages. It comes in
        by DFOS, which so knows its digest, as it does of everything that was uploaded."""
        run(self.dfos.put(self.source, "file"), env=self.dfos.env())
        os.chmod(self.dfos.path("file"), 0o644)  # DFOS's files are its own alone; vsftpd works as another user
        for name, server in self.servers.items():
            if name != "dfos":
                os.link(self.dfos.path("file"), server.path("file"))

    def contender(self, name, server_name, argv, **more):
        """A contender, or why there is none."""
        server = self.servers.get(server_name)
        if server is None:
            return Contender(name, [], why_not=self.missing.get(server_name, "not there"))
        if server_name == "dfos":
            more.setdefault("env", server.env())
        try:
            return Contender(name, argv(server), server=server, **more)
        except Skip as why:
            return Contender(name, [], why_not=str(why))

    def down(self, name, server_name, argv):
        """One that downloads `file`."""
        return self.contender(name, server_name, argv, before=self.clear_back, check=self.check_back)

    def up(self, name, server_name, argv):
        """One that uploads the file as `up`."""
        path = self.servers[server_name].path("up") if server_name in self.servers else None

        def clear():
            if os.path.exists(path):
                os.unlink(path)

        def check():
            files.same(self.digest, files.file_digest(path), f"{name}, upload")
            clear()

        return self.contender(name, server_name, argv, before=clear, check=check)

    def bare(self, name, *options):
        """The bound."""
        argv = [self.place.program("examples/bare"), *options, self.source, self.back]
        return Contender(name, argv, before=self.clear_back, check=self.check_back)

    def clear_back(self):
        if os.path.exists(self.back):
            os.unlink(self.back)

    def check_back(self):
        files.same(self.digest, files.file_digest(self.back), "download")

    def clear_up(self):
        """The file that each has uploaded goes before another's turn: memory is short."""
        for server in self.servers.values():
            if os.path.exists(server.path("up")):
                os.unlink(server.path("up"))


def bound(dfos, bounds):
    """Whether DFOS takes at most 15 % longer than the fastest bare program of the same rounds."""
    ratios = [paired(one, dfos) for one in bounds if one.runs]
    ratios = [ratio for ratio in ratios if ratio]
    ratio = max(ratios) if ratios else None
    return Goal("within 15 % of the bound", number(ratio, " × its time"), None if ratio is None else ratio <= 1.15)


def against(dfos, contenders, name, goal):
    """DFOS so and so many times as fast as another."""
    other = next((one for one in contenders if one.name == name), None)
    return at_least(name, paired(dfos, other) if other and other.runs else None, goal)


def plain(place, rounds, wanted, which=("1", "2")):
    """Rows 1 and 2."""
    size = sized(place, wanted)
    scene = Large(place, size, [peers.Rsyncd, peers.Vsftpd, peers.Nginx, peers.Iperf3])
    rows = []
    try:
        if "1" in which:
            rows.append(download(scene, rounds))
        if "2" in which:
            rows.append(upload(scene, rounds))
    finally:
        scene.close()
    return rows


def download(scene, rounds):
    """Row 1."""
    scene.serve()
    bounds = [scene.bare("bound: sendfile, recv + write, hash beside"), scene.bare("bound: sendfile, splice, hash by pread", "--splice")]
    all_of_them = [
        scene.down("dfos", "dfos", lambda at: at.get("file", scene.back)),
        scene.down("rsyncd", "rsyncd", lambda at: at.get("file", scene.back)),
        scene.down("vsftpd + curl", "vsftpd", lambda at: at.get("file", scene.back)),
        scene.down("nginx + curl", "nginx", lambda at: at.get("file", scene.back)),
        *bounds,
        scene.bare("nobody hashes: sendfile, recv + write", "--unverified"),
        scene.contender("iperf3, no file", "iperf3", lambda at: at.send(scene.size)),
    ]
    alternate(all_of_them, rounds, say)
    scene.clear_back()
    dfos = all_of_them[0]
    row = Row("1", f"{scene.size >> 20} MiB on tmpfs, download, plain; SHA-256 verified by DFOS's client")
    timed(row, all_of_them, scene.size, dfos)
    goals = both(against(dfos, all_of_them, "rsyncd", 2.0), against(dfos, all_of_them, "vsftpd + curl", 1.5))
    row.goals = [either(goals, bound(dfos, bounds))]
    return row


def upload(scene, rounds):
    """Row 2."""
    bounds = [
        scene.bare("bound: both hash, recv + write", "--sender-hashes"),
        scene.bare("bound: both hash, splice, pread", "--sender-hashes", "--splice"),
    ]

    def argv(at):
        return at.put(scene.source, "up")

    def nginx(at):
        if not at.can_put:
            raise Skip("this nginx has no DAV module")
        return argv(at)

    all_of_them = [
        scene.up("dfos", "dfos", argv), scene.up("rsyncd", "rsyncd", argv), scene.up("vsftpd + curl", "vsftpd", argv),
        scene.up("nginx + curl (PUT)", "nginx", nginx), *bounds,
        scene.bare("nobody hashes: sendfile, recv + write", "--unverified"),
    ]  # fmt: skip
    for one in all_of_them:
        one.before = after(scene, one.before)
    alternate(all_of_them, rounds, say)
    scene.clear_back()
    scene.clear_up()
    dfos = all_of_them[0]
    row = Row("2", f"{scene.size >> 20} MiB on tmpfs, upload, plain; SHA-256 verified by DFOS's server")
    timed(row, all_of_them, scene.size, dfos)
    goals = both(against(dfos, all_of_them, "rsyncd", 1.5), against(dfos, all_of_them, "vsftpd + curl", 1.3))
    row.goals = [either(goals, bound(dfos, bounds))]
    return row


def after(scene, before):
    """Removes every other's upload too, before a run."""

    def clear():
        scene.clear_up()
        scene.clear_back()
        if before:
            before()

    return clear


def tls(place, rounds, wanted):
    """Row 3: rows 1 and 2 over an encrypted channel."""
    size = sized(place, wanted)
    scene = Large(place, size, [peers.Openssh, peers.Nginx])
    rows = []
    try:
        scene.serve()
        openssh = scene.servers.get("openssh")
        if openssh:
            say("openssh: which cipher is the fastest")
            trial = os.path.join(scene.under, "trial")
            with open(openssh.path("trial"), "wb") as file:
                file.write(os.urandom(min(size, 128 << 20)))
            try:
                openssh.choose_cipher("trial", trial)
                os.unlink(trial)
                os.unlink(openssh.path("trial"))
            except Skip as why:
                scene.servers.pop("openssh").stop()
                scene.missing["openssh"], openssh = str(why), None
        down_bound = scene.bare("bound: rustls, hash beside", "--tls")
        down = [
            scene.down("dfos, tls", "dfos", lambda at: at.get("file", scene.back, "tls")),
            scene.down("openssh sftp", "openssh", lambda at: at.get("file", scene.back)),
            scene.down("nginx + curl, https", "nginx", lambda at: at.get("file", scene.back, "https")),
            down_bound,
            scene.bare("nobody hashes: rustls", "--tls", "--unverified"),
        ]
        alternate(down, rounds, say)
        rows.append(tls_row(scene, "3a", "download", down, down_bound))
        scene.clear_back()
        up_bound = scene.bare("bound: rustls, both hash", "--tls", "--sender-hashes")
        up = [
            scene.up("dfos, tls", "dfos", lambda at: at.put(scene.source, "up", "tls")),
            scene.up("openssh sftp", "openssh", lambda at: at.put(scene.source, "up")),
            scene.up("nginx + curl, https", "nginx", lambda at: at.put(scene.source, "up", "https")),
            up_bound,
            scene.bare("nobody hashes: rustls", "--tls", "--unverified"),
        ]
        for one in up:
            one.before = after(scene, one.before)
        alternate(up, rounds, say)
        rows.append(tls_row(scene, "3b", "upload", up, up_bound))
        if openssh:
            rows[0].notes.append(f"OpenSSH's fastest cipher here is {openssh.cipher}.")
    finally:
        scene.close()
    return rows


def tls_row(scene, name, way, contenders, limit):
    """What row 3 shows for one direction."""
    dfos = contenders[0]
    row = Row(name, f"{scene.size >> 20} MiB on tmpfs, {way}, TLS 1.3 (AES-128-GCM)")
    timed(row, contenders, scene.size, dfos)
    row.goals = [
        against(dfos, contenders, "openssh sftp", 3),
        against(dfos, contenders, "nginx + curl, https", 1.0),
        bound(dfos, [limit]),
    ]
    return row
