"""Rows 4 and 5: many small files on the real disk, up and down. DFOS verifies each, and says OK when it is durable."""

import os
import shutil

import files
import peers
from measure import Contender, alternate, paired, run, say
from place import give, put_aside
from report import Row, at_most, timed
from scene import Scene

TREE = "tree"


class Small(Scene):
    """The tree, and servers on the same file system."""

    def __init__(self, place, count, directories, which):
        self.count = count
        under = place.fresh(place.disk, "small")
        self.local = place.fresh(under, "local")
        self.source, self.back = os.path.join(self.local, TREE), os.path.join(self.local, "back")
        say(f"making {count:,} files")
        self.digest = files.tree(self.source, count, directories, 4096)
        os.sync()
        super().__init__(place, under, which)

    def contender(self, name, server_name, argv, way, most=None):
        """One that moves the tree."""
        server = self.servers.get(server_name)
        if server is None:
            return Contender(name, [], why_not=self.missing[server_name])
        if server_name == "vsftpd" and not shutil.which("lftp"):
            return Contender(name, [], why_not="lftp not installed")
        place = server.path(TREE) if way == "up" else os.path.join(self.back, TREE)

        # The last run's files are on the disk by now: nobody pays for another's writes.
        def before():
            put_aside(place, self.under)
            if way == "down":
                os.makedirs(self.back, exist_ok=True)
            os.sync()

        def check():
            files.same(self.digest, files.tree_digest(place), name)

        env = server.env() if server_name == "dfos" else None
        return Contender(name, argv(server), server=server, before=before, check=check, env=env, most=most)


def small(place, rounds, which=("4", "5"), count=10_000, directories=100):
    """Rows 4 and 5."""
    scene = Small(place, count, directories, [peers.Rsyncd, peers.Openssh, peers.Vsftpd])
    rows = []
    try:
        if "4" in which:
            rows.append(upload(scene, rounds))
        if "5" in which:
            rows.append(download(scene, rounds))
    finally:
        scene.close()
    return rows


def ratio(contenders, name):
    """How long DFOS takes, measured in the time of another."""
    other = next(one for one in contenders if one.name == name)
    return paired(other, contenders[0]) if other.runs and contenders[0].runs else None


def upload(scene, rounds):
    """Row 4."""
    contenders = [
        scene.contender("dfos", "dfos", lambda at: at.put_tree(scene.source), "up"),
        scene.contender("dfos, tls", "dfos", lambda at: at.put_tree(scene.source, "tls"), "up"),
        scene.contender("rsync -a", "rsyncd", lambda at: at.put_tree(scene.source), "up"),
        scene.contender("rsync -a --fsync", "rsyncd", lambda at: at.put_tree(scene.source, "--fsync"), "up", most=3),
        scene.contender("sftp -r", "openssh", lambda at: at.put_tree(scene.source), "up", most=3),
        scene.contender("vsftpd + lftp mirror", "vsftpd", lambda at: at.put_tree(scene.source), "up", most=3),
    ]
    alternate(contenders, rounds, say)
    row = Row("4", f"{scene.count:,} files of 4 KiB, upload, on the disk; DFOS's are durable when acknowledged")
    timed(row, contenders, other=contenders[0])
    row.goals = [
        at_most("rsync -a", ratio(contenders, "rsync -a"), 1.5),
        at_most("rsync -a --fsync", ratio(contenders, "rsync -a --fsync"), 0.3),
        at_most("sftp -r", ratio(contenders, "sftp -r"), 0.1),
    ]
    return row


def download(scene, rounds):
    """Row 5."""
    scene_serve(scene)
    contenders = [
        scene.contender("dfos", "dfos", lambda at: at.get_tree(TREE, scene.back), "down"),
        scene.contender("dfos, tls", "dfos", lambda at: at.get_tree(TREE, scene.back, "tls"), "down"),
        scene.contender("rsync -a", "rsyncd", lambda at: at.get_tree(TREE, scene.back), "down"),
        scene.contender("sftp -r", "openssh", lambda at: at.get_tree(TREE, scene.back), "down", most=3),
        scene.contender("vsftpd + lftp mirror", "vsftpd", lambda at: at.get_tree(TREE, scene.back), "down", most=3),
    ]
    alternate(contenders, rounds, say)
    row = Row("5", f"{scene.count:,} files of 4 KiB, download, on the disk")
    timed(row, contenders, other=contenders[0])
    row.goals = [
        at_most("rsync -a", ratio(contenders, "rsync -a"), 1.0),
        at_most("sftp -r", ratio(contenders, "sftp -r"), 0.1),
    ]
    return row


def scene_serve(scene):
    """Every server has the tree; DFOS's came by an upload, so that it knows the digests, as of everything that was uploaded."""
    put_aside(scene.dfos.path(TREE), scene.under)
    run(scene.dfos.put_tree(scene.source), env=scene.dfos.env())
    for name, server in scene.servers.items():
        if name != "dfos":
            put_aside(server.path(TREE), scene.under)
            shutil.copytree(scene.source, server.path(TREE))
            give(server.path(TREE))
    os.sync()
