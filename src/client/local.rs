//! The user's own machine as the shell shows it: `lcd`, `lls`, `lpwd`, and local names for completion and patterns.

use super::display::escape::escape;
use super::display::listing::{self, Listing};
use super::display::output::Output;
use super::failure::{Exit, Failure};
use super::glob::Name;
use crate::proto::answer::Entry;
use crate::proto::{EntryKind, Mtime, RemotePath};
use std::ffi::OsStr;
use std::fs::{DirEntry, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The names in a local directory, written as a pattern is (`""` for where one stands).
pub fn names_in(directory: &[u8]) -> Result<Vec<Name>, Failure> {
    let path = Path::new(OsStr::from_bytes(if directory.is_empty() { b"." } else { directory }));
    let entries = std::fs::read_dir(path).map_err(|error| cannot("read", path, &error))?;
    let named = |entry: DirEntry| (entry.file_name().into_vec(), entry.path().is_dir());
    Ok(entries.filter_map(|entry| entry.ok().map(named)).collect())
}

/// Changes the local directory; without a name to the user's home.
pub fn change_directory(to: Option<&[u8]>) -> Result<(), Failure> {
    let path = match to {
        Some(name) => PathBuf::from(OsStr::from_bytes(name)),
        None => {
            std::env::home_dir().ok_or_else(|| Failure::new(Exit::Local, "you have no home directory: name one"))?
        }
    };
    std::env::set_current_dir(&path).map_err(|error| cannot("change to", &path, &error))
}

/// Prints the local directory.
pub fn print_directory(output: &Output) -> Result<(), Failure> {
    let here = std::env::current_dir().map_err(|error| cannot("find", Path::new("."), &error))?;
    output.data(&[&output.name(here.as_os_str().as_bytes()), &b"\n"[..]].concat())
}

/// Lists a local directory, or tells about one file, as `ls` does for the server's.
pub fn list(output: &Output, name: Option<&[u8]>, long: bool) -> Result<(), Failure> {
    let path = Path::new(OsStr::from_bytes(name.unwrap_or(b".")));
    let meta = std::fs::symlink_metadata(path).map_err(|error| cannot("list", path, &error))?;
    if !path.is_dir() {
        return listing::row(output, long, &entry(RemotePath::root(), &meta), path.as_os_str().as_bytes());
    }
    let mut rows = Listing::new(output, long);
    for found in std::fs::read_dir(path).map_err(|error| cannot("list", path, &error))? {
        let Ok(found) = found else { continue };
        // One that has gone meanwhile, and the server's reserved name, which no path can hold, are not listed.
        if let (Ok(meta), Ok(name)) = (found.metadata(), RemotePath::from_bytes(found.file_name().as_bytes())) {
            rows.push(entry(name, &meta))?;
        }
    }
    rows.finish()
}

fn entry(path: RemotePath, meta: &Metadata) -> Entry {
    let kind = match meta.file_type() {
        of if of.is_dir() => EntryKind::Dir,
        of if of.is_file() => EntryKind::File,
        of if of.is_symlink() => EntryKind::Link,
        _ => EntryKind::Other,
    };
    Entry { kind, size: meta.size(), mtime: Mtime { seconds: meta.mtime(), nanos: meta.mtime_nsec() as u32 }, path }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Local, format!("cannot {what} {}: {error}", escape(path.as_os_str().as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::display::output::Volume;
    use crate::client::display::output::tests::kept;

    #[test]
    fn a_local_listing_looks_like_a_remote_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("b"), "12345").unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        let (output, out, _) = kept(false, Volume::Normal);
        list(&output, Some(dir.path().as_os_str().as_bytes()), false).unwrap();
        assert_eq!(out.text(), "a\nb\n");
        list(&output, Some(dir.path().join("b").as_os_str().as_bytes()), true).unwrap();
        assert!(out.text().contains("file               5 "), "{}", out.text());
        let mut names = names_in(dir.path().as_os_str().as_bytes()).unwrap();
        names.sort();
        assert_eq!(names, [(b"a".to_vec(), true), (b"b".to_vec(), false)]);
        assert_eq!(list(&output, Some(b"/no/such"), false).unwrap_err().exit, Exit::Local);
    }
}
