//! Notes: where each thing in the trash was. A note is a small file beside the things, written once.
//!
//! It says `dfos-trash-1 PATH TOP`, both as the protocol writes paths: where the thing was, and the directory at whose top the mount
//! begins that it lies on (`.` for the user's own).

use super::now;
use crate::proto::{Code, RemotePath, TrashId, limits};
use crate::store::order::fsync_dir;
use crate::store::pulse::patiently;
use crate::store::{Pulse, Result, Trouble, beneath};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

/// How a note begins. One of another version is one that cannot be read.
const VERSION: &str = "dfos-trash-1";
/// What the name of a note has behind the id.
const SUFFIX: &str = ".note";
/// Bytes of a note, at most: two paths, each byte three when encoded, and the words around them.
const LARGEST: u64 = 6 * limits::PATH as u64 + 64;

/// What is known of a thing in the trash beside the thing itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// Where it was.
    pub path: RemotePath,
    /// The top of the mount on which it lies.
    pub top: RemotePath,
}

/// The id that a name in the trash is the note of.
pub(super) fn is_of(name: &[u8]) -> Option<TrashId> {
    std::str::from_utf8(name).ok()?.strip_suffix(SUFFIX)?.parse().ok()
}

fn name(id: &TrashId) -> String {
    format!("{id}{SUFFIX}")
}

/// Writes a note, durably, under a new id of this moment.
pub(super) fn write(notes: &OwnedFd, note: &Note, pulse: &mut dyn Pulse) -> Result<TrashId> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY;
    let (id, mut file) = loop {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|_| Trouble::of(Code::Internal))?;
        let id = TrashId { seconds: now(), random };
        match beneath::open(notes, name(&id).as_bytes(), flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Err(Errno::EEXIST) => {}
            other => break (id, File::from(other?)),
        }
    };
    let text = format!("{VERSION} {} {}\n", note.path, note.top);
    let written = file.write_all(text.as_bytes());
    let flushed = written.and_then(|()| patiently(pulse, || file.sync_all().and(fsync_dir(notes).map_err(Into::into))));
    flushed.inspect_err(|_| remove(notes, &id))?; // nothing has been moved yet
    Ok(id)
}

/// The note of `id`; `None` if there is none, or none that can be read.
pub(super) fn read(notes: &OwnedFd, id: &TrashId) -> Result<Option<Note>> {
    let file = match beneath::open(notes, name(id).as_bytes(), OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(None),
        other => File::from(other?),
    };
    let mut text = String::new();
    match file.take(LARGEST).read_to_string(&mut text) {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => return Ok(None),
        other => other?,
    };
    Ok(parse(&text))
}

fn parse(text: &str) -> Option<Note> {
    let mut words = text.strip_suffix('\n')?.split(' ');
    (words.next()? == VERSION).then_some(())?;
    let note = Note { path: words.next()?.parse().ok()?, top: words.next()?.parse().ok()? };
    words.next().is_none().then_some(note)
}

/// Removes the note of `id`. One that stays tells of nothing, and is swept in time.
pub(super) fn remove(notes: &OwnedFd, id: &TrashId) {
    let _ = unlinkat(notes, name(id).as_str(), UnlinkatFlags::NoRemoveDir);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Patient;

    #[test]
    fn a_note_of_the_longest_and_strangest_path_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let fd: OwnedFd = File::open(dir.path()).unwrap().into();
        let mut long: Vec<u8> = [&[0xff; 255], &b"/"[..]].concat().repeat(16);
        long.truncate(limits::PATH);
        for path in [&long[..], b"a b\n%41", b"\x01", b"dfos-trash-1", b"x"] {
            let path = RemotePath::from_bytes(path).unwrap();
            let note = Note { path: path.clone(), top: path };
            let id = write(&fd, &note, &mut Patient).unwrap();
            assert_eq!(read(&fd, &id).unwrap(), Some(note));
            remove(&fd, &id);
            assert_eq!(read(&fd, &id).unwrap(), None);
        }
    }

    #[test]
    fn what_is_no_note_is_none() {
        for text in [
            "",
            "dfos-trash-1 a .",
            "dfos-trash-2 a .\n",
            "dfos-trash-1 a\n",
            "dfos-trash-1 a . b\n",
            "dfos-trash-1 ../a .\n",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert!(is_of(b"1-0102030405060708.note").is_some());
        for name in [&b"1-0102030405060708"[..], b".note", b"x.note", b"\xff.note", b"1-0102030405060708.gone"] {
            assert_eq!(is_of(name), None);
        }
    }
}
