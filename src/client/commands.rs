//! The commands as users type them, each a few requests; `put` and `get` are handed on to the transfers.

use super::bench;
use super::cli::{self, Command, Ls, Mkdir, Mv, Subfolder, View};
use super::console::{Console, Named};
use super::display::escape::escape;
use super::display::hexdump;
use super::display::json::Object;
use super::display::listing::{self, Listing};
use super::display::output::Output;
use super::display::progress::Totals;
use super::each::each;
use super::failure::{Exit, Failure};
use super::keys;
use super::moving;
use super::names;
use super::passwd;
use super::remote::{Parents, Recursion, Remote, Replace, Stat};
use super::removing;
use super::trash;
use crate::paper::units::human;
use crate::paper::wrap;
use crate::proto::answer::Entry;
use crate::proto::{Code, EntryKind, RemotePath};
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// Runs one command, prints what goes wrong, and tells how it ended.
pub fn perform(console: &mut Console, command: Command) -> Exit {
    console.output.out_carries_a_file(false);
    let result = run(console, command);
    ended(&console.output, result, console.moved.take())
}

/// The end of a command: its error if it has one, and for programs a last object with its exit status and what it moved.
pub fn ended(output: &Output, result: Result<(), Failure>, moved: Option<(Totals, Duration)>) -> Exit {
    let result = result.and_then(|()| output.flush());
    let exit = result.as_ref().err().map_or(Exit::Ok, |failure| failure.exit);
    if let Err(failure) = result {
        output.error(&failure);
    }
    let mut object = Object::new("end");
    if let Some((totals, took)) = moved {
        object = object.took(took, Some(totals.moved));
        (object.files, object.failed, object.planned) = (Some(totals.files), Some(totals.failed), Some(totals.planned));
        (object.bytes, object.moved, object.skipped) = (Some(totals.bytes), Some(totals.moved), Some(totals.kept));
    }
    object.exit = Some(exit as u8);
    // Nobody is left to tell that nobody is left to tell.
    let _ = output.object(&object).and_then(|()| output.flush());
    exit
}

fn run(console: &mut Console, command: Command) -> Result<(), Failure> {
    match command {
        Command::Put(options) => moving::upload(console, &options),
        Command::Get(options) => moving::download(console, &options),
        Command::View(options) => view(console, &options),
        Command::Ls(options) => ls(console, &options),
        Command::Rm(options) => removing::rm(console, &options),
        Command::Trash { what } => trash::trash(console, &what),
        Command::Mkdir(options) => mkdir(console, &options),
        Command::Rmdir(names) => rmdir(console, &names.remote),
        Command::Mv(options) => mv(console, &options),
        Command::Stat(names) => stat(console, &names.remote),
        Command::Digest(names) => digest(console, &names.remote),
        Command::Quota => quota(console),
        Command::Passwd(options) => passwd::passwd(console, &options),
        Command::Ping => ping(console),
        Command::Bench(options) => bench::bench(console, &options),
        Command::Subfolder { what: Subfolder::Create { name } } => {
            mkdir(console, &Mkdir { remote: vec![name], parents: false })
        }
        Command::Subfolder { what: Subfolder::Delete { name, yes } } => {
            let name = console.named(&name)?;
            removing::directory(console, &name, yes)
        }
        Command::Logout => log_out(console),
        Command::Known => keys::list(&console.output, console.target.trusted.known()),
        Command::Forget { url } => keys::forget(&console.output, console.target.trusted.known(), &url),
        Command::Help { command } => {
            let text = help(cli::command(), command.as_deref())?;
            console.output.data(wrap::fit(&text, std::io::stdout().as_fd()).as_bytes())
        }
        Command::About(_) => Err(Failure::new(Exit::Usage, "this is a command of the command line, not of the shell")),
        Command::Shell => Err(Failure::new(Exit::Usage, "this is the shell already")),
    }
}

/// The help of one command, or of all.
pub fn help(mut all: clap::Command, command: Option<&str>) -> Result<String, Failure> {
    all.build();
    let Some(name) = command else { return Ok(all.render_long_help().to_string()) };
    match all.find_subcommand_mut(name) {
        Some(found) => Ok(found.render_long_help().to_string()),
        None => Err(Failure::new(Exit::Usage, format!("there is no command '{}'; try help", escape(name.as_bytes())))),
    }
}

fn view(console: &mut Console, options: &View) -> Result<(), Failure> {
    let named = console.all_named(&options.remote)?;
    let several = named.len() > 1;
    each(console, named, |console, name| {
        let bytes = console.ask(|remote| remote.view(&name.path, options.offset, options.length))?;
        let output = &console.output;
        if output.json {
            let mut object = Object::new("view").path(name.shown.as_bytes()).data(&bytes);
            object.offset = Some(options.offset);
            return output.object(&object);
        }
        if !output.out_is_terminal {
            return output.data(&bytes);
        }
        if several {
            output.line(&format!("==> {} <==", name.escaped()))?;
        }
        output.data(hexdump::preview(&bytes, options.offset).as_bytes())
    })
}

fn ls(console: &mut Console, options: &Ls) -> Result<(), Failure> {
    if options.remote.is_empty() {
        let here = console.named(OsStr::new("."))?;
        return list(console, &here, options);
    }
    let named = console.all_named(&options.remote)?;
    match named.as_slice() {
        [one] => list(console, one, options),
        _ => list_several(console, named, options),
    }
}

/// Files first, then each directory under its name.
fn list_several(console: &mut Console, named: Vec<Named>, options: &Ls) -> Result<(), Failure> {
    let paths: Vec<RemotePath> = named.iter().map(|name| name.path.clone()).collect();
    let stats = console.ask(|remote| remote.stat_all(&paths))?;
    let is_directory = |stat: &Result<Stat, Failure>| stat.as_ref().is_ok_and(|stat| stat.kind == EntryKind::Dir);
    let (directories, others): (Vec<_>, Vec<_>) =
        named.into_iter().zip(stats).partition(|(_, stat)| is_directory(stat));
    let mut gap = if others.is_empty() { "" } else { "\n" };
    each(console, others.into_iter().chain(directories).collect(), |console, (name, stat)| {
        let stat = stat?;
        if stat.kind != EntryKind::Dir {
            return list_one(&console.output, &name, stat, options);
        }
        if !console.output.json {
            let shown = console.output.name(name.shown.as_bytes());
            console.output.data(&[gap.as_bytes(), &shown, b":\n"].concat())?;
            gap = "\n";
        }
        list(console, &name, options)
    })
}

/// Lists a directory, or tells about one file.
fn list(console: &mut Console, name: &Named, options: &Ls) -> Result<(), Failure> {
    let recursion = if options.recursive { Recursion::Recursive } else { Recursion::Flat };
    let result = console.ask_and_print(|remote, output| {
        let mut rows = Listing::new(output, options.long);
        let mut told = false;
        let listed = remote.list(&name.path, recursion, &mut |entry| {
            if !options.filters.0.reaches(&entry.path, entry.kind == EntryKind::Dir) {
                return Ok(());
            }
            told = true;
            rows.push(entry)
        });
        // Rows that stand on the screen cannot be taken back: the listing is not begun again.
        let listed = listed.map_err(|failure| Failure { retry: failure.retry && !told, ..failure })?;
        rows.finish()?;
        Ok(listed)
    });
    match result {
        Err(failure) if failure.code == Some(Code::NotDirectory) => {
            let stat = console.ask(|remote| remote.stat(&name.path))?;
            list_one(&console.output, name, stat, options)
        }
        Err(failure) => Err(failure),
        Ok(listed) if listed.skipped > 0 => {
            let text = format!("{} directories could not be read by the server", listed.skipped);
            Err(Failure::new(Exit::Partial, text))
        }
        Ok(_) => Ok(()),
    }
}

fn list_one(output: &Output, name: &Named, stat: Stat, options: &Ls) -> Result<(), Failure> {
    let entry = Entry { kind: stat.kind, size: stat.size, mtime: stat.mtime, path: name.path.clone() };
    listing::row(output, options.long, &entry, name.shown.as_bytes())
}

fn mkdir(console: &mut Console, options: &Mkdir) -> Result<(), Failure> {
    let parents = if options.parents { Parents::Make } else { Parents::Existing };
    each(console, options.remote.clone(), |console, word| {
        let name = console.named(&word)?;
        let is_there = |remote: &mut Remote| Ok(remote.stat(&name.path)?.kind == EntryKind::Dir);
        let made = console.ask_to_change(|remote| remote.mkdir(&name.path, parents), is_there);
        made.map_err(|failure| names::not_made(&name.path, failure))?;
        done(&console.output, "created", &name)
    })
}

fn rmdir(console: &mut Console, words: &[OsString]) -> Result<(), Failure> {
    let named = console.all_named(words)?;
    each(console, named, |console, name| {
        console.ask_to_remove(|remote| remote.rmdir(&name.path, Recursion::Flat).map(drop))?;
        done(&console.output, "removed", &name)
    })
}

fn mv(console: &mut Console, options: &Mv) -> Result<(), Failure> {
    let (from, to) = (console.named(&options.from)?, console.named(&options.to)?);
    let replace = if options.force { Replace::Replace } else { Replace::Keep };
    let mut target = to.path.clone();
    if names::means_directory(&to.shown) || console.is_directory(&to)? {
        let name = from.path.name().unwrap_or_default();
        target = target.join(name).map_err(|why| names::bad_name(to.shown.as_bytes(), &why))?;
    }
    let has_moved = |remote: &mut Remote| {
        let gone = remote.stat(&from.path).is_err_and(|failure| failure.code == Some(Code::NotFound));
        Ok(gone && remote.stat(&target).is_ok())
    };
    match console.ask_to_change(|remote| remote.rename(&from.path, &target, replace), has_moved) {
        Err(failure) if failure.code == Some(Code::Exists) => {
            let text = format!("{} exists; mv -f replaces a file", escape(target.as_bytes()));
            return Err(Failure { text, ..failure });
        }
        result => result?,
    }
    done(&console.output, "renamed", &from)
}

/// A change that has no figures: only a program or a curious user is told.
fn done(output: &Output, event: &'static str, name: &Named) -> Result<(), Failure> {
    output.detail(&format!("{event} {}", name.escaped()));
    output.object(&Object::new(event).path(name.shown.as_bytes()))
}

fn stat(console: &mut Console, words: &[OsString]) -> Result<(), Failure> {
    let named = console.all_named(words)?;
    each(console, named, |console, name| {
        let stat = console.ask(|remote| remote.stat(&name.path))?;
        let (output, shown) = (&console.output, name.shown.as_bytes());
        if output.json {
            let mut object = Object::new("stat").path(shown).digest(stat.digest);
            object.kind = Some(stat.kind.as_str());
            (object.bytes, object.mtime) = (Some(stat.size), Some(stat.mtime.to_string()));
            return output.object(&object);
        }
        output.data(&[b"name    ", &*output.name(shown), b"\n"].concat())?;
        output.line(&format!("type    {}", stat.kind.as_str()))?;
        output.line(&format!("size    {}", size(output, stat.size)))?;
        output.line(&format!("time    {}", listing::utc(stat.mtime)))?;
        match stat.digest {
            Some(digest) => output.line(&format!("sha256  {digest}")),
            None => Ok(()),
        }
    })
}

fn digest(console: &mut Console, words: &[OsString]) -> Result<(), Failure> {
    let named = console.all_named(words)?;
    each(console, named, |console, name| {
        let (size, digest) = console.ask(|remote| remote.digest(&name.path))?;
        let (output, shown) = (&console.output, name.shown.as_bytes());
        if output.json {
            let mut object = Object::new("digest").path(shown).digest(Some(digest));
            object.bytes = Some(size);
            return output.object(&object);
        }
        match output.out_is_terminal {
            true => output.line(&format!("{digest}  {}", escape(shown))),
            false => output.data(&listing::checksum_line(&digest.to_string(), shown)),
        }
    })
}

fn quota(console: &mut Console) -> Result<(), Failure> {
    let quota = console.ask(|remote| remote.quota())?;
    let output = &console.output;
    if output.json {
        let mut object = Object::new("quota");
        (object.used, object.limit, object.free) = (Some(quota.used), quota.limit, Some(quota.free));
        (object.files, object.files_limit) = (quota.files, quota.files_limit);
        return output.object(&object);
    }
    output.line(&format!("used   {}", size(output, quota.used)))?;
    output.line(&format!("limit  {}", quota.limit.map_or("none".to_owned(), |limit| size(output, limit))))?;
    output.line(&format!("free   {} on the disk", size(output, quota.free)))?;
    if let Some(limit) = quota.limit {
        let left = limit.saturating_sub(quota.used).min(quota.free);
        output.line(&format!("left   {}", size(output, left)))?;
    }
    let Some(files) = quota.files else { return Ok(()) };
    let limit = quota.files_limit.map_or("no limit".to_owned(), |limit| format!("limit {limit}"));
    output.line(&format!("files  {files} files and directories, {limit}"))
}

/// A size: for people also rounded, for a pipe the number alone.
fn size(output: &Output, bytes: u64) -> String {
    if output.out_is_terminal { format!("{} ({bytes} bytes)", human(bytes)) } else { bytes.to_string() }
}

fn ping(console: &mut Console) -> Result<(), Failure> {
    console.ask(|_| Ok(()))?; // connecting and logging in are not part of the round trip
    let took = console.ask(|remote| {
        let begun = Instant::now();
        remote.ping().map(|_| begun.elapsed())
    })?;
    let output = &console.output;
    match output.json {
        true => output.object(&Object::new("pong").took(took, None)),
        false => output.line(&format!("pong from {} in {:.3} ms", console.target.address, took.as_secs_f64() * 1e3)),
    }
}

fn log_out(console: &mut Console) -> Result<(), Failure> {
    console.ask(|_| Ok(()))?;
    console.log_out();
    console.output.note("bye");
    Ok(())
}
