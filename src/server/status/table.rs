//! How a server is, as lines for a person: a head, and the table of sessions, as wide as the terminal.

use super::figures::{count, size, span};
use super::rates::Rates;
use crate::proto::unseen::spelled_out;
use crate::server::desk::answer::{Session, Status};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns between two columns.
const GAP: usize = 2;
/// A path with less room than this is not worth its column.
const LEAST_PATH: usize = 20;

/// One column: its head, whether figures stand in it, and its cells.
struct Column {
    head: &'static str,
    right: bool,
    cells: Vec<String>,
}

/// The columns from left to right.
const HEADS: [(&str, bool); 10] = [
    ("SESSION", false),
    ("PID", true),
    ("USER", false),
    ("PEER", false),
    ("AGE", true),
    ("STATE", false),
    ("", true), // how much in a hundred
    ("DONE/SIZE", true),
    ("RATE", true),
    ("IDLE", true),
];
/// Those that go where there is no room, the first first; of users' names only the beginning stays then.
const LEAST_WANTED: [&str; 9] = ["SESSION", "AGE", "PEER", "DONE/SIZE", "PATH", "USER", "IDLE", "", "RATE"];
/// Columns that are left to a user's name then.
const LEAST_USER: usize = 10;

/// Everything: the head, an empty line, the table. No line is wider than `width`.
pub fn page(status: &Status, rates: &Rates, width: usize) -> Vec<String> {
    let mut lines = head(status, rates, width);
    lines.push(String::new());
    lines.extend(table(status, rates, width));
    lines
}

/// The server's own figures.
pub fn head(status: &Status, rates: &Rates, width: usize) -> Vec<String> {
    let total: u64 = status.turned_away.values().sum();
    let reasons: Vec<_> = status.turned_away.iter().filter(|(_, count)| **count > 0).collect();
    let reasons: Vec<_> = reasons.into_iter().map(|(reason, of)| format!("{} {reason}", count(*of))).collect();
    let moving = |verb: &str| -> u64 {
        let busy = status.sessions.iter().filter(|session| session.work.as_ref().is_some_and(|work| work.verb == verb));
        busy.filter_map(|session| rates.get(&session.session)).sum()
    };
    let mut parts = vec![
        vec![
            format!("dfos-forkd {}", status.version),
            format!("pid {}", status.pid),
            format!("up {}", span(status.uptime)),
            status.state.clone(),
        ],
        status.listeners.clone(),
        vec![
            format!("{} of {} sessions", status.sessions.len(), count(status.max_clients)),
            format!("at most {} so far", count(status.peak)),
            format!("{} connections", count(status.connections)),
            format!("{} logins", count(status.logins)),
            format!("{} refused", count(status.logins_refused)),
        ],
        vec![
            format!(
                "in {} files ({}), {}/s now",
                count(status.files_in),
                size(status.bytes_in),
                size(moving("UPLOAD"))
            ),
            format!(
                "out {} files ({}), {}/s now",
                count(status.files_out),
                size(status.bytes_out),
                size(moving("DOWNLOAD"))
            ),
        ],
    ];
    if total > 0 {
        parts.insert(3, vec![format!("{} turned away: {}", count(total), reasons.join(", "))]);
    }
    if status.sent_away + status.kicked > 0 {
        parts.push(vec![format!("{} sent away", count(status.sent_away)), format!("{} kicked", count(status.kicked))]);
    }
    let lines = parts.iter().filter(|parts| !parts.is_empty()).flat_map(|parts| wrapped(parts, width));
    lines.map(|line| spelled_out(&line)).map(|line| cut(&line, width)).collect()
}

/// Parts with commas between them, on as many lines as they need.
fn wrapped(parts: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.width() + 2 + part.width() <= width => *line = format!("{line}, {part}"),
            _ => lines.push(part.clone()),
        }
    }
    lines
}

/// The sessions, those that do something first, under a line of heads.
pub fn table(status: &Status, rates: &Rates, width: usize) -> Vec<String> {
    let mut sessions: Vec<&Session> = status.sessions.iter().collect();
    sessions.sort_by_key(|session| rank(session)); // stable: else in the order in which they came
    let rows: Vec<_> = sessions.iter().map(|session| cells(session, rates)).collect();
    let column = |(at, (head, right)): (usize, (&'static str, bool))| {
        let cells = rows.iter().filter_map(|row| row.get(at).cloned()).collect();
        Column { head, right, cells }
    };
    let heads = HEADS.into_iter().chain([("PATH", false)]);
    fitted(heads.enumerate().map(column).collect(), width, rows.len())
}

/// What comes first: requests, then strangers, then who keeps still.
fn rank(session: &Session) -> u8 {
    match session.state.as_str() {
        "busy" | "settling" => 0,
        "idle" => 2,
        _ => 1,
    }
}

/// The cells of a session, in the order of the columns. Whatever a client has named is spelled out.
fn cells(session: &Session, rates: &Rates) -> Vec<String> {
    let work = session.work.as_ref();
    let moving = work.filter(|work| work.size.is_some() || work.done > 0);
    let state = work.filter(|_| session.state == "busy").map_or(&session.state, |work| &work.verb);
    let of_all = moving.and_then(|work| Some((work.done, work.size.filter(|size| *size > 0)?)));
    let done = |work: &crate::server::desk::answer::Work| match work.size {
        Some(all) => format!("{}/{}", size(work.done), size(all)),
        None => size(work.done),
    };
    let cells = [
        session.session.clone(),
        session.pid.to_string(),
        session.user.clone().unwrap_or_else(|| "-".into()),
        session.peer.clone(),
        span(session.seconds),
        state.clone(),
        of_all.map_or(String::new(), |(done, all)| format!("{}%", done.min(all) as u128 * 100 / all as u128)),
        moving.map_or(String::new(), done),
        moving.and_then(|_| rates.get(&session.session)).map_or(String::new(), |rate| format!("{}/s", size(*rate))),
        span(session.idle),
        work.map_or(String::new(), |work| work.path.clone()),
    ];
    cells.iter().map(|cell| spelled_out(cell)).collect()
}

/// The columns that find room, as lines.
fn fitted(mut columns: Vec<Column>, width: usize, rows: usize) -> Vec<String> {
    let mut least_wanted = LEAST_WANTED.iter();
    let path = loop {
        let others: usize =
            columns.iter().filter(|column| column.head != "PATH").map(|column| column.width() + GAP).sum();
        let path = columns.iter().find(|column| column.head == "PATH").map(Column::width);
        let room = width.saturating_sub(others);
        match path {
            Some(path) if room >= path.min(LEAST_PATH) => break path.min(room),
            None if width >= others.saturating_sub(GAP) => break 0,
            _ => {}
        }
        let Some(head) = least_wanted.next() else { break 0 };
        match columns.iter_mut().find(|column| column.head == "USER") {
            Some(users) if *head == "USER" => users.cells.iter_mut().for_each(|name| *name = cut(name, LEAST_USER)),
            _ => columns.retain(|column| column.head != *head),
        }
    };
    let line = |cell: &dyn Fn(&Column) -> String| {
        let cells: Vec<_> = columns.iter().map(|column| padded(&cell(column), column, path)).collect();
        cut(cells.join(&" ".repeat(GAP)).trim_end(), width)
    };
    let head = line(&|column| column.head.into());
    std::iter::once(head)
        .chain((0..rows).map(|at| line(&|column| column.cells.get(at).cloned().unwrap_or_default())))
        .collect()
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().map(|cell| cell.width()).max().unwrap_or(0).max(self.head.width())
    }
}

/// A cell as wide as its column; of a path that is too long the end.
fn padded(cell: &str, column: &Column, path: usize) -> String {
    if column.head == "PATH" {
        return end(cell, path);
    }
    let gap = " ".repeat(column.width().saturating_sub(cell.width()));
    if column.right { gap + cell } else { format!("{cell}{gap}") }
}

/// The beginning of a line, as wide as `width` at most.
pub fn cut(line: &str, width: usize) -> String {
    if line.width() <= width {
        return line.into();
    }
    let mut out = taken(line.chars(), width.saturating_sub(1));
    out.push('…');
    out
}

/// The end of a path, as wide as `width` at most.
fn end(path: &str, width: usize) -> String {
    if path.width() <= width {
        return path.into();
    }
    let back = taken(path.chars().rev(), width.saturating_sub(1));
    std::iter::once('…').chain(back.chars().rev()).collect()
}

/// As many characters as fit.
fn taken(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut left = width;
    let fits = |c: &char| {
        let wide = c.width().unwrap_or(0);
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    chars.take_while(fits).collect()
}

#[cfg(test)]
#[allow(missing_docs)] // the scene of other tests too
pub mod tests {
    use super::*;
    use crate::server::desk::answer::{VERSION, Work};
    use crate::server::status::rates::averages;

    pub fn session(name: &str, user: &str, state: &str) -> Session {
        Session {
            session: name.into(),
            pid: 4711,
            user: (!user.is_empty()).then(|| user.into()),
            peer: "192.0.2.7:50122".into(),
            since: "2026-11-21T18:20:01Z".into(),
            seconds: 61.0,
            state: state.into(),
            idle: 3.0,
            work: None,
        }
    }

    pub fn status(sessions: Vec<Session>) -> Status {
        Status {
            v: VERSION,
            version: "0.1.0".into(),
            pid: 7,
            state: "serving".into(),
            time: "2026-11-21T18:20:01Z".into(),
            started: "2026-11-21T18:20:00Z".into(),
            start: 0x6920_a1b3,
            uptime: 1.0,
            listeners: vec!["tls://0.0.0.0:9000".into()],
            max_clients: 1024,
            peak: 3,
            connections: 1234,
            logins: 12,
            logins_refused: 1,
            turned_away: [("denied".into(), 2), ("full".into(), 0)].into(),
            sent_away: 0,
            kicked: 0,
            upgrades: 0,
            upgrade_refused: None,
            files_in: 5,
            bytes_in: 1 << 20,
            files_out: 0,
            bytes_out: 0,
            sessions,
        }
    }

    fn busy(path: &str) -> Session {
        let (verb, path) = ("UPLOAD".into(), path.into());
        let work = Work { verb, path, taken: 2.0, from: 0, done: 50 << 20, size: Some(200 << 20), rate: 25 << 20 };
        Session { work: Some(work), ..session("6920a1b3-2", "alice", "busy") }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_what_matters_most_stays() {
        let names = [
            "short",
            "a/very/long/path/to/some/file/that/does/not/fit/anywhere.tar.gz",
            "写真/写真/写真/写真/写真/写真/写真.jpg",
        ];
        let mut sessions: Vec<_> = names.iter().map(|name| busy(name)).collect();
        sessions.push(session("6920a1b3-9", "", "login"));
        let status = status(sessions);
        for width in 1..200 {
            for line in page(&status, &averages(&status), width) {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
        let lines = |width| table(&status, &averages(&status), width).join("\n");
        for head in [
            "SESSION",
            "PID",
            "USER",
            "PEER",
            "AGE",
            "STATE",
            "DONE/SIZE",
            "RATE",
            "IDLE",
            "PATH",
            "25%",
            "50.0M/200M",
            "25.0M/s",
        ] {
            assert!(lines(usize::MAX).contains(head), "{head}");
        }
        for kept in ["PID", "USER", "STATE", "25%", "RATE", "IDLE", "PATH", "…", "UPLOAD", "login"] {
            assert!(lines(80).contains(kept), "{kept}: {}", lines(80));
        }
        for kept in ["PID", "alice", "UPLOAD", "25%", "25.0M/s"] {
            assert!(lines(40).contains(kept), "{kept}: {}", lines(40));
        }
    }

    #[test]
    fn who_does_something_comes_first_and_no_name_reaches_the_terminal_as_it_is() {
        let status = status(vec![
            session("6920a1b3-1", "idler", "idle"),
            session("6920a1b3-3", "", "login"),
            busy("evil\u{1b}[2J\u{202e}\n.txt"),
        ]);
        let lines = page(&status, &averages(&status), usize::MAX);
        let at = |text: &str| lines.iter().position(|line| line.contains(text)).unwrap();
        assert!(at("UPLOAD") < at("  login") && at("  login") < at("idler"));
        assert!(!lines.iter().any(|line| line.chars().any(crate::proto::unseen::is_unsafe)), "{lines:?}");
        assert!(lines[at("UPLOAD")].contains("evil\\u{1b}[2J\\u{202e}\\u{a}.txt"));
        assert!(lines.iter().any(|line| line.contains("2 turned away: 2 denied")), "{lines:?}");
    }
}
