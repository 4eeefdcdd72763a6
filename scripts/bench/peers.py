"""DFOS and its peers: what each needs, how each is set up, what its clients' command lines are.

Each server is set up for speed as its own manual page tells, and for what DFOS does as far as the peer can: it serves a directory that may
be written to, over 127.0.0.1 on a free port, works as `nobody` if root starts it, logs nothing a transfer, resolves no names, compresses
nothing, limits nothing. Nothing of the machine's own set-up is read or changed. Where a choice was open the comment says why.

A peer has `get(name, local)`, `put(local, name)` for one file, `get_tree`, `put_tree` for a directory: command lines.
"""

import os
import pwd
import re
import shutil
import subprocess
import time

from place import IS_ROOT, SERVICE, Skip, empty, free_port, give, wait_for_port

# The content of the users file's one password; it is no secret, the servers are reached from this machine alone.
PASSWORD = "bench-bench-bench"


class Peer:
    """A server and the commands of its client."""

    name = ""
    packages = []
    commands = []

    def __init__(self, place, under):
        self.place, self.process, self.port = place, None, None
        missing = [command for command in self.commands if not shutil.which(command)]
        if missing:
            raise Skip(f"{', '.join(missing)} not installed")
        # Configuration and keys; beside it what is served.
        self.home = place.fresh(under, self.name + ".conf")
        self.served = place.fresh(under, self.name, served=True)

    @property
    def pid(self):
        """The server's first process."""
        return self.process.pid

    def path(self, name):
        """Where a served file lies."""
        return os.path.join(self.served, name)

    def write(self, name, text, mode=0o644):
        """A file of the set-up."""
        path = os.path.join(self.home, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def start(self, argv, **options):
        """Starts the server on a port that was free a moment ago."""
        # vsftpd tells what is wrong on its standard input, which it takes for a connection.
        with open(os.path.join(self.home, "log"), "w+b") as log:
            self.process = self.place.start(argv, stdin=log, stderr=log, **options)
        try:
            wait_for_port(self.port, self.process)
        except Skip as why:
            with open(os.path.join(self.home, "log"), encoding="utf-8", errors="replace") as log:
                raise Skip(f"{why} {log.read().strip()[-200:]}") from None
        time.sleep(0.1)  # what only tried the port is gone before anything is measured
        return self

    def stop(self):
        """Ends the server and removes what it served."""
        if self.process:
            self.place.stop(self.process)
            self.process = None
        empty(self.served)
        empty(self.home)


class Dfos(Peer):
    """DFOS: as it comes, but for the limits of its door, which count 64 clients of one address as an attack. Downloads verify the
    SHA-256, uploads are acknowledged when they are durable: nothing is switched off."""

    name = "dfos"
    # Words that every command of the client is given, such as -j 1.
    more_words = []

    def __init__(self, place, under, users=("bench",), host="127.0.0.1", name=None, wrap=(), env=None):
        self.name = name or self.name
        super().__init__(place, under)
        self.known = os.path.join(self.home, "known_servers")
        users_file = os.path.join(self.home, "users")
        for user in users:
            self._run(["user", "add", user, "--users", users_file, "--password-stdin"], PASSWORD + "\n")
        give(users_file)
        # Over plain TCP as well as TLS: the same server, so that both find the same files.
        argv = list(wrap) + [
            self.place.program("dfos-forkd"), "--listen", f"tcp://{host}:0", "--listen", f"tls://{host}:0",
            "--dir", self.served, "--users", users_file, "--state-dir", os.path.join(self.home, "state"),
            "--control", "none",
            "--max-penalty", "0", "--max-clients", "20000", "--max-clients-per-ip", "20000", "--max-clients-per-net", "20000",
            "--max-logins", "20000", "--login-timeout", "120", "--idle-timeout", "86400",
        ]  # fmt: skip
        if host != "127.0.0.1":
            argv.append("--allow-plaintext")
        self.log = os.path.join(self.home, "log")
        output = os.path.join(self.home, "listening")
        with open(self.log, "wb") as log, open(output, "wb") as out:
            self.process = place.start(argv, stdout=out, stderr=log, env=dict(os.environ, **(env or {})))
        self.urls = self._listening(output)

    def _run(self, words, text):
        subprocess.run([self.place.program("dfos-forkd")] + words, input=text.encode(), stdout=subprocess.DEVNULL, check=True)

    def _listening(self, output):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            with open(output, encoding="utf-8") as file:
                urls = re.findall(r"^listening (\w+)(://\S+)$", file.read(), re.M)
            if len(urls) == 2:
                return {scheme: scheme + rest for scheme, rest in urls}
            time.sleep(0.02)
        with open(self.log, encoding="utf-8", errors="replace") as file:
            raise RuntimeError("dfos-forkd did not start: " + file.read()[-400:])

    def path(self, name, user="bench"):
        return os.path.join(self.served, user, name)

    def env(self):
        """The client's environment: the password, and no state of the user who runs this."""
        return {"DFOS_PASSWORD": PASSWORD, "XDG_STATE_HOME": self.home, "LC_ALL": "C"}

    def client(self, *words, scheme="tcp", user="bench"):
        """A command line of the client."""
        program = self.place.program("dfos-client")
        return [program, "--server", self.urls[scheme], "--user", user, "--known-servers", self.known, "-q", *words, *self.more_words]

    def ended(self):
        """How many sessions the log says have ended: the last that its scribe does for one, after a line for each file."""
        with open(self.log, "rb") as log:
            return log.read().count(b" disconnected, session ")

    def login(self, scheme="tls"):
        """A first login: the client knows the server's key from then on."""
        subprocess.run(self.client("logout", scheme=scheme), env=dict(os.environ, **self.env()), check=True, stdout=subprocess.DEVNULL)

    def get(self, name, local, scheme="tcp"):
        return self.client("get", name, "--to", local, scheme=scheme)

    def put(self, local, name, scheme="tcp"):
        return self.client("put", local, "--to", name, scheme=scheme)

    def get_tree(self, name, into, scheme="tcp"):
        return self.client("get", "-r", name, "--dir", into, scheme=scheme)

    def put_tree(self, local, scheme="tcp"):
        return self.client("put", "-r", local, scheme=scheme)


class Rsyncd(Peer):
    """rsync against its own daemon: no ssh in between, which is its fastest form."""

    name = "rsyncd"
    packages = ["rsync"]
    commands = ["rsync"]

    def __init__(self, place, under, host="127.0.0.1", wrap=()):
        super().__init__(place, under)
        self.port, self.host = free_port(), host
        identity = f"uid = {SERVICE}\ngid = nogroup\n" if IS_ROOT else ""
        # No chroot: it would only cost. No log of transfers. Reverse look-ups off: they are no work that is compared.
        config = self.write(
            "rsyncd.conf",
            f"use chroot = no\nreverse lookup = no\ntransfer logging = no\nmax connections = 0\n{identity}"
            f"[bench]\npath = {self.served}\nread only = no\n",
        )
        argv = ["rsync", "--daemon", "--no-detach", f"--config={config}", f"--address={host}", f"--port={self.port}"]
        self.process = place.start(list(wrap) + argv)
        if not wrap:
            wait_for_port(self.port, self.process)
            time.sleep(0.1)

    # -a: what everybody types. --whole-file: no delta with a file that is not there. --inplace (one big file): neither a temporary name
    # nor a rename. Its checksum of what it moves is its own (xxh128), much cheaper than SHA-256, and cannot be left out.
    def _client(self, *words):
        return ["rsync", "-a", "--whole-file", *words]

    def url(self, name):
        return f"rsync://{self.host}:{self.port}/bench/{name}"

    def get(self, name, local):
        return self._client("--inplace", self.url(name), local)

    def put(self, local, name):
        return self._client("--inplace", local, self.url(name))

    def get_tree(self, name, into):
        return self._client(self.url(name), into)

    def put_tree(self, local, *more):
        return self._client(*more, local, self.url(""))


class Vsftpd(Peer):
    """vsftpd, anonymous: its cheapest login (no PAM), one process a session, sendfile. The client is curl; trees by lftp's mirror."""

    name = "vsftpd"
    packages = ["vsftpd", "curl", "lftp"]
    commands = ["vsftpd", "curl"]

    def __init__(self, place, under):
        super().__init__(place, under)
        self.port = free_port()
        # It refuses a root that may be written to: what may be written lies one below.
        self.root = place.fresh(under, "vsftpd.root")
        os.rename(self.served, os.path.join(self.root, "pub"))
        self.served = os.path.join(self.root, "pub")
        empty_directory = place.fresh(under, "vsftpd.empty")
        identity = f"ftp_username={self._user()}\n" if IS_ROOT else "run_as_launching_user=YES\n"
        config = self.write(
            "vsftpd.conf",
            f"listen=YES\nlisten_address=127.0.0.1\nlisten_port={self.port}\nbackground=NO\n{identity}"
            f"anonymous_enable=YES\nlocal_enable=NO\nanon_root={self.root}\nsecure_chroot_dir={empty_directory}\n"
            "write_enable=YES\nanon_upload_enable=YES\nanon_mkdir_write_enable=YES\nanon_other_write_enable=YES\n"
            "anon_umask=022\nanon_world_readable_only=NO\nuse_sendfile=YES\none_process_model=YES\nseccomp_sandbox=NO\n"
            "xferlog_enable=NO\nconnect_from_port_20=NO\nmax_clients=0\nmax_per_ip=0\n",
        )
        self.start(["vsftpd", config])

    def _user(self):
        """Whom it works as. It wants a user whose home exists, even where it serves another directory; `nobody` has none."""
        for name in ("ftp", "www-data", "daemon"):
            try:
                if os.path.isdir(pwd.getpwnam(name).pw_dir):
                    shutil.chown(self.served, name)
                    return name
            except KeyError:
                pass
        raise Skip("there is no user with a home that it could work as")

    def url(self, name):
        return f"ftp://127.0.0.1:{self.port}/pub/{name}"

    def get(self, name, local):
        return ["curl", "-sS", "-o", local, self.url(name)]

    def put(self, local, name):
        return ["curl", "-sS", "-T", local, self.url(name)]

    # Four connections at once: one after another it waits for each file. Durable it is not.
    def _mirror(self, words):
        return ["lftp", "-c", f"set net:max-retries 1; set xfer:log no; open ftp://127.0.0.1:{self.port}; mirror --parallel=4 --no-perms {words}"]

    def get_tree(self, name, into):
        return self._mirror(f"pub/{name} {into}/{name}")

    def put_tree(self, local):
        return self._mirror(f"-R {local} pub/{os.path.basename(local)}")

    def stop(self):
        super().stop()
        empty(self.root)


class Openssh(Peer):
    """OpenSSH: an sshd of our own, its SFTP server within the session's process, no PAM; login by key. The cipher is the fastest of three,
    tried at the start."""

    name = "openssh"
    packages = ["openssh-server", "openssh-client", "openssh-sftp-server"]
    commands = ["sshd", "sftp", "ssh-keygen"]
    ciphers = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"]

    def __init__(self, place, under):
        super().__init__(place, under)
        self.port, self.cipher = free_port(), self.ciphers[0]
        if IS_ROOT and not os.path.isdir("/run/sshd"):  # sshd's own empty directory, which its unit makes
            os.mkdir("/run/sshd", 0o755)
            place.undo.append(lambda: os.rmdir("/run/sshd"))
        for key in ("host", "client"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(self.home, key)], check=True)
        shutil.copy(os.path.join(self.home, "client.pub"), os.path.join(self.home, "authorized"))
        # It logs in as whoever runs this: a session then works as that user. StrictModes looks at directories above our own.
        config = self.write(
            "sshd_config",
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.home}/host\nPidFile none\n"
            f"AuthorizedKeysFile {self.home}/authorized\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin yes\nUseDNS no\nLogLevel ERROR\nPrintMotd no\nPrintLastLog no\n"
            # A key exchange without the post-quantum part: the fastest. (DFOS's TLS does not go without.)
            "KexAlgorithms curve25519-sha256\nCompression no\nMaxStartups 1000\nMaxSessions 1000\nSubsystem sftp internal-sftp\n"
            f"Ciphers {','.join(self.ciphers)}\n",
        )
        with open(os.path.join(self.home, "host.pub"), encoding="utf-8") as file:
            self.write("known", f"[127.0.0.1]:{self.port} {file.read()}")
        self.start([shutil.which("sshd"), "-D", "-e", "-f", config])
        os.makedirs(os.path.join(self.home, "batches"))

    def options(self, cipher=None):
        """What sftp and ssh have in common."""
        return [
            "-F", "none", "-i", f"{self.home}/client", "-o", f"UserKnownHostsFile={self.home}/known", "-o", "IdentitiesOnly=yes",
            "-o", "BatchMode=yes", "-o", "Compression=no", "-o", "KexAlgorithms=curve25519-sha256", "-c", cipher or self.cipher,
        ]  # fmt: skip

    def sftp(self, batch, cipher=None):
        """sftp with a batch. -B: the largest packets that the server takes; -R: many of them in flight."""
        name = f"{abs(hash(batch)):x}"
        path = self.write(os.path.join("batches", name), batch + "\n")
        buffers = ["-B", "261120", "-R", "64"]
        return ["sftp", "-q", *buffers, *self.options(cipher), "-P", str(self.port), "-b", path, "127.0.0.1"]

    def get(self, name, local, cipher=None):
        return self.sftp(f"get {self.path(name)} {local}", cipher)

    def put(self, local, name):
        return self.sftp(f"put {local} {self.path(name)}")

    def get_tree(self, name, into):
        return self.sftp(f"get -r {self.path(name)} {into}/")

    def put_tree(self, local):
        return self.sftp(f"put -r {local} {self.served}/")

    def choose_cipher(self, name, scratch):
        """Takes the cipher with which a file comes fastest."""
        times = {}
        for cipher in self.ciphers * 2:
            begin = time.perf_counter()
            done = subprocess.run(self.get(name, scratch, cipher), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
            if done.returncode != 0:
                raise Skip(f"it does not work here: {done.stderr.strip()[-200:]}")
            times[cipher] = min(time.perf_counter() - begin, times.get(cipher, 1e9))
        self.cipher = min(times, key=times.get)


class Nginx(Peer):
    """nginx with sendfile and, for uploads, its DAV module's PUT; TLS 1.3 with AES-128-GCM, in the kernel where OpenSSL and kernel can
    (ssl_conf_command Options KTLS). The client is curl, HTTP/1.1."""

    name = "nginx"
    packages = ["nginx", "curl", "openssl"]
    commands = ["nginx", "curl", "openssl"]

    def __init__(self, place, under):
        super().__init__(place, under)
        self.port, self.tls_port = free_port(), free_port()
        temp = place.fresh(under, "nginx.temp", served=True)
        self.certificate = os.path.join(self.home, "cert.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{self.home}/key.pem",
             "-out", self.certificate], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        has_dav = b"http_dav_module" in subprocess.run(["nginx", "-V"], capture_output=True, check=True).stderr
        self.can_put = has_dav
        # Uploads are spooled beside the files, so that nginx's last step is a rename and no copy.
        dav = "dav_methods PUT DELETE MKCOL; create_full_put_path on;" if has_dav else ""
        user = f"user {SERVICE} nogroup;" if IS_ROOT else ""
        temps = "".join(f"{kind}_temp_path {temp}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
        config = self.write(
            "nginx.conf",
            f"daemon off; {user} worker_processes auto; pid {self.home}/pid; error_log stderr crit;\n"
            "events { worker_connections 4096; }\n"
            "http { access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream; keepalive_timeout 65;\n"
            f"client_max_body_size 0; client_body_buffer_size 1m; client_body_temp_path {temp}/body; {temps}\n"
            f"server {{ listen 127.0.0.1:{self.port}; listen 127.0.0.1:{self.tls_port} ssl; root {self.served}; {dav}\n"
            f"ssl_certificate {self.certificate}; ssl_certificate_key {self.home}/key.pem; ssl_protocols TLSv1.3; ssl_buffer_size 16k;\n"
            "ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; ssl_conf_command Options KTLS; } }\n",
        )
        self.start(["nginx", "-c", config, "-p", self.home, "-e", "stderr"])

    def url(self, name, scheme):
        return f"{scheme}://127.0.0.1:{self.port if scheme == 'http' else self.tls_port}/{name}"

    def _curl(self, *words):
        return ["curl", "-sS", "-f", "--http1.1", "--cacert", self.certificate, "--tls13-ciphers", "TLS_AES_128_GCM_SHA256", *words]

    def get(self, name, local, scheme="http"):
        return self._curl("-o", local, self.url(name, scheme))

    def put(self, local, name, scheme="http"):
        return self._curl("-H", "Expect:", "-T", local, self.url(name, scheme))

    def stop(self):
        super().stop()
        empty(os.path.join(os.path.dirname(self.served), "nginx.temp"))


class Iperf3(Peer):
    """iperf3: what loopback gives when nobody reads or writes a file."""

    name = "iperf3"
    packages = ["iperf3"]
    commands = ["iperf3"]

    def __init__(self, place, under, host="127.0.0.1", wrap=()):
        super().__init__(place, under)
        self.port, self.host = free_port(), host
        self.process = place.start([*wrap, "iperf3", "-s", "-B", host, "-p", str(self.port)])
        if not wrap:
            wait_for_port(self.port, self.process)
            time.sleep(0.1)

    def send(self, size):
        """One stream, in buffers of 256 KiB."""
        return ["iperf3", "-c", self.host, "-p", str(self.port), "-n", str(size), "-l", "256K"]


PEERS = [Rsyncd, Vsftpd, Openssh, Nginx, Iperf3]
# What is used beside the peers.
TOOLS = {"strace": "strace", "valgrind": "valgrind", "ip": "iproute2", "tc": "iproute2", "find": "findutils"}


def packages():
    """For `--peers`: a line for each Debian package."""
    rows = []
    for peer in PEERS:
        for package in peer.packages:
            rows.append((peer.name, package, version(package)))
    for tool, package in TOOLS.items():
        rows.append((tool, package, version(package)))
    return rows


def version(package):
    """The installed version of a Debian package; None if it is not installed."""
    if not shutil.which("dpkg-query"):
        return None
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Version}", package], capture_output=True, text=True, check=False)
    state, _, number = asked.stdout.partition(" ")
    return number.strip() if asked.returncode == 0 and state.startswith("ii") else None
