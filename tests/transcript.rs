//! The worked examples of docs/PROTOCOL.md, replayed against the real server: the page cannot drift from the code.

mod common;

use common::scram::Exchange;
use common::{Raw, Server};

const PAGE: &str = include_str!("../docs/PROTOCOL.md");

/// The example that holds `sign`: who says what, line by line.
fn example(sign: &str) -> Vec<(char, &'static str)> {
    let blocks = PAGE.split("```").skip(1).step_by(2);
    let block = blocks.into_iter().find(|block| block.contains(sign)).expect(sign);
    let lines = block.trim_matches('\n').lines();
    lines.map(|line| (line.chars().next().unwrap(), line.get(3..).expect(line))).collect()
}

/// Whether a line is as the page shows it; `…` and `<words>` stand for anything.
fn matches(shown: &str, said: &str) -> bool {
    let mut parts = Vec::new();
    let mut rest = shown;
    while let Some(at) = rest.find(['…', '<']) {
        parts.push(&rest[..at]);
        let after = if rest[at..].starts_with('<') { rest[at..].find('>').unwrap() + 1 } else { '…'.len_utf8() };
        rest = &rest[at + after..];
    }
    let Some(tail) = said.strip_prefix(*parts.first().unwrap_or(&shown)) else { return false };
    if parts.is_empty() {
        return tail.is_empty();
    }
    let middle = parts[1..].iter().try_fold(tail, |tail, part| Some(&tail[tail.find(part)? + part.len()..]));
    middle.is_some_and(|tail| tail.ends_with(rest))
}

#[test]
fn placeholders_match_what_they_should_and_nothing_else() {
    assert!(matches("OK bye", "OK bye") && !matches("OK bye", "OK bye!") && !matches("OK bye", "OK by"));
    assert!(matches("a=5891…be03", "a=5891xxbe03") && !matches("a=5891…be03", "a=5891xxbe04"));
    assert!(matches("x <some thing> y … z", "x 1 y 2 z") && !matches("x <some thing> y", "x 1 z"));
}

#[track_caller]
fn replay(raw: &mut Raw, lines: &[(char, &str)]) {
    for (who, shown) in lines {
        match who {
            'C' => raw.send(format!("{shown}\n")),
            _ => {
                let said = raw.line();
                assert!(matches(shown, &said), "the page shows '{shown}', the server says '{said}'");
            }
        }
    }
}

#[test]
fn the_first_example_happens_as_shown() {
    let server = Server::start(&[]);
    let mut raw = Raw::silent(server.address());
    let lines = example("LOGOUT");
    assert_eq!(lines.len(), 11);
    replay(&mut raw, &lines);
    raw.closed();
    assert_eq!(std::fs::read(server.at("alice/notes.txt")).unwrap(), b"hello\n");
    drop(raw);
    server.stop();
}

#[test]
fn the_download_example_happens_as_shown() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.upload_with("notes.txt mtime=1700000000", b"hello\n");
    replay(&mut raw, &example("C: DOWNLOAD"));
    raw.demand("PING", "OK pong");
    drop(raw);
    server.stop();
}

#[test]
fn the_trash_example_happens_as_shown() {
    let server = Server::start(&["--trash", "30d"]);
    let mut raw = server.client();
    assert_eq!(raw.ask("LOGIN alice secret"), "OK welcome alice trash=2592000");
    raw.put("notes.txt", b"hello\n");
    replay(&mut raw, &example("C: TRASH"));
    drop(raw);
    server.stop();
}

#[test]
fn the_login_example_works_by_the_formulas_of_the_page_alone() {
    let server = Server::start(&[]);
    let mut raw = server.client();
    let (exchange, first) = Exchange::begin("alice", "secret");
    let (mut last, mut signature) = (String::new(), String::new());
    for (who, shown) in example("CHALLENGE <") {
        if who == 'C' {
            let message = if last.is_empty() { &first } else { &last };
            raw.send(format!("{} {message}\n", shown.split(" <").next().unwrap()));
            continue;
        }
        let said = raw.line();
        assert!(matches(shown, &said), "the page shows '{shown}', the server says '{said}'");
        if let Some(challenge) = said.strip_prefix("CHALLENGE ") {
            (last, signature) = exchange.answer(challenge);
        } else {
            assert!(said.ends_with(&format!("scram={signature}")), "{said}");
        }
    }
    assert_eq!(raw.names("."), [""; 0]);
    drop(raw);
    server.stop();
}

#[test]
fn every_verb_of_the_table_is_explained_by_help_and_every_alias_works() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    let (_, table) = PAGE.split_once("| verb | also |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut seen = 0;
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let names = cells[1].split("` `").chain(cells[2].split("`, `")).filter(|name| !name.is_empty());
        for name in names.filter(|name| !name.contains(' ')) {
            raw.demand(&format!("HELP {name}"), "INFO ");
            raw.expect("OK ");
            seen += 1;
        }
    }
    assert!(seen >= 20, "{seen}");
    for alias in ["DIR", "preview notes", "SUBFOLDER CREATE d", "subfolder delete d"] {
        let answer = raw.ask(alias);
        assert!(!answer.contains("bad-request"), "{alias}: {answer}");
    }
    raw.demand("quit", "OK bye");
    raw.closed();
    drop(raw);
    server.stop();
}
