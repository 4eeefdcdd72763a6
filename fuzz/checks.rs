//! What must hold for any bytes, one function a parser. The fuzz targets and tests/corpus.rs both run these.
#![allow(dead_code)] // each fuzz target uses one

use dfos::auth::table::{self, Found};
use dfos::auth::users_file::{self, Secret};
use dfos::auth::{Binding, ClientExchange, Password, ServerExchange, UserName};
use dfos::net::Address;
use dfos::proto::incoming::{self, Claim, Incoming, Request};
use dfos::proto::{Answer, RemotePath, limits, line};
use dfos::server::record::Record;
use std::collections::HashSet;
use std::fs::File;
use std::sync::OnceLock;

/// Panics if what it says does not hold of these bytes.
pub type Check = fn(&[u8]);

/// Every check by its name, which is that of its fuzz target and of its directory in `corpus`.
pub const ALL: &[(&str, Check)] = &[
    ("request", request),
    ("answer", answer),
    ("listing", listing),
    ("path", path),
    ("users_file", users_file),
    ("scram_client", scram_client),
    ("scram_server", scram_server),
    ("address", address),
    ("record", record),
];

/// The text of a line as both ends read it; `None` for what is no line.
fn text(data: &[u8]) -> Option<&str> {
    let end = data.iter().position(|&b| b == b'\n').unwrap_or(data.len());
    line::text(&data[..end]).ok()
}

/// A line of a client that is understood, printed from what was understood, is understood alike. A path out of it is lawful.
pub fn request(data: &[u8]) {
    let Some(text) = text(data) else { return };
    match incoming::parse(text) {
        Ok(Incoming::Request(request)) => {
            let printed = print(&request, text);
            let Ok(Incoming::Request(again)) = incoming::parse(&printed) else { panic!("'{text}' as '{printed}'") };
            same(&request, &again);
            (0..2).filter_map(|at| request.path(at).ok()).for_each(|path| lawful(&path));
        }
        Ok(Incoming::Data(n)) => {
            assert!((1..=limits::PIECE).contains(&n));
            assert!(matches!(incoming::parse(&format!("DATA {n}")), Ok(Incoming::Data(m)) if m == n));
        }
        Ok(Incoming::From(n)) => {
            assert!(n <= limits::NUMBER);
            assert!(matches!(incoming::parse(&format!("FROM {n}")), Ok(Incoming::From(m)) if m == n));
        }
        Ok(Incoming::End(Claim { digest: Some(digest), .. })) => {
            let printed = format!("END sha256={digest}");
            assert!(
                matches!(incoming::parse(&printed), Ok(Incoming::End(Claim { digest: Some(again), .. })) if again == digest)
            );
        }
        Ok(Incoming::End(_) | Incoming::Abort(_) | Incoming::Wait) => {}
        Err(refusal) => assert!(!refusal.to_string().contains(|c: char| c.is_control()), "{refusal}"),
    }
}

/// A request as the manual writes it: the verb's own name, its words, its flags, and the options of the line as they stand.
fn print(request: &Request, line: &str) -> String {
    let row = request.verb.row();
    let words: Vec<&str> = (0..row.positional.1).filter_map(|at| request.word(at)).collect();
    let flags = row.flags.iter().copied().filter(|flag| request.flag(flag));
    let options = line.split(' ').rev().take_while(|word| !words.contains(word)).filter(|word| word.contains('='));
    let all = std::iter::once(row.name).chain(words.iter().copied()).chain(flags).chain(options);
    all.collect::<Vec<_>>().join(" ")
}

fn same(a: &Request, b: &Request) {
    assert_eq!(a.verb, b.verb);
    let row = a.verb.row();
    (0..3).for_each(|at| assert_eq!(a.word(at), b.word(at)));
    row.flags.iter().for_each(|flag| assert_eq!(a.flag(flag), b.flag(flag)));
}

/// What no path may be, whatever it was read from.
fn lawful(path: &RemotePath) {
    assert!(path.as_bytes().len() <= limits::PATH && !path.as_bytes().contains(&0));
    if path.is_root() {
        return;
    }
    assert!(path.components().count() > 0);
    for name in path.components() {
        let bad: [&[u8]; 4] = [b"", b".", b"..", limits::RESERVED.as_bytes()];
        assert!(!bad.contains(&name) && name.len() <= limits::NAME && !name.contains(&b'/'), "{path}");
    }
}

/// A line of a server that is understood survives being printed and read again.
pub fn answer(data: &[u8]) {
    let Some(answer) = text(data).and_then(|text| text.parse::<Answer>().ok()) else { return };
    let printed = answer.to_string();
    assert_eq!(printed.parse::<Answer>().as_ref(), Ok(&answer), "{printed}");
    if let Answer::Ok(fields) | Answer::Ready(fields) | Answer::End(fields) = &answer {
        let _ = (fields.number("size"), fields.digest("sha256"), fields.get(""));
    }
}

/// The rows of a listing lead below the directory that was listed, and nowhere else; each survives being printed.
pub fn listing(data: &[u8]) {
    let top: RemotePath = "destination".parse().expect("a path");
    for text in data.split(|&b| b == b'\n').filter_map(|line| line::text(line).ok()) {
        let row = format!("ENTRY {text}");
        let Ok(Answer::Entry(entry)) = row.parse() else { continue };
        lawful(&entry.path);
        assert_eq!(Answer::Entry(entry.clone()).to_string().parse(), Ok(Answer::Entry(entry.clone())), "{row}");
        if let Ok(below) = top.join_path(&entry.path) {
            lawful(&below);
            assert!(entry.path.is_root() || below.as_bytes().starts_with(b"destination/"), "{row}");
        }
    }
}

/// A path that is understood is lawful, and is the same path after printing, as bytes, and put together from its parts.
pub fn path(data: &[u8]) {
    if let Ok(path) = RemotePath::from_bytes(data) {
        lawful(&path);
        assert_eq!(path.to_string().parse(), Ok(path));
    }
    let Some(path) = text(data).and_then(|text| text.parse::<RemotePath>().ok()) else { return };
    lawful(&path);
    let printed = path.to_string();
    assert!(printed.bytes().all(|b| b.is_ascii_graphic()), "{printed}");
    assert_eq!(printed.parse().as_ref(), Ok(&path));
    assert_eq!(RemotePath::from_bytes(path.as_bytes()).as_ref(), Ok(&path));
    if let (Some(parent), Some(name)) = (path.parent(), path.name()) {
        assert_eq!(parent.join(name).as_ref(), Ok(&path));
    }
}

/// Each line of a users file is a user, a comment, or a problem with its number; a user's line read alone is the same user; no
/// message shows a control character, and no name is a way out of the storage.
pub fn users_file(data: &[u8]) {
    let users = users_file::parse(data);
    let count = data.split(|&b| b == b'\n').count();
    let mut names = HashSet::new();
    for entry in &users.entries {
        let name = entry.name.as_str();
        assert!((1..=count).contains(&entry.line) && names.insert(name), "{name}");
        assert!(!name.contains(['/', '\0', ':', '\n']) && !name.starts_with('.') && name.len() <= 32);
        assert!(name.parse::<UserName>().is_ok());
        if let Secret::Scram(verifier) = &entry.secret {
            let again = users_file::parse(format!("{name}:{verifier}\n").as_bytes());
            assert!(matches!(&again.entries[..], [one] if matches!(&one.secret, Secret::Scram(v) if v == verifier)));
        }
    }
    for problem in &users.problems {
        assert!((1..=count).contains(&problem.line));
        assert!(!problem.to_string().contains(|c: char| c.is_control()), "{problem}");
    }
}

/// Stands for the nonce of the exchange in hand, which no corpus can know.
const NONCE: &str = "NONCE";

/// A server that does not know the password is never believed; an answer goes out only to a challenge with our own nonce.
pub fn scram_client(data: &[u8]) {
    let Ok(messages) = std::str::from_utf8(data) else { return };
    let (challenge, last) = messages.split_once('\n').unwrap_or((messages, ""));
    let (user, password): (UserName, _) = ("alice".parse().expect("a name"), Password::new("secret").expect("short"));
    let Ok((exchange, first)) = ClientExchange::begin(&user, &password, Binding::None) else { return };
    let own = first.rsplit("r=").next().expect("a nonce");
    // More iterations than the fewest are allowed, and cost time here for nothing.
    let counts = challenge.split("i=").skip(1).map(|rest| rest.split(',').next().unwrap_or_default());
    if counts.filter_map(|count| count.parse::<u64>().ok()).any(|count| count > 4096) {
        return;
    }
    if let Ok((proof, answer)) = exchange.answer(&challenge.replace(NONCE, own)) {
        assert!(challenge.contains(NONCE) && answer.contains(own), "{challenge}");
        assert!(proof.check(last).is_err(), "{challenge} {last}");
    }
}

/// Nobody gets in without a proof, and what is read of a client's first message survives being sent again.
pub fn scram_server(data: &[u8]) {
    let Ok(messages) = std::str::from_utf8(data) else { return };
    let (first, last) = messages.split_once('\n').unwrap_or((messages, ""));
    let _ = dfos::auth::scram::decode(first);
    for binding in [Binding::None, Binding::TlsExporter([7; 32])] {
        let Ok(exchange) = ServerExchange::begin(first, binding) else { continue };
        let found = lookup(exchange.user());
        let Ok((awaiting, challenge)) = exchange.challenge(found) else { continue };
        let nonce = challenge.strip_prefix("r=").and_then(|rest| rest.split(',').next()).expect("a nonce");
        assert!(awaiting.finish(&last.replace(NONCE, nonce)).is_err(), "{first} {last}");
    }
}

/// A table with alice, as the server keeps it.
fn lookup(name: &str) -> Found {
    static TABLE: OnceLock<File> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let mut file = table::create().expect("a file in memory");
        table::write(&users_file::parse(b"alice:secret\n"), &[1; 32], &mut file).expect("a table");
        file
    });
    table::lookup(table, name).expect("an answer for any name")
}

/// An address that is understood is the same address when it is printed and read again.
pub fn address(data: &[u8]) {
    let Some(address) = std::str::from_utf8(data).ok().and_then(|text| text.parse::<Address>().ok()) else { return };
    assert_eq!(address.to_string().parse().as_ref(), Ok(&address), "{address}");
}

/// A record that is understood is the same record when it is sent again.
pub fn record(data: &[u8]) {
    let Some(record) = Record::decode(data) else { return };
    assert_eq!(Record::decode(record.encode().as_bytes()).as_ref(), Some(&record));
}
