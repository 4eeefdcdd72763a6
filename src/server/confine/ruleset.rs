//! Landlock (landlock(7)): files by where they are. What is not beneath the directory given cannot be opened, made, renamed or removed,
//! and beneath it no program is run. Privileged or not, and never to be undone.
//!
//! It does not govern the looking at a path, nor a change of mode, owner, times or attributes: the chroot and seccomp do.

use super::Access;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use std::io;
use std::os::fd::BorrowedFd;

/// The newest interface that this is written for. An older kernel gives what it has, but not less than [`LEAST`].
const NEWEST: ABI = ABI::V6;

/// What DFOS cannot do without: with the first interface no file could be renamed into another directory.
const LEAST: AccessFs = AccessFs::Refer;

/// Confines this process to what is beneath `root`.
pub fn confine(root: BorrowedFd, access: Access) -> io::Result<()> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(LEAST)
        .map(|ruleset| ruleset.set_compatibility(CompatLevel::BestEffort))
        .and_then(|ruleset| ruleset.handle_access(AccessFs::from_all(NEWEST)))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.add_rule(PathBeneath::new(root, rights(access))))
        .and_then(|ruleset| ruleset.restrict_self())
        .map_err(io::Error::other)?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err(io::ErrorKind::Unsupported.into()),
        _ => Ok(()),
    }
}

/// What a session does beneath its root. No program is run there, and no device is made. To rename a link, a pipe or a socket that the
/// operator has put there takes the right to make one (landlock(7)); that none is made is for seccomp to see to.
fn rights(access: Access) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let change = AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::MakeFifo
        | AccessFs::MakeSock
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    match access {
        Access::Full => read | change,
        Access::ReadOnly => read,
    }
}

/// Whether the root directory cannot be read any more.
pub fn holds() -> bool {
    std::fs::read_dir("/").is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// What the kernel's interface of this version leaves to seccomp alone.
pub fn gaps(version: i32) -> impl Iterator<Item = &'static str> {
    let since = [(3, "truncation"), (4, "TCP"), (6, "signals and abstract sockets")];
    since.into_iter().filter(move |(first, _)| version < *first).map(|(_, what)| what)
}

/// The version of the kernel's interface (landlock_create_ruleset(2)), `None` where there is none.
pub fn version() -> Option<i32> {
    crate::sys::landlock::version()
}
