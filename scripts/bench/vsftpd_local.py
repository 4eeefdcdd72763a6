"""vsftpd with a login that checks a password, which is what DFOS's does: a local user, through PAM.

The machine has no such user and gets none: the server runs in a mount namespace of its own, in which copies of /etc/passwd, /etc/shadow and
/etc/pam.d/vsftpd that know one user more lie over the true ones."""

import os
import shutil
import subprocess

import peers
from place import IS_ROOT, Skip

USER = "dfosbench"
PAM = "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n"


class VsftpdLocal(peers.Vsftpd):
    """It has a process more a session than the anonymous one: the one that is root, and was not needed there."""

    name = "vsftpd.local"
    commands = ["vsftpd", "openssl", "unshare"]

    def __init__(self, place, under):
        if not IS_ROOT:
            raise Skip("a login by PAM needs root")
        if not os.path.exists("/etc/pam.d/vsftpd"):
            raise Skip("there is no /etc/pam.d/vsftpd")
        super().__init__(place, under)

    def start(self, argv, **options):
        """Called with the configuration of the anonymous server, which is changed."""
        config = argv[-1]
        with open(config, encoding="utf-8") as file:
            text = file.read()
        text = text.replace("anonymous_enable=YES", "anonymous_enable=NO").replace("local_enable=NO", "local_enable=YES")
        text = text.replace("one_process_model=YES", "one_process_model=NO") + f"pam_service_name=vsftpd\nlocal_root={self.root}\n"
        self.write("vsftpd.conf", text)
        shutil.chown(self.served, "nobody")
        # SHA-512, 5,000 rounds: quicker than what Debian's passwd makes (yescrypt).
        asked = ["openssl", "passwd", "-6", "-stdin"]
        secret = subprocess.run(asked, input=peers.PASSWORD, capture_output=True, text=True, check=True).stdout.strip()
        over = {"/etc/pam.d/vsftpd": self.write("pam", PAM)}
        for name, line, mode in (("passwd", f"{USER}:x:65534:65534::{self.root}:/bin/sh\n", 0o644), ("shadow", f"{USER}:{secret}:19000::::::\n", 0o600)):
            with open(f"/etc/{name}", encoding="utf-8") as file:
                over[f"/etc/{name}"] = self.write(name, file.read() + line, mode)
        mounts = "".join(f"mount --bind '{copy}' '{true}' && " for true, copy in over.items())
        return super().start(["unshare", "--mount", "--propagation", "private", "sh", "-c", f"{mounts}exec vsftpd '{config}'"], **options)
