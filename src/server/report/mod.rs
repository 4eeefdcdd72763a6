//! `dfos-forkd report`: tables, a web page and figures of what `--audit` wrote (docs/AUDIT.md).
//!
//! [`source`] reads the files in a thread of its own, [`mod@line`] understands a line, [`tally`] counts it, with [`top`], [`spread`],
//! [`course`] and [`slowest`], none of which grows with the number of lines; [`account`] is what follows from that, [`table`] and [`page`]
//! show it. Nothing here needs a server or its configuration: audits may be read where the operator likes.

pub mod account;
pub mod calendar;
pub mod course;
pub mod line;
pub mod page;
pub mod plots;
pub mod slowest;
pub mod source;
pub mod spread;
pub mod table;
pub mod tally;
pub mod top;
pub mod when;

use super::options::ReportOptions;
use crate::paper::whole::Paper;
use account::Account;
use line::Odd;
use source::{PIECES, Piece, Source};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{channel, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};
use tally::{Tally, Wanted};
use when::Zone;

/// Makes a report. It fails where a file could not be read to its end, after all the others have been told of.
pub fn run(options: &ReportOptions) -> Result<ExitCode, String> {
    let sources = source::sources(&options.audits)?;
    // Not after the work but before is the time to learn that its result cannot be written.
    let json = options.json.as_deref().filter(|path| path.as_os_str() != "-");
    let json = json.map(|path| paper(&sources, path)).transpose()?;
    let html = options.html.as_deref().map(|path| paper(&sources, path)).transpose()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
    let mut zone = Zone::new(options.utc);
    let wanted = Wanted {
        since: options.since.map(|moment| moment.resolve(now, &mut zone)),
        until: options.until.map(|moment| moment.resolve(now, &mut zone)),
        users: options.user.clone(),
    };
    let (tally, unread) = count(&sources, Tally::new(wanted, zone)?);
    let account = Account::new(tally, &sources, unread, now);
    match options.json.as_deref().is_some_and(|path| path.as_os_str() == "-") {
        true => print(&account.line())?,
        false => print(&table::table(&account, io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()))?,
    }
    for (paper, content) in [(json, Account::line as fn(&Account) -> String), (html, page::page)] {
        if let Some(paper) = paper {
            paper.publish(content(&account).as_bytes()).map_err(|why| why.to_string())?;
        }
    }
    for why in &account.unread {
        let _ = writeln!(io::stderr(), "dfos-forkd: {why}"); // nobody is left to tell
    }
    Ok(if account.unread.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A file for a result, which is none of those that are read.
fn paper(sources: &[Source], path: &Path) -> Result<Paper, String> {
    if source::any_is(sources, path) {
        let shown = crate::paper::escape::escape(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
        return Err(format!("{shown} is an audit that is to be read: name another file for the result"));
    }
    Paper::create(path).map_err(|why| why.to_string())
}

/// Counts all lines of all files; with them, what could not be read.
fn count(sources: &[Source], mut tally: Tally) -> (Tally, Vec<String>) {
    let mut unread = Vec::new();
    std::thread::scope(|scope| {
        let (to, pieces) = sync_channel(PIECES);
        let (back, spare) = channel();
        scope.spawn(move || source::read(sources, to, spare));
        for piece in pieces {
            match piece {
                Piece::Lines { file, first, bytes } => {
                    tally.lines(file, first, &bytes);
                    let _ = back.send(bytes); // at the end nobody wants it any more
                }
                Piece::TooLong { file, line } => tally.odd(Odd::TooLong, file, line),
                Piece::Trouble { file, why } => {
                    let name = sources.get(file).map_or("?", |source| &source.shown);
                    unread.push(format!("{name}: {why}"));
                }
            }
        }
    });
    (tally, unread)
}

/// Prints on standard output. One who reads no further, as head(1) does, has read enough.
fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot write the report: {why}")),
        _ => Ok(()),
    }
}
