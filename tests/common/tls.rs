//! TLS for tests: a client that believes anybody, certificates of any kind, and a man in the middle.

use super::PATIENCE;
use dfos::net::tls::{ALPN, provider};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundOpaqueMessage, OutboundPlainMessage,
    Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CipherSuiteCommon, ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, DigitallySignedStruct,
    Error, ServerConfig, ServerConnection, SignatureScheme, StreamOwned, SupportedCipherSuite, Tls13CipherSuite,
    version,
};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Believes anybody, as somebody in the middle does.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer,
        _: &[CertificateDer],
        _: &ServerName,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

pub fn client_config(alpn: &[&[u8]]) -> ClientConfig {
    client_config_with(provider(), alpn)
}

fn client_config_with(provider: Arc<CryptoProvider>, alpn: &[&[u8]]) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13]).unwrap();
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(Gullible)).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// What [`Hollow`] sends as a record without content. No test sends this byte alone for its own sake.
const HOLLOW: &[u8] = b"\0";

/// A cipher that can send records of data without content: they are lawful, but the library never makes one.
struct Hollow(&'static dyn Tls13AeadAlgorithm);

struct HollowEncrypter(Box<dyn MessageEncrypter>);

impl Hollow {
    fn provider() -> Arc<CryptoProvider> {
        let SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256;
        let hollow = Tls13CipherSuite {
            common: CipherSuiteCommon { ..suite.common },
            hkdf_provider: suite.hkdf_provider,
            aead_alg: Box::leak(Box::new(Hollow(suite.aead_alg))),
            quic: None,
        };
        let suites = vec![SupportedCipherSuite::Tls13(Box::leak(Box::new(hollow)))];
        Arc::new(CryptoProvider { cipher_suites: suites, ..CryptoProvider::clone(&provider()) })
    }
}

impl Tls13AeadAlgorithm for Hollow {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(HollowEncrypter(self.0.encrypter(key, iv)))
    }
    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }
    fn key_len(&self) -> usize {
        self.0.key_len()
    }
    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }
}

impl MessageEncrypter for HollowEncrypter {
    fn encrypt(&mut self, message: OutboundPlainMessage, seq: u64) -> Result<OutboundOpaqueMessage, Error> {
        let is_hollow = message.typ == ContentType::ApplicationData && message.payload.to_vec() == HOLLOW;
        let payload = if is_hollow { OutboundChunks::Single(&[]) } else { message.payload };
        self.0.encrypt(OutboundPlainMessage { payload, ..message }, seq)
    }
    fn encrypted_payload_len(&self, length: usize) -> usize {
        self.0.encrypted_payload_len(length)
    }
}

type Inner = StreamOwned<ClientConnection, TcpStream>;

/// A client that sends what it is told to, over TLS.
pub struct TlsRaw {
    stream: BufReader<Inner>,
}

impl TlsRaw {
    /// Connects to HOST:PORT and reads the greeting.
    pub fn connect(address: &str) -> TlsRaw {
        let mut raw = TlsRaw::silent(address, &[ALPN]);
        assert_eq!(raw.line(), "OK dfos/1 ready auth=SCRAM-SHA-256-PLUS,LOGIN");
        raw
    }

    /// Connects, and shakes hands when something is read or written.
    pub fn silent(address: &str, alpn: &[&[u8]]) -> TlsRaw {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(client_config(alpn)), name).unwrap();
        TlsRaw { stream: BufReader::new(StreamOwned::new(connection, socket)) }
    }

    /// Connects, reads the greeting, and can [`say_nothing`](Self::say_nothing).
    pub fn hollow(address: &str) -> TlsRaw {
        let mut raw = TlsRaw::silent(address, &[ALPN]);
        let config = Arc::new(client_config_with(Hollow::provider(), &[ALPN]));
        raw.stream.get_mut().conn = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
        raw.line();
        raw
    }

    /// Sends that many bytes, or a few more, of lawful records that say nothing: by turns one of data without content, and one that
    /// changes the key. The library bears 32 of either in a row; each begins the count of the other anew.
    pub fn say_nothing(&mut self, bytes: usize) {
        let Inner { conn, sock } = self.stream.get_mut();
        let mut nothing = Vec::new();
        while nothing.len() < bytes {
            conn.writer().write_all(HOLLOW).unwrap();
            conn.refresh_traffic_keys().unwrap();
            while conn.wants_write() {
                conn.write_tls(&mut nothing).unwrap();
            }
        }
        let _ = sock.write_all(&nothing); // it may have been closed meanwhile
    }

    /// Sends `bytes`; what went over the wire for them.
    pub fn seal(&mut self, bytes: &str) -> Vec<u8> {
        let Inner { conn, sock } = self.stream.get_mut();
        let mut sealed = Vec::new();
        conn.writer().write_all(bytes.as_bytes()).unwrap();
        while conn.wants_write() {
            conn.write_tls(&mut sealed).unwrap();
        }
        sock.write_all(&sealed).unwrap();
        sealed
    }

    /// The next line, which begins so.
    #[track_caller]
    pub fn begins(&mut self, beginning: &str) {
        let line = self.line();
        assert!(line.starts_with(beginning), "due was '{beginning}', came '{line}'");
    }

    pub fn socket(&self) -> &TcpStream {
        &self.stream.get_ref().sock
    }

    /// The bytes that only the two ends of this channel know.
    pub fn binding(&self) -> [u8; 32] {
        self.stream.get_ref().conn.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None).unwrap()
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("sending");
        self.stream.get_mut().flush().expect("sending");
    }

    /// The next line; `None` at an end that the server announced.
    #[track_caller]
    pub fn try_line(&mut self) -> Option<String> {
        let mut line = String::new();
        let n = self.stream.read_line(&mut line).expect("a line or a close_notify");
        (n > 0).then(|| line.trim_end_matches('\n').to_owned())
    }

    #[track_caller]
    pub fn line(&mut self) -> String {
        self.try_line().expect("a line, not the end")
    }

    #[track_caller]
    pub fn ask(&mut self, request: &str) -> String {
        self.send(format!("{request}\n"));
        self.line()
    }

    #[track_caller]
    pub fn demand(&mut self, request: &str, beginning: &str) -> String {
        let line = self.ask(request);
        assert!(line.starts_with(beginning), "'{request}': due was '{beginning}', came '{line}'");
        line
    }

    /// Sends `bytes`, if that can still be done, and returns all that comes until the connection ends in whatever way.
    pub fn rest_after(&mut self, bytes: &str) -> String {
        let _ = self.stream.get_mut().write_all(bytes.as_bytes()).and_then(|()| self.stream.get_mut().flush());
        let _ = self.socket().shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        String::from_utf8(rest).unwrap()
    }

    pub fn read_exact(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }
}

/// A certificate with its key, as PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Pair {
    /// One that vouches for itself.
    pub fn own(name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        Pair { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Writes it down as NAME.crt and NAME.key.
    pub fn write(&self, dir: &Path, name: &str) -> [String; 2] {
        use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
        let paths = ["crt", "key"].map(|kind| dir.join(format!("{name}.{kind}")));
        for (path, text) in paths.iter().zip([&self.certificate, &self.key]) {
            let mut file = std::fs::OpenOptions::new();
            let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            // As whoever owns the place: the server is somebody else than root when it reads them again.
            let owner = std::fs::metadata(dir).unwrap();
            let _ = std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()));
        }
        paths.map(|path| path.to_str().unwrap().to_owned())
    }
}

/// A certificate authority of a test's own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate that it vouches for.
    pub fn certify(&self, name: &str) -> Pair {
        self.certify_with(name, |_| {})
    }

    /// The same, changed before it is signed.
    pub fn certify_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        Pair { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

/// What somebody in the middle makes of a line of the server's.
pub type Twist = fn(&str) -> String;

/// Somebody who terminates TLS with a certificate of his own, and passes on what is said, twisted or not.
pub struct Middle {
    pub address: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Middle {
    /// Stands before the server at `server` (HOST:PORT) for as many connections as come.
    pub fn before(server: &str, pair: &Pair, twist: Twist) -> Middle {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (config, server, kept) = (Arc::new(server_config(pair)), server.to_owned(), heard.clone());
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (config, server, kept) = (config.clone(), server.clone(), kept.clone());
                std::thread::spawn(move || relay(socket, config, &server, twist, &kept));
            }
        });
        Middle { address, heard }
    }

    /// What clients said to him in the clear.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// How somebody speaks TLS who has this certificate.
pub fn server_config(pair: &Pair) -> ServerConfig {
    use rustls::pki_types::pem::PemObject;
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&version::TLS13]).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

/// Passes lines on in both directions until one side ends.
fn relay(socket: TcpStream, config: Arc<ServerConfig>, server: &str, twist: Twist, heard: &Mutex<Vec<String>>) {
    let upstream = TcpStream::connect(server).unwrap();
    for socket in [&socket, &upstream] {
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    }
    let mut client = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(client_config(&[ALPN])), name).unwrap();
    let mut server = StreamOwned::new(connection, upstream);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if !take(&mut server, &mut down) {
            return;
        }
        for line in lines(&mut down) {
            let _ = client.write_all(twist(&line).as_bytes()).and_then(|()| client.flush());
        }
        if !take(&mut client, &mut up) {
            return;
        }
        for line in lines(&mut up) {
            heard.lock().unwrap().push(line.trim_end().to_owned());
            let _ = server.write_all(line.as_bytes()).and_then(|()| server.flush());
        }
    }
}

/// Reads what is there; `false` at the end.
fn take(from: &mut impl Read, into: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    match from.read(&mut buffer) {
        Ok(0) => false,
        Ok(n) => {
            into.extend_from_slice(&buffer[..n]);
            true
        }
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

fn lines(buffer: &mut Vec<u8>) -> Vec<String> {
    let end = buffer.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let whole = buffer.drain(..end).collect();
    String::from_utf8(whole).unwrap().split_inclusive('\n').map(str::to_owned).collect()
}
