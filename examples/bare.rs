//! The bound: what is left of a verified transfer when all is taken away but the copies and the hash.
//!
//! ```text
//! bare [--splice] [--sender-hashes] [--tls] [--unverified] SOURCE TARGET
//! ```
//!
//! A thread sends the file over a TCP connection on loopback, another receives it into TARGET; no protocol, no names, no login, no
//! confinement. The receiver hashes (SHA-256) in a third thread beside: the buffers that it has just received, or with `--splice`, where
//! no byte comes into user space on its way to the file, what it reads back from the page cache. `--sender-hashes` has the sender hash
//! too, as a client does that states the digest of what it uploads. `--tls`: TLS 1.3 with AES-128-GCM by the library that DFOS uses,
//! large writes, nothing else. Prints the digest; with `--unverified` nobody hashes, and it prints nothing.
#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::sendfile::sendfile64;
use nix::unistd::pipe2;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use sha2::{Digest, Sha256};
use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Bytes of a buffer: it and its neighbours stay in the second-level cache.
const BUFFER: usize = 256 * 1024;
/// Buffers that go round between receiving and hashing.
const BUFFERS: usize = 4;
/// Bytes asked of the kernel at a time.
const PIECE: usize = 1 << 20;

fn main() {
    match run() {
        Ok(digest) => println!("{digest}"),
        Err(why) => {
            eprintln!("bare: {why}");
            std::process::exit(1);
        }
    }
}

fn run() -> Outcome<String> {
    let (options, files): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let [source, target] = files.as_slice() else { return Err("two files are needed, SOURCE and TARGET".into()) };
    let has = |option: &str| options.iter().any(|word| word == option);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (to, source) = (listener.local_addr()?, source.clone());
    let (sender_hashes, tls, spliced) = (has("--sender-hashes"), has("--tls"), has("--splice"));
    let verified = !has("--unverified");
    let (server, client) =
        if tls { configs().map(|(server, client)| (Some(server), Some(client)))? } else { (None, None) };
    let sender = thread::spawn(move || send(Path::new(&source), TcpStream::connect(to)?, sender_hashes, server));
    let (socket, _) = listener.accept()?;
    let target = File::options().read(true).write(true).create(true).truncate(true).open(target)?;
    let digest = match client {
        Some(config) => receive_tls(socket, &target, config, verified),
        None if spliced => receive_spliced(socket, target),
        None => receive(socket, &target, verified),
    }?;
    let sent = sender.join().map_err(|_| "the sender panicked")??;
    match sent {
        Some(sent) if sent != digest => Err("the digests differ".into()),
        _ => Ok(digest),
    }
}

/// Sends the whole file; its digest if that is wanted.
fn send(source: &Path, socket: TcpStream, hash: bool, tls: Option<Arc<ServerConfig>>) -> Outcome<Option<String>> {
    let file = File::open(source)?;
    let beside = file.try_clone()?;
    let hasher = hash.then(|| thread::spawn(move || hash_file(&beside)));
    match tls {
        Some(config) => send_tls(&file, socket, config)?,
        None => while sendfile64(&socket, &file, None, PIECE)? > 0 {},
    }
    hasher.map(|hasher| hasher.join().map_err(|_| "the hasher panicked")?).transpose()
}

fn hash_file(file: &File) -> Outcome<String> {
    let (mut hash, mut at, mut buffer) = (Sha256::new(), 0, vec![0; BUFFER]);
    loop {
        match file.read_at(&mut buffer, at)? {
            0 => return Ok(hex::encode(hash.finalize())),
            n => {
                hash.update(buffer.get(..n).unwrap_or_default());
                at += n as u64;
            }
        }
    }
}

/// A hash in a thread of its own, and the buffers that go round.
struct Beside {
    full: SyncSender<(Vec<u8>, usize)>,
    empty: Receiver<Vec<u8>>,
    hasher: thread::JoinHandle<String>,
}

impl Beside {
    fn start(verified: bool) -> Outcome<Self> {
        let (full, to_hash) = sync_channel::<(Vec<u8>, usize)>(BUFFERS);
        let (back, empty) = channel();
        (0..BUFFERS).try_for_each(|_| back.send(vec![0; BUFFER]))?;
        let hasher = thread::spawn(move || {
            let mut hash = Sha256::new();
            for (buffer, n) in to_hash {
                if verified {
                    hash.update(buffer.get(..n).unwrap_or_default());
                }
                let _ = back.send(buffer); // nobody needs it at the end
            }
            if verified { hex::encode(hash.finalize()) } else { String::new() }
        });
        Ok(Beside { full, empty, hasher })
    }

    /// Fills a buffer by `fill`, writes it to the file, hands it to the hash; whether there was anything.
    fn pass(&self, target: &mut &File, fill: &mut dyn FnMut(&mut [u8]) -> Outcome<usize>) -> Outcome<bool> {
        let mut buffer = self.empty.recv()?;
        let n = fill(&mut buffer)?;
        target.write_all(buffer.get(..n).unwrap_or_default())?;
        self.full.send((buffer, n))?;
        Ok(n > 0)
    }

    fn digest(self) -> Outcome<String> {
        drop(self.full);
        self.hasher.join().map_err(|_| "the hasher panicked".into())
    }
}

/// Receives into buffers, writes them, has them hashed.
fn receive(mut socket: TcpStream, mut target: &File, verified: bool) -> Outcome<String> {
    let beside = Beside::start(verified)?;
    while beside.pass(&mut target, &mut |buffer| Ok(socket.read(buffer)?))? {}
    beside.digest()
}

/// Moves pages from the socket into the file through a pipe; the hash reads them from the page cache a little later.
fn receive_spliced(socket: TcpStream, target: File) -> Outcome<String> {
    let (out, into) = pipe2(OFlag::O_CLOEXEC)?;
    let _ = fcntl(&into, FcntlArg::F_SETPIPE_SZ(PIECE as i32)); // less is slower, not wrong
    let (told, arrived) = channel::<usize>();
    let beside = target.try_clone()?;
    let hasher = thread::spawn(move || -> Outcome<String> {
        let (mut hash, mut at, mut buffer) = (Sha256::new(), 0, vec![0; BUFFER]);
        for mut left in arrived {
            while left > 0 {
                let most = left.min(BUFFER);
                let n = beside.read_at(buffer.get_mut(..most).unwrap_or_default(), at)?;
                if n == 0 {
                    return Err("the file is shorter than what was written".into());
                }
                hash.update(buffer.get(..n).unwrap_or_default());
                (at, left) = (at + n as u64, left - n);
            }
        }
        Ok(hex::encode(hash.finalize()))
    });
    loop {
        let moved = match splice(&socket, None, &into, None, PIECE, SpliceFFlags::SPLICE_F_MOVE) {
            Ok(0) => break,
            Ok(n) => n,
            Err(Errno::EINTR) => continue,
            Err(why) => return Err(why.into()),
        };
        let mut left = moved;
        while left > 0 {
            left -= splice(&out, None, &target, None, left, SpliceFFlags::SPLICE_F_MOVE)?;
        }
        told.send(moved)?;
    }
    drop(told);
    hasher.join().map_err(|_| "the hasher panicked")?
}

/// What both ends of a TLS connection need: a certificate that is thrown away, and one cipher.
fn configs() -> Outcome<(Arc<ServerConfig>, Arc<ClientConfig>)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let cipher_suites = vec![TLS13_AES_128_GCM_SHA256];
    let provider = Arc::new(CryptoProvider { cipher_suites, ..rustls::crypto::aws_lc_rs::default_provider() });
    let versions = &[&rustls::version::TLS13];
    let server = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let server = server.with_no_client_auth().with_single_cert(vec![certificate.clone()], key)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
    Ok((Arc::new(server), Arc::new(client.with_root_certificates(roots).with_no_client_auth())))
}

/// Reads, encrypts, sends.
fn send_tls(mut file: &File, mut socket: TcpStream, config: Arc<ServerConfig>) -> Outcome<()> {
    let mut tls = ServerConnection::new(config)?;
    tls.set_buffer_limit(None);
    while tls.is_handshaking() {
        tls.complete_io(&mut socket)?;
    }
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            tls.send_close_notify();
        }
        tls.writer().write_all(buffer.get(..n).unwrap_or_default())?;
        while tls.wants_write() {
            tls.write_tls(&mut socket)?;
        }
        if n == 0 {
            return Ok(());
        }
    }
}

/// Receives, decrypts, writes, has it hashed.
fn receive_tls(mut socket: TcpStream, mut target: &File, config: Arc<ClientConfig>, verified: bool) -> Outcome<String> {
    let mut tls = ClientConnection::new(config, ServerName::try_from("localhost")?)?;
    let beside = Beside::start(verified)?;
    let mut fill = |buffer: &mut [u8]| -> Outcome<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match tls.reader().read(rest) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => {
                    while tls.wants_write() {
                        tls.write_tls(&mut socket)?;
                    }
                    tls.read_tls(&mut socket)?;
                    tls.process_new_packets()?;
                }
                Err(why) => return Err(why.into()),
            }
        }
        Ok(filled)
    };
    while beside.pass(&mut target, &mut fill)? {}
    beside.digest()
}
