//! The encrypted channel: who is believed, who is not, and what happens to those who stand in the middle.

mod common;
#[path = "torture/flips/relay.rs"]
#[allow(dead_code)] // a part of it is used
mod relay;

use common::scram::Exchange;
use common::tls::{Authority, Middle, Pair, TlsRaw, client_config, server_config};
use common::{PATIENCE, Server, command, eventually, home};
use dfos::net::tls::ALPN;
use nix::sys::signal::Signal;
use relay::{Channel, Flip, Part, Relay, Way};
use rustls::{ClientConnection, ServerConnection, StreamOwned};
use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

const LISTEN: [&str; 2] = ["--listen", "tls://127.0.0.1:0"];

/// `dfos-client` as a user runs it, with a file of known servers of its own.
struct User {
    place: tempfile::TempDir,
}

impl User {
    fn new() -> User {
        User { place: tempfile::tempdir().unwrap() }
    }

    fn known_servers(&self) -> PathBuf {
        self.place.path().join("known_servers")
    }

    fn known(&self) -> String {
        fs::read_to_string(self.known_servers()).unwrap_or_default()
    }

    fn run(&self, url: &str, arguments: &[&str]) -> Output {
        self.run_again(url, "0", arguments)
    }

    /// The same with so many retries.
    fn run_again(&self, url: &str, retries: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dfos-client"));
        command.args(["--server", url, "--retries", retries, "--known-servers"]);
        command.arg(self.known_servers()).args(arguments);
        command.env("DFOS_USER", "alice").env("DFOS_PASSWORD", "secret").output().unwrap()
    }

    /// Runs `ls`, which must end so; what it said.
    #[track_caller]
    fn ls(&self, url: &str, options: &[&str], status: i32) -> String {
        let output = self.run(url, &[options, &["ls"]].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{text}");
        text
    }
}

fn start() -> Server {
    Server::start(&LISTEN)
}

fn url(address: &str) -> String {
    format!("tls://{address}")
}

/// The same port by its name, which certificates can bear.
fn by_name(address: &str) -> String {
    format!("tls://localhost:{}", address.rsplit(':').next().unwrap())
}

fn as_it_is(line: &str) -> String {
    line.to_owned()
}

/// The pin that the server's log shows.
fn pin(server: &Server) -> String {
    server.logged("pin is sha256:").rsplit(':').next().unwrap().to_owned()
}

#[test]
fn a_login_that_proves_the_server_makes_its_key_known() {
    let (server, user) = (start(), User::new());
    let server_url = url(server.tls_address());
    let said = user.ls(&server_url, &[], 0);
    assert!(said.contains("is known by its key from now on"), "{said}");
    assert!(user.known().contains(&format!("{server_url} sha256:{}\n", pin(&server))), "{}", user.known());
    assert_eq!(user.ls(&server_url, &[], 0), "");
    // Who cannot log in has proved nothing.
    let other = User::new();
    other.ls(&server_url, &["--user", "bob"], 5);
    assert_eq!(other.known(), "");
    server.stop();
}

#[test]
fn whoever_relays_the_first_contact_gets_no_login_and_no_pin() {
    let (server, user) = (start(), User::new());
    let middle = Middle::before(server.tls_address(), &Pair::own("localhost"), as_it_is);
    let said = user.ls(&url(&middle.address), &[], 5);
    assert!(said.contains("or somebody stands between"), "{said}");
    assert_eq!(user.known(), "");
    assert!(middle.heard().iter().all(|line| line.starts_with("AUTH SCRAM-SHA-256-PLUS ")), "{:?}", middle.heard());
    server.logged("login refused");
    server.stop();
}

#[test]
fn a_server_that_is_known_is_not_mistaken_for_another() {
    let (server, user) = (start(), User::new());
    let mut known = url(server.tls_address());
    user.ls(&known, &[], 0);
    let middle = Middle::before(server.tls_address(), &Pair::own("localhost"), as_it_is);
    // The same name leads to somebody else now.
    let at_middle = url(&middle.address);
    fs::write(user.known_servers(), user.known().replace(&known, &at_middle)).unwrap();
    known = at_middle;
    let said = user.ls(&known, &[], 4);
    let repair = format!("--known-servers {} forget {known}", user.known_servers().display());
    assert!(said.contains(&format!("dfos-client {repair}")), "{said}");
    assert!(middle.heard().is_empty(), "{:?}", middle.heard());
    // The command that repairs it does repair it; the login then finds the middle out.
    assert!(user.run(&known, &["forget", &known]).status.success());
    user.ls(&known, &[], 5);
    server.stop();
}

#[test]
fn whoever_takes_the_binding_out_of_the_offer_is_told_nothing() {
    let server = start();
    let twists: [common::tls::Twist; 3] = [
        |line| line.replace("SCRAM-SHA-256-PLUS,LOGIN", "SCRAM-SHA-256,LOGIN"),
        |line| line.replace("SCRAM-SHA-256-PLUS,LOGIN", "LOGIN"),
        |line| line.replace(" auth=SCRAM-SHA-256-PLUS,LOGIN", ""),
    ];
    for twist in twists {
        let user = User::new();
        let middle = Middle::before(server.tls_address(), &Pair::own("localhost"), twist);
        user.ls(&url(&middle.address), &[], 4);
        assert_eq!((middle.heard(), user.known()), (Vec::new(), String::new()));
    }
    server.stop();
}

#[test]
fn who_does_not_name_the_protocol_is_told_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let other = std::thread::spawn(move || {
        let mut config = server_config(&Pair::own("localhost"));
        config.alpn_protocols.clear();
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), socket);
        stream.write_all(b"OK dfos/1 ready auth=SCRAM-SHA-256-PLUS\n").unwrap();
        let mut heard = Vec::new();
        let _ = stream.read(&mut [0; 256]).map(|n| heard.push(n));
        heard
    });
    let said = User::new().ls(&url(&address), &[], 12);
    assert!(said.contains("did not name the protocol dfos/1"), "{said}");
    assert!(other.join().unwrap().iter().all(|n| *n == 0), "something was said");
}

#[test]
fn whoever_says_welcome_without_the_servers_proof_is_not_believed() {
    let server = start();
    let twists: [common::tls::Twist; 2] = [
        |line| if line.starts_with("ERR login-refused") { "OK welcome alice\n".into() } else { line.into() },
        |line| {
            let lie = "OK welcome alice scram=dj1BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBPQ==\n";
            if line.starts_with("ERR login-refused") { lie.into() } else { line.into() }
        },
    ];
    for twist in twists {
        let user = User::new();
        let middle = Middle::before(server.tls_address(), &Pair::own("localhost"), twist);
        user.ls(&url(&middle.address), &[], 4);
        assert_eq!(user.known(), "");
    }
    server.stop();
}

#[test]
fn a_fixed_pin_counts_before_all_else() {
    let authority = Authority::new();
    let home = home();
    let pair = authority.certify("localhost").write(home.path(), "server");
    let ca = home.path().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let server = Server::start_in(home, &[&LISTEN[..], &["--tls-cert", &pair[0], "--tls-key", &pair[1]]].concat());
    let (user, name) = (User::new(), by_name(server.tls_address()));
    let (right, wrong) = (pin(&server), "00".repeat(32));
    user.ls(&name, &["--pin", &right], 0);
    user.ls(&name, &["--pin", &format!("sha256:{right}")], 0);
    assert_eq!(user.known(), "", "what the user has fixed need not be remembered");
    // Neither an authority nor what is known overrules it.
    for options in [&["--pin", &wrong][..], &["--pin", &wrong, "--ca", ca.to_str().unwrap()]] {
        assert!(user.ls(&name, options, 4).contains("not the one given by --pin"));
    }
    user.ls(&name, &[], 0);
    user.ls(&name, &["--pin", &wrong], 4);
    let middle = Middle::before(server.tls_address(), &Pair::own("localhost"), as_it_is);
    assert!(user.ls(&url(&middle.address), &["--pin", &right], 4).contains("not the one given by --pin"));
    assert!(middle.heard().is_empty());
    server.stop();
}

#[test]
fn what_an_authority_vouches_for_is_believed_for_its_name_alone() {
    let authority = Authority::new();
    let home = home();
    let pair = authority.certify("localhost").write(home.path(), "server");
    let ca = home.path().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let ca = ["--ca", ca.to_str().unwrap()];
    let server = Server::start_in(home, &[&LISTEN[..], &["--tls-cert", &pair[0], "--tls-key", &pair[1]]].concat());
    let address = server.tls_address();
    let user = User::new();
    assert_eq!(user.ls(&by_name(address), &ca, 0), "");
    assert_eq!(user.known(), "");
    // By another name it is a server like any other, known by its key.
    user.ls(&url(address), &ca, 0);
    assert!(user.known().contains(&url(address)), "{}", user.known());
    // A key that was known may change where an authority vouches for the new one.
    let other = User::new();
    let line = format!("{} sha256:{}\n", by_name(address), "00".repeat(32));
    fs::write(other.known_servers(), &line).unwrap();
    other.ls(&by_name(address), &ca, 0);
    other.ls(&by_name(address), &[], 4);
    // Whoever has a certificate for another name, an old one, or one of nobody's, is not believed, and the login finds him out.
    let yesterday = |params: &mut rcgen::CertificateParams| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    };
    let bad =
        [authority.certify("files.example"), authority.certify_with("localhost", yesterday), Pair::own("localhost")];
    for pair in bad {
        let user = User::new();
        let middle = Middle::before(address, &pair, as_it_is);
        user.ls(&by_name(&middle.address), &ca, 5);
        assert_eq!(user.known(), "");
        fs::write(user.known_servers(), line.replace(&by_name(address), &by_name(&middle.address))).unwrap();
        user.ls(&by_name(&middle.address), &ca, 4);
    }
    // Even one whom an authority believes by mistake learns nothing that a login could be made of.
    let middle = Middle::before(address, &authority.certify("localhost"), as_it_is);
    let said = User::new().ls(&by_name(&middle.address), &ca, 5);
    assert!(said.contains("wrong name or password"), "{said}");
    server.stop();
}

#[test]
fn authorities_that_cannot_be_read_believe_nobody() {
    let (server, user) = (start(), User::new());
    let (name, empty) = (by_name(server.tls_address()), user.place.path().join("empty"));
    fs::write(&empty, "").unwrap();
    for file in [empty.to_str().unwrap(), "/nonexistent/ca.pem"] {
        assert!(user.ls(&name, &["--ca", file], 2).contains("--ca"));
    }
    fs::write(user.known_servers(), "damaged\n").unwrap();
    assert!(user.ls(&name, &[], 10).contains("line 1"));
    assert!(!server.log().iter().any(|line| line.contains("login of")));
    server.stop();
}

/// Logs in over TLS with this header and these bytes of the channel; the server's last answer.
fn plus(raw: &mut TlsRaw, header: &str, channel: &[u8]) -> String {
    let (exchange, first) = Exchange::begin_bound("alice", "secret", header, channel);
    let challenge = raw.ask(&format!("AUTH SCRAM-SHA-256-PLUS {first}"));
    let Some(challenge) = challenge.strip_prefix("CHALLENGE ") else { return challenge };
    let (last, _) = exchange.answer(challenge);
    raw.ask(&format!("AUTH SCRAM-SHA-256-PLUS {last}"))
}

#[test]
fn over_tls_a_login_is_bound_to_the_channel_or_refused() {
    let server = start();
    let connect = || TlsRaw::connect(server.tls_address());
    let mut raw = connect();
    let binding = raw.binding();
    assert!(plus(&mut raw, "p=tls-exporter,,", &binding).starts_with("OK welcome alice scram="));
    raw.demand("LOGOUT", "OK bye");
    assert_eq!(raw.try_line(), None);

    let mut raw = connect();
    let other = connect().binding();
    assert_ne!(other, raw.binding());
    assert!(plus(&mut raw, "p=tls-exporter,,", &other).starts_with("ERR login-refused"), "another channel's bytes");
    assert!(plus(&mut raw, "y,,", &[]).starts_with("ERR login-refused"), "a client that was lied to");
    assert!(plus(&mut raw, "n,,", &[]).starts_with("ERR login-refused"), "no binding");
    assert_eq!(raw.try_line(), None, "three refusals end it");

    let mut raw = connect();
    let binding = raw.binding();
    assert!(plus(&mut raw, "n,,", &binding).starts_with("ERR login-refused"), "a binding that says it is none");
    let (_, first) = Exchange::begin("alice", "secret");
    raw.demand(&format!("AUTH SCRAM-SHA-256 {first}"), "ERR bad-request the mechanism here is SCRAM-SHA-256-PLUS");
    raw.demand("LOGIN alice secret", "OK welcome");
    server.stop();
}

#[test]
fn only_clients_that_name_the_protocol_and_speak_tls_1_3_are_heard() {
    let server = start();
    let mut raw = TlsRaw::silent(server.tls_address(), &[]);
    assert!(raw.line().starts_with("ERR bad-request this is a DFOS server"));
    assert_eq!(raw.try_line(), None);
    // Another protocol's name fails in the handshake.
    let mut socket = TcpStream::connect(server.tls_address()).unwrap();
    let config = Arc::new(client_config(&[b"http/1.1"]));
    let mut http = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let failed = rustls::Stream::new(&mut http, &mut socket).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
    assert!(failed.to_string().contains("NoApplicationProtocol"), "{failed}");
    // Plain text is answered in plain text.
    let mut plain = TcpStream::connect(server.tls_address()).unwrap();
    plain.write_all(b"LOGIN alice secret\n").unwrap();
    let mut text = String::new();
    plain.read_to_string(&mut text).unwrap();
    assert_eq!(text, "ERR bad-request TLS is spoken here: connect with tls://\n");
    assert!(!server.log().iter().any(|line| line.contains("login of")));
    server.stop();
}

/// A ClientHello of our own, as its bytes on the wire.
fn hello() -> Vec<u8> {
    let mut connection =
        ClientConnection::new(Arc::new(client_config(&[ALPN])), "localhost".try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// Clock ticks that the listener's children have used, once they were reaped.
fn children_cpu(server: &Server) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let words: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    words[13].parse::<u64>().unwrap() + words[14].parse::<u64>().unwrap()
}

#[test]
fn what_is_no_handshake_ends_the_session_and_burns_no_processor() {
    let server = Server::start(&[&LISTEN[..], &["--login-timeout", "2"]].concat());
    let close_notify = [0x15, 3, 3, 0, 2, 1, 0];
    let mut record_too_long = vec![0x16, 3, 1, 0xff, 0xff];
    record_too_long.resize(70_000, 1);
    let mut split = Vec::new(); // the hello, one byte a record
    for byte in &hello()[5..] {
        split.extend([0x16, 3, 1, 0, 1, *byte]);
    }
    // A handshake message that says it has 16 MiB, and goes on.
    let mut endless = vec![0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    endless.resize(5 + 0x4000, 0);
    let cases: [(&str, Vec<u8>); 8] = [
        ("a hello and a close_notify (CVE-2024-32650)", [&hello()[..], &close_notify].concat()),
        ("a close_notify alone", close_notify.to_vec()),
        ("empty records", [0x16, 3, 1, 0, 0].repeat(20_000)),
        ("empty records of data", [&hello()[..], &[0x17, 3, 3, 0, 0].repeat(20_000)].concat()),
        ("warnings", [0x15, 3, 3, 0, 2, 1, 90].repeat(20_000)),
        ("a record too long", record_too_long),
        ("a hello in pieces and silence", split),
        ("a message without end", endless.repeat(8)),
    ];
    let both = cases.iter().flat_map(|case| [(case, true), (case, false)]);
    for ((what, bytes), half_closed) in both {
        let before = children_cpu(&server);
        let mut socket = TcpStream::connect(server.tls_address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = socket.write_all(bytes); // it may have closed already
        if half_closed {
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
        // Whether nothing more can come or the socket stays open: the session must end by itself.
        let _ = socket.read_to_end(&mut Vec::new());
        server.wait_idle();
        let used = children_cpu(&server) - before;
        assert!(used < 50, "{what}: {used} ticks of processor time");
    }
    server.stop();
}

#[test]
fn whoever_sends_records_that_say_nothing_is_cut_off() {
    let server = start();
    let mut raw = TlsRaw::hollow(server.tls_address());
    raw.demand("LOGIN alice secret", "OK welcome");
    for _ in 0..4 {
        raw.say_nothing(48 * 1024);
        raw.demand("PING", "OK pong"); // which begins the count anew
    }
    raw.say_nothing(128 * 1024);
    assert_eq!(raw.rest_after("PING\n"), "", "it was read to its end");
    server.wait_idle();
    server.stop();
}

#[test]
fn what_siblings_draw_differs() {
    let server = Server::start(&[&LISTEN[..], &["--listen", "tcp://127.0.0.1:0"]].concat());
    let (mut drawn, mut writing) = (HashSet::new(), Vec::new());
    let mut fresh = |what: &str, value: Vec<u8>| assert!(drawn.insert(value), "{what} came twice");
    for _ in 0..40 {
        // The same hello each time: what differs is the server's own.
        let mut socket = TcpStream::connect(server.tls_address()).unwrap();
        socket.write_all(&hello()).unwrap();
        let mut answer = [0; 43];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!((answer[0], answer[5]), (0x16, 2), "a ServerHello");
        fresh("the random of a ServerHello", answer[11..].to_vec());

        let mut raw = server.client();
        let (exchange, first) = Exchange::begin("alice", "secret");
        let challenge = raw.demand(&format!("AUTH SCRAM-SHA-256 {first}"), "CHALLENGE ");
        let text = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &challenge[10..]).unwrap();
        let nonce = String::from_utf8(text).unwrap().split(',').next().unwrap().to_owned();
        let own = nonce.strip_prefix("r=").unwrap().strip_prefix(&exchange.nonce).unwrap();
        fresh("a nonce", own.as_bytes().to_vec());
        assert!(own.len() >= 24);

        let mut raw = server.login("bob");
        raw.send("UPLOAD same size=3\nDATA 1\nx");
        raw.expect("READY");
        writing.push(raw);
    }
    let names: Vec<_> = server.partials("bob");
    assert_eq!(names.len(), 40);
    for name in names {
        let name = name.file_name().unwrap().to_string_lossy().into_owned();
        fresh("a staging name", name.split('.').nth(1).unwrap().as_bytes().to_vec());
    }
    drop(writing);
    server.stop();
}

#[test]
fn the_librarys_slow_randomness_is_left_out() {
    // Each forked session would gather it anew, 16 ms and more: .cargo/config.toml leaves it out.
    let binary = fs::read(env!("CARGO_BIN_EXE_dfos-forkd")).unwrap();
    let has = |name: &[u8]| binary.windows(name.len()).any(|window| window == name);
    assert!(has(b"aws_lc_0"), "the names of the library are in the binary");
    assert!(!has(b"jent_read_entropy"));
}

#[test]
fn a_new_certificate_is_taken_at_a_hangup_and_a_broken_one_is_not() {
    let home = home();
    let (one, two) = (Pair::own("one"), Pair::own("two"));
    let paths = one.write(home.path(), "server");
    let server = Server::start_in(home, &[&LISTEN[..], &["--tls-cert", &paths[0], "--tls-key", &paths[1]]].concat());
    let first = pin(&server);
    let mut before = TlsRaw::connect(server.tls_address());
    before.demand("LOGIN alice secret", "OK welcome");
    let believes = |pin: &str| User::new().ls(&url(server.tls_address()), &["--pin", pin], 0);
    let reloads = |text: &str, times: usize| {
        server.signal(Signal::SIGHUP);
        let count = || server.log().iter().filter(|line| line.contains(text)).count();
        eventually(text, || count() == times);
    };
    believes(&first);

    // A certificate without its key, half way through a renewal.
    fs::write(&paths[0], &two.certificate).unwrap();
    reloads("certificate and configuration stay as they are", 1);
    server.logged("do not go together");
    believes(&first);
    fs::write(&paths[1], "").unwrap();
    reloads("certificate and configuration stay as they are", 2);
    fs::remove_file(&paths[0]).unwrap();
    reloads("certificate and configuration stay as they are", 3);
    believes(&first);

    two.write(server.home(), "server");
    reloads("certificate reloaded", 1);
    let second =
        server.log().iter().rev().find_map(|line| Some(line.split_once("pin is sha256:")?.1.to_owned())).unwrap();
    assert_ne!(first, second);
    believes(&second);
    User::new().ls(&url(server.tls_address()), &["--pin", &first], 4);
    before.demand("PING", "OK pong");
    drop(before);
    server.stop();
}

#[test]
fn a_start_that_is_not_safe_is_refused() {
    let home = home();
    let pair = Pair::own("localhost").write(home.path(), "server");
    let other = Pair::own("localhost").write(home.path(), "other");
    let refused = |options: &[&str]| {
        let output = command(home.path(), options).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty(), "it never listened");
        String::from_utf8(output.stderr).unwrap()
    };
    for url in ["tcp://0.0.0.0:0", "tcp://[::]:0"] {
        assert!(refused(&["--listen", url]).contains("--allow-plaintext"));
    }
    let tls =
        |certificate: &str, key: &str| refused(&[&LISTEN[..], &["--tls-cert", certificate, "--tls-key", key]].concat());
    assert!(tls(&pair[0], &other[1]).contains("do not go together"));
    assert!(tls("/nonexistent", &pair[1]).contains("/nonexistent"));
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&pair[1], open).unwrap();
    assert!(tls(&pair[0], &pair[1]).contains("chmod o-r"));

    let server = Server::start_in(home, &["--allow-plaintext", "--listen", "tcp://0.0.0.0:0"]);
    server.logged("is reachable from other machines and speaks plain text");
    server.stop();
}

#[test]
fn files_of_every_size_pass_both_ways() {
    let (server, user) = (start(), User::new());
    let server_url = url(server.tls_address());
    for size in [0, 1, 4095, 16_384, 16_385, 262_144, 262_145, 5_000_000] {
        let bytes: Vec<u8> = (0..size).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let path = user.place.path().join("file");
        fs::write(&path, &bytes).unwrap();
        let (path, back) = (path.to_str().unwrap(), user.place.path().join("back"));
        for arguments in [&["put", path][..], &["get", "file", "--to", back.to_str().unwrap()]] {
            let output = user.run(&server_url, arguments);
            assert!(output.status.success(), "{size}: {}", String::from_utf8_lossy(&output.stderr));
        }
        assert!(fs::read(&back).unwrap() == bytes && fs::read(server.at("alice/file")).unwrap() == bytes, "{size}");
    }
    server.stop();
}

#[test]
fn what_is_damaged_on_the_way_is_an_integrity_error_and_is_sent_again() {
    let server = Server::start(&[&LISTEN[..], &["--max-penalty", "60"]].concat());
    let (user, relay) = (User::new(), Relay::to(server.tls_address(), Channel::Tls));
    let (path, back) = (user.place.path().join("file"), user.place.path().join("back"));
    let bytes: Vec<u8> = (0..2_000_000).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(&path, &bytes).unwrap();
    let put = ["put", path.to_str().unwrap()];
    let get = ["get", "file", "--to", back.to_str().unwrap()];
    let damaged = |way, words: &[&str], at, retries: &str| {
        relay.arm(Some(Flip { way, at, bit: 3 }));
        let output = user.run_again(&url(relay.address()), retries, words);
        assert_eq!(relay.passed().flipped, Some(Part::Record), "{way:?} {at}");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    // In what the server says before the client can say anything, and in bodies. It is no offence: the third would be punished.
    let (up, down) = ((Way::Up, &put[..]), (Way::Down, &get[..]));
    for ((way, words), at) in [(up, 1_000_000), (down, 1_400), (down, 1_000_000), (up, 1_900_000), (up, 500_000)] {
        let (status, text) = damaged(way, words, at, "1");
        assert_eq!(status, Some(0), "{way:?} {at}: {text}");
        // A client that is in the midst of sending may find the line closed before it has read why.
        assert!(text.contains("damaged on the way") || way == Way::Up, "{text}");
    }
    assert!(fs::read(&back).unwrap() == bytes && fs::read(server.at("alice/file")).unwrap() == bytes);
    let (status, text) = damaged(Way::Down, &get, 1_000_000, "0");
    assert_eq!(status, Some(11), "{text}");
    server.stop();
}

#[test]
fn what_is_damaged_of_a_goodbye_harms_nobody() {
    let (server, user) = (start(), User::new());
    let relay = Relay::to(server.tls_address(), Channel::Tls);
    let url = url(relay.address());
    user.ls(&url, &[], 0);
    for way in [Way::Up, Way::Down] {
        relay.arm(None);
        user.ls(&url, &[], 0);
        let last = relay.passed().bytes[usize::from(way == Way::Down)] - 1;
        relay.arm(Some(Flip { way, at: last, bit: 0 }));
        user.ls(&url, &[], 0);
        server.wait_idle();
        assert_eq!(relay.passed().flipped, Some(Part::Record));
    }
    server.stop(); // no session has panicked
}

#[test]
fn who_is_turned_away_hears_that_it_is_the_servers_will() {
    let server = Server::start(&[&LISTEN[..], &["--max-clients", "1"]].concat());
    let mut first = TlsRaw::connect(server.tls_address());
    first.demand("LOGIN alice secret", "OK welcome");
    let said = User::new().ls(&url(server.tls_address()), &[], 3);
    assert!(said.contains("does not serve you at present"), "{said}");
    drop(first);
    server.stop();
}

#[test]
fn whoever_stands_still_in_a_handshake_makes_room() {
    let server = Server::start(&[&LISTEN[..], &["--max-logins", "2"]].concat());
    let half = hello()[..100].to_vec();
    let mut held = Vec::new();
    for bytes in [&half, &hello()] {
        let mut socket = TcpStream::connect(server.tls_address()).unwrap();
        socket.write_all(bytes).unwrap();
        held.push(socket);
        eventually("its session", || server.sessions().len() == held.len());
    }
    std::thread::sleep(dfos::proto::limits::STRANGER + std::time::Duration::from_millis(100)); // nobody younger is sent away
    // The room is full: who has stood there longest goes, and the newcomer logs in.
    let mut raw = TlsRaw::connect(server.tls_address());
    raw.demand("LOGIN alice secret", "OK welcome");
    let mut first = held.remove(0);
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(first.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
    server.logged("sent away");
    assert_eq!(server.sessions().len(), 2);
    drop((raw, held));
    server.stop();
}
