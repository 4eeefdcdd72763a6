//! Emptying the trash: one thing, all of it, or what is over its time.

use super::{Note, going, note, now, unknown};
use crate::proto::{EntryKind, TrashId, limits};
use crate::store::meta::meta_at;
use crate::store::names::flush;
use crate::store::remove::empty;
use crate::store::walk::Walk;
use crate::store::{Pulse, Result, Tree, Trouble, Weight, beneath};
use crate::sys::dirent::DirStream;
use nix::errno::Errno;
use nix::fcntl::renameat;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// Somebody who waits only for a while.
struct Hurried<'a> {
    pulse: &'a mut dyn Pulse,
    until: Instant,
}

impl Pulse for Hurried<'_> {
    fn beat(&mut self) -> bool {
        self.pulse.beat() && Instant::now() < self.until
    }
}

impl Tree {
    /// Deletes for good what is called `id`, or all that is in the trash; how many things went.
    pub fn empty_trash(&mut self, id: Option<&TrashId>, pulse: &mut dyn Pulse) -> Result<u64> {
        let Some(notes) = self.notes(false)? else { return if id.is_some() { Err(unknown()) } else { Ok(0) } };
        let (epoch, mut freed) = (self.account_epoch(), Weight::NONE);
        let emptied = match id {
            Some(id) if self.is_over(id) => Err(unknown()),
            Some(id) => self.erase(&notes, id, &mut freed, pulse).and_then(|any| any.then_some(1).ok_or_else(unknown)),
            None => self.erase_all(&notes, |_| true, &mut freed, pulse),
        };
        self.refund_since(epoch, freed, pulse);
        let emptied = emptied?;
        flush(&[notes.as_fd()], pulse)?;
        Ok(emptied)
    }

    /// Removes what is over its time, and what emptying that was broken off has left: as much as can be done in a moment, which is
    /// forgotten by nobody; the next session goes on. Nothing is flushed: what a crash brings back is swept again.
    pub(crate) fn sweep_trash(&mut self, pulse: &mut dyn Pulse) -> Result<()> {
        let Some(notes) = self.notes(false)? else { return Ok(()) };
        let (epoch, mut freed) = (self.account_epoch(), Weight::NONE);
        let mut hurried = Hurried { pulse, until: Instant::now() + limits::TRASH_SWEEP };
        let swept = self.erase_all(&notes, |name| self.is_due(name), &mut freed, &mut hurried);
        self.refund_since(epoch, freed, pulse);
        swept.map(drop)
    }

    /// Whether a name in the trash is to be swept.
    fn is_due(&self, name: &[u8]) -> bool {
        name.ends_with(b".gone") || id_of(name).is_some_and(|id| self.is_over(&id))
    }

    /// Removes all things with a name that `go` chooses. One that cannot be removed does not keep the others.
    fn erase_all(
        &self,
        notes: &OwnedFd,
        go: impl Fn(&[u8]) -> bool,
        freed: &mut Weight,
        pulse: &mut dyn Pulse,
    ) -> Result<u64> {
        let mut stream = DirStream::new(beneath::open_dir(notes, b".")?);
        let (mut name, mut count, mut first) = (Vec::new(), 0, Ok(()));
        while stream.next(&mut name)?.is_some() {
            pulse.check()?;
            let Some(id) = id_of(&name).filter(|_| go(&name)) else { continue };
            match self.erase(notes, &id, freed, pulse) {
                Ok(any) => count += u64::from(any),
                Err(Trouble::Interrupted) => return Err(Trouble::Interrupted),
                Err(why) => first = first.and(Err(why)),
            }
        }
        first.map(|()| count)
    }

    /// Removes one thing with its note; whether there was anything. The note of a thing on a mount that is away stays, and so does one
    /// that may still wait for its thing.
    fn erase(&self, notes: &OwnedFd, id: &TrashId, freed: &mut Weight, pulse: &mut dyn Pulse) -> Result<bool> {
        let other = match note::read(notes, id)? {
            Some(Note { top, .. }) if !top.is_root() => match self.other_bin(&top) {
                Ok(bin) => bin,
                Err(_) => return Ok(false),
            },
            _ => None,
        };
        let went = remove(other.as_ref().unwrap_or(notes).as_fd(), id, freed, pulse)?;
        if let Some(bin) = &other {
            flush(&[bin.as_fd()], pulse)?;
        }
        if went || now().saturating_sub(id.seconds) >= limits::TRASH_LEAST {
            note::remove(notes, id);
        }
        Ok(went)
    }
}

/// The id of a thing that a name in the trash belongs to.
fn id_of(name: &[u8]) -> Option<TrashId> {
    let name = std::str::from_utf8(name).ok()?;
    name.split_once('.').map_or(name, |(id, _)| id).parse().ok()
}

/// Removes a thing from the trash of its mount; whether it was there. A directory gets another name first: else another session could
/// give it back while it loses what is in it.
fn remove(bin: BorrowedFd, id: &TrashId, freed: &mut Weight, pulse: &mut dyn Pulse) -> Result<bool> {
    let (name, going) = (id.to_string(), going(id));
    match meta_at(bin, name.as_bytes()) {
        Ok(meta) if meta.kind != EntryKind::Dir => {
            return match unlinkat(bin, name.as_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) => {
                    *freed += meta.weight();
                    Ok(true)
                }
                Err(Errno::ENOENT) => Ok(false), // given back that moment
                Err(why) => Err(why.into()),
            };
        }
        Ok(_) => match renameat(bin, name.as_str(), bin, going.as_str()) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(why) => return Err(why.into()),
        },
        Err(Errno::ENOENT) => {}
        Err(why) => return Err(why.into()),
    }
    let dir = match beneath::open_dir(bin, going.as_bytes()) {
        Err(Errno::ENOENT) => return Ok(false),
        other => other?,
    };
    let mut take = |dir: BorrowedFd, name: &[u8], what, _: &mut dyn Pulse| {
        let weight = meta_at(dir, name)?.weight(); // nobody replaces anything here
        unlinkat(dir, name, what)?;
        *freed += weight;
        Ok(())
    };
    empty(Walk::new(dir)?, &mut 0, &mut take, pulse)?;
    match unlinkat(bin, going.as_str(), UnlinkatFlags::RemoveDir) {
        Ok(()) => *freed += Weight::one(0),
        Err(Errno::ENOENT) => {} // another session was at it too
        Err(why) => return Err(why.into()),
    }
    Ok(true)
}
