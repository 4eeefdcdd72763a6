//! The trash as users see it: `rm --trash`, and `trash` with what it can do.

pub mod options;
mod remote;

use self::options::{Restore, TrashCommand};
use super::consent::{agreed, nobody_to_ask};
use super::console::{Console, Named};
use super::display::escape::escape;
use super::display::json::Object;
use super::display::listing::utc;
use super::display::output::Output;
use super::each::each;
use super::failure::{Exit, Failure};
use super::names;
use super::remote::{Remote, Replace};
use crate::proto::{Code, RemotePath, TrashId, Trashed};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Things that are held to be sorted; more are printed as they come.
const HELD: usize = 10_000;
/// Ids that are told where a name could mean several.
const TOLD: usize = 5;

/// `trash list`, `trash restore`, `trash empty`.
pub fn trash(console: &mut Console, what: &TrashCommand) -> Result<(), Failure> {
    match what {
        TrashCommand::List { long } => list(console, *long),
        TrashCommand::Restore(options) => restore(console, options),
        TrashCommand::Empty { things, yes } => empty(console, things, *yes),
    }
}

/// How long the server keeps what `rm --trash` moves there. Nothing is deleted where there is no trash.
pub fn keeps(console: &mut Console) -> Result<Duration, Failure> {
    console.ask(|remote| Ok(remote.trash_keeps()))?.ok_or_else(|| {
        let text = "the server keeps no trash for you, and nothing was deleted; --no-trash deletes for good";
        Failure { code: Some(Code::Denied), ..Failure::new(Exit::Denied, text) }
    })
}

/// `rm --trash` for one thing, a directory as a whole. Nobody is asked: what goes can be had back.
pub fn move_there(console: &mut Console, name: &Named, recursive: bool) -> Result<(), Failure> {
    let mut id = None;
    console.ask_to_remove(|remote| {
        id = Some(match remote.delete_to_trash(&name.path) {
            Err(failure) if failure.code == Some(Code::IsDirectory) && recursive => {
                remote.rmdir_to_trash(&name.path)?
            }
            Err(failure) if failure.code == Some(Code::IsDirectory) => {
                let shown = escape(name.shown.as_bytes());
                let text = format!("{shown} is a directory: move it to the trash with rm -r --trash");
                return Err(Failure { text, ..failure });
            }
            other => other?,
        });
        Ok(())
    })?;
    console.summary.deleted += 1;
    let told = id.map_or(String::new(), |id| format!(" as {id}"));
    console.output.detail(&format!("{} is in the trash{told}", escape(name.shown.as_bytes())));
    let mut object = Object::new("trashed").path(name.shown.as_bytes());
    object.id = id.map(|id| id.to_string());
    console.output.object(&object)
}

/// Says what becomes of what is in the trash now.
pub fn told(output: &Output, keeps: Duration) {
    let text = format!("kept in the trash for {}, where it counts in your quota", span(keeps));
    output.note(&format!("{text}; 'trash empty' frees the space"));
}

/// A time to keep things, in the largest unit that it is a whole number of.
fn span(time: Duration) -> String {
    let hours = time.as_secs() / 3600;
    let (number, unit) = if hours.is_multiple_of(24) { (hours / 24, "day") } else { (hours, "hour") };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

fn list(console: &mut Console, long: bool) -> Result<(), Failure> {
    let keeps = console.ask_and_print(|remote, output| {
        let (mut held, mut streaming) = (Vec::new(), false);
        let listed = remote.trash_list(&mut |row| {
            if streaming {
                return print(output, long, &row);
            }
            held.push(row);
            if held.len() >= HELD {
                streaming = true;
                return held.drain(..).try_for_each(|row| print(output, long, &row));
            }
            Ok(())
        });
        // Rows that stand on the screen cannot be taken back.
        listed.map_err(|failure| Failure { retry: failure.retry && !streaming, ..failure })?;
        held.sort_unstable_by_key(|row| row.id);
        let any = streaming || !held.is_empty();
        held.iter().try_for_each(|row| print(output, long, row))?;
        Ok(any || remote.trash_keeps().is_some())
    })?;
    if !keeps {
        console.output.note("the server keeps no trash for you");
    }
    Ok(())
}

fn print(output: &Output, long: bool, row: &Trashed) -> Result<(), Failure> {
    if output.json {
        let mut object = Object::new("trash").path(row.path.as_bytes());
        (object.id, object.kind) = (Some(row.id.to_string()), Some(row.kind.as_str()));
        (object.bytes, object.deleted_at) = (Some(row.size), Some(row.deleted.to_string()));
        return output.object(&object);
    }
    let mut line = format!("{} ", row.id);
    if long {
        line += &format!("{:<5} {:>14} {} ", row.kind.as_str(), row.size, utc(row.deleted));
    }
    output.data(&[line.as_bytes(), &output.name(row.path.as_bytes()), b"\n"].concat())
}

/// What one word of the user's means in the trash.
struct Sought {
    word: OsString,
    id: Option<TrashId>,
    path: RemotePath,
    /// The thing with that id.
    by_id: Option<Trashed>,
    /// The first few things that had that path.
    by_path: Vec<Trashed>,
    /// All of them.
    count: usize,
}

impl Sought {
    fn look_at(&mut self, row: &Trashed) {
        if self.id == Some(row.id) {
            self.by_id = Some(row.clone());
        }
        if self.path == row.path {
            self.count += 1;
            if self.by_path.len() < TOLD {
                self.by_path.push(row.clone());
            }
        }
    }

    /// The one thing that is meant: an id is one before it is a name.
    fn found(mut self) -> Result<Trashed, Failure> {
        if let Some(row) = self.by_id {
            return Ok(row);
        }
        let shown = escape(self.word.as_bytes());
        if self.count > 1 {
            let mut ids: Vec<_> =
                self.by_path.iter().map(|row| format!("{} of {}", row.id, utc(row.deleted))).collect();
            ids.extend((self.count > TOLD).then(|| "…".to_owned()));
            let text = format!("{shown} was deleted {} times; name one by its id: {}", self.count, ids.join(", "));
            return Err(Failure::new(Exit::Conflict, text));
        }
        let text = format!("there is no {shown} in the trash; 'trash list' tells what is");
        self.by_path.pop().ok_or(Failure { code: Some(Code::NotFound), ..Failure::new(Exit::NotFound, text) })
    }
}

/// What the words mean, each by itself, after one look at the whole trash.
fn find(console: &mut Console, words: &[OsString]) -> Result<Vec<Result<Trashed, Failure>>, Failure> {
    let sought = words.iter().map(|word| {
        let named = console.named(word)?;
        let id = named.shown.to_str().and_then(|word| word.parse().ok());
        Ok(Sought { word: named.shown, id, path: named.path, by_id: None, by_path: Vec::new(), count: 0 })
    });
    let mut sought = sought.collect::<Result<Vec<_>, Failure>>()?;
    console.ask(|remote| {
        for one in &mut sought {
            (one.by_id, one.count) = (None, 0);
            one.by_path.clear();
        }
        remote.trash_list(&mut |row| {
            sought.iter_mut().for_each(|one| one.look_at(&row));
            Ok(())
        })
    })?;
    Ok(sought.into_iter().map(Sought::found).collect())
}

fn restore(console: &mut Console, options: &Restore) -> Result<(), Failure> {
    let found = find(console, &options.things)?;
    let into = match &options.to {
        None => None,
        Some(word) => {
            let to = console.named(word)?;
            let is_dir = names::means_directory(&to.shown) || console.is_directory(&to)?;
            if !is_dir && options.things.len() > 1 {
                let text = "several things need a directory: --to REMOTE/";
                return Err(Failure::new(Exit::Usage, text));
            }
            Some((to, is_dir))
        }
    };
    let replace = if options.force { Replace::Replace } else { Replace::Keep };
    each(console, found, |console, found| {
        let row = found?;
        let target = match &into {
            None => row.path.clone(),
            Some((to, false)) => to.path.clone(),
            Some((to, true)) => {
                let name = row.path.name().unwrap_or_default();
                to.path.join(name).map_err(|why| names::bad_name(to.shown.as_bytes(), &why))?
            }
        };
        let is_back = |remote: &mut Remote| Ok(remote.stat(&target).is_ok());
        match console.ask_to_change(|remote| remote.restore(&row.id, &target, replace), is_back) {
            Err(failure) if failure.code == Some(Code::Exists) => {
                let shown = escape(target.as_bytes());
                let text = format!("{shown} exists; --to gives another name, and -f replaces a file");
                return Err(Failure { text, ..failure });
            }
            result => result?,
        }
        console.output.detail(&format!("restored {}", escape(target.as_bytes())));
        let mut object = Object::new("restored").path(target.as_bytes());
        object.id = Some(row.id.to_string());
        console.output.object(&object)
    })
}

fn empty(console: &mut Console, things: &[OsString], yes: bool) -> Result<(), Failure> {
    if !yes {
        if nobody_to_ask(console) {
            let text = "'trash empty' deletes for good, and nobody can be asked here: say --yes";
            return Err(Failure::new(Exit::Usage, text));
        }
        let what = if things.is_empty() {
            "all that is in the trash".into()
        } else {
            format!("{} of the trash", things.len())
        };
        if !agreed(&format!("delete {what} for good? [y/N] "))? {
            return Err(Failure::new(Exit::Other, "the trash stays as it is"));
        }
    }
    if things.is_empty() {
        return erase(console, None);
    }
    let found = find(console, things)?;
    each(console, found, |console, row| erase(console, Some(&row?)))
}

fn erase(console: &mut Console, row: Option<&Trashed>) -> Result<(), Failure> {
    let mut entries = 0;
    let work = |remote: &mut Remote| remote.empty_trash(row.map(|row| &row.id)).map(|count| entries = count);
    console.ask_to_remove(work)?;
    let mut object = Object::new("emptied");
    if let Some(row) = row {
        object = object.path(row.path.as_bytes());
        object.id = Some(row.id.to_string());
    }
    object.files = Some(entries);
    console.output.detail(&format!("{entries} deleted for good"));
    console.output.object(&object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{EntryKind, Mtime};

    fn row(n: u8, path: &str) -> Trashed {
        let id = TrashId { seconds: 1_700_000_000 + u64::from(n), random: [n; 8] };
        let deleted = Mtime { seconds: 1_700_000_000, nanos: 0 };
        Trashed { id, kind: EntryKind::File, size: 1, deleted, path: path.parse().unwrap() }
    }

    fn meant(word: &str, rows: &[Trashed]) -> Result<Trashed, Failure> {
        let path = word.parse().unwrap();
        let mut sought =
            Sought { word: word.into(), id: word.parse().ok(), path, by_id: None, by_path: Vec::new(), count: 0 };
        rows.iter().for_each(|row| sought.look_at(row));
        sought.found()
    }

    #[test]
    fn a_name_means_a_thing_where_it_is_the_only_one_and_an_id_always() {
        let once = row(1, "a/b");
        let named_like_an_id = row(9, &once.id.to_string());
        let mut rows = vec![once.clone(), named_like_an_id];
        rows.extend((2..9).map(|n| row(n, "often")));
        assert_eq!(meant("a/b", &rows), Ok(once.clone()));
        assert_eq!(meant(&once.id.to_string(), &rows), Ok(once));
        assert_eq!(meant(&rows[4].id.to_string(), &rows), Ok(rows[4].clone()));
        assert_eq!(meant("b", &rows).unwrap_err().exit, Exit::NotFound);
        let several = meant("often", &rows).unwrap_err();
        assert_eq!(several.exit, Exit::Conflict);
        assert!(several.text.contains("7 times") && several.text.contains(&rows[2].id.to_string()), "{several}");
        assert!(several.text.ends_with('…') && !several.text.contains(&rows[8].id.to_string()), "{several}");
    }

    #[test]
    fn a_time_is_told_in_days_or_hours() {
        let told = |hours: u64| span(Duration::from_secs(hours * 3600));
        assert_eq!(
            [told(1), told(12), told(24), told(25), told(720)],
            ["1 hour", "12 hours", "1 day", "25 hours", "30 days"]
        );
    }
}
