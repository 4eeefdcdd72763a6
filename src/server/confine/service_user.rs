//! Who the server is: started as root it leaves root for good, before it meets a client. What it keeps is the right to chroot, which
//! each session uses once and gives up.
//!
//! A name that cannot be looked up is a refusal to start, never user id 0; and the groups are the user's own, never those of the one
//! who started the server.

use super::{chroot, process};
use crate::sys::credentials::lock_securebits;
use caps::CapSet;
use nix::unistd::{
    Gid, Uid, User, fchown, geteuid, getgrouplist, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid,
};
use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Whom a server that makes its own storage runs as, if nobody says: the first of these that the machine has.
const DEFAULTS: [&str; 2] = ["dfos", "nobody"];

/// A user of the machine to run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUser {
    /// The name, or the number where there is no name.
    pub name: String,
    /// The user id.
    pub uid: Uid,
    /// The group of that user.
    pub gid: Gid,
    groups: Vec<Gid>,
}

/// Whom to run as: `asked` (`--run-as`), or the owner of the storage directory `path`; `owner` is `None` where this start makes it, to
/// be given to the service user. `None` where the server was not started as root and stays who it is.
pub fn choose(asked: Option<&str>, path: &Path, owner: Option<Uid>) -> Result<Option<ServiceUser>, String> {
    if !geteuid().is_root() {
        return match asked.map(find).transpose()? {
            Some(user) if user.uid != geteuid() => {
                Err(format!("only root can run the server as {user}: start it as root, or leave --run-as out"))
            }
            _ => Ok(None),
        };
    }
    let user = match (asked, owner) {
        (Some(asked), _) => find(asked)?,
        (None, Some(owner)) if !owner.is_root() => by_id(owner)?,
        (None, None) => DEFAULTS
            .iter()
            .find_map(|name| find(name).ok())
            .ok_or("the server must not run as root: name a user with --run-as")?,
        (None, Some(_)) => {
            let path = path.display();
            return Err(format!(
                "the storage directory {path} belongs to root, and the server must not run as root: \
                 name a user with --run-as USER and give it the files with 'chown -R USER {path}'"
            ));
        }
    };
    Ok(Some(user))
}

/// Looks a user up by name or number.
fn find(text: &str) -> Result<ServiceUser, String> {
    match text.parse::<u32>() {
        Ok(number) => by_id(Uid::from_raw(number)),
        Err(_) => match User::from_name(text) {
            Ok(Some(user)) => of(user),
            Ok(None) => Err(format!("there is no user '{}' on this machine (--run-as)", text.escape_debug())),
            Err(error) => Err(format!("cannot look up the user '{}': {error}", text.escape_debug())),
        },
    }
}

/// A number without a name is a user all the same, alone in the group of that number.
fn by_id(uid: Uid) -> Result<ServiceUser, String> {
    match User::from_uid(uid) {
        Ok(Some(user)) => of(user),
        Ok(None) => {
            let gid = Gid::from_raw(uid.as_raw());
            sound(ServiceUser { name: uid.to_string(), uid, gid, groups: vec![gid] })
        }
        Err(error) => Err(format!("cannot look up the user {uid}: {error}")),
    }
}

fn of(user: User) -> Result<ServiceUser, String> {
    let why = |error: &dyn fmt::Display| format!("cannot look up the groups of {}: {error}", user.name);
    let name = CString::new(user.name.as_str()).map_err(|error| why(&error))?;
    let groups = getgrouplist(&name, user.gid).map_err(|error| why(&error))?;
    sound(ServiceUser { groups, uid: user.uid, gid: user.gid, name: user.name })
}

/// Refuses whoever is root in part; the group of root among others is left out.
fn sound(mut user: ServiceUser) -> Result<ServiceUser, String> {
    if user.uid.is_root() || user.gid.as_raw() == 0 {
        return Err(format!("the server must not run as {user}, which is root or of root's group (--run-as)"));
    }
    if user.uid.as_raw() == u32::MAX || user.gid.as_raw() == u32::MAX {
        return Err(format!("{} is no user id (--run-as)", user.name)); // to setresuid(2) it means: no change
    }
    user.groups.retain(|group| group.as_raw() != 0);
    Ok(user)
}

impl ServiceUser {
    /// Gives this user a directory that the server has just made.
    pub fn own(&self, made: BorrowedFd) -> Result<(), String> {
        fchown(made, Some(self.uid), Some(self.gid))
            .map_err(|error| format!("cannot give the storage directory to {self}: {error}"))
    }

    /// Gives this user a socket that the server has just made, so that its name can be removed at the end.
    pub fn own_socket(&self, path: &Path) -> Result<(), String> {
        std::os::unix::fs::lchown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
            .map_err(|error| format!("cannot give the socket {} to {self}: {error}", path.display()))
    }

    /// Becomes this user, for good, keeping the right to chroot and nothing else of root. Checked afterwards.
    pub fn become_it(&self) -> Result<(), String> {
        self.change().map_err(|error| format!("cannot become {self}: {error}"))?;
        if self.is_all_there_is() && setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_err() {
            return Ok(());
        }
        Err(format!("root was not left for good: cannot become {self}"))
    }

    fn change(&self) -> io::Result<()> {
        chroot::hand_on_right()?;
        // With the bits locked a change of user id takes no capability away: what is kept is decided below, by name.
        lock_securebits()?;
        let may_chroot = chroot::has_right();
        caps::clear(None, CapSet::Bounding).map_err(io::Error::other)?;
        setgroups(&self.groups)?;
        setresgid(self.gid, self.gid, self.gid)?;
        setresuid(self.uid, self.uid, self.uid)?;
        chroot::keep_right(may_chroot)?;
        process::hide()
    }

    fn is_all_there_is(&self) -> bool {
        let users = getresuid().is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [self.uid; 3]);
        let groups = getresgid().is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [self.gid; 3]);
        users && groups && getgroups().is_ok_and(|groups| groups.iter().all(|group| self.groups.contains(group)))
    }
}

impl fmt::Display for ServiceUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name == self.uid.to_string() {
            return write!(f, "user {}", self.uid);
        }
        write!(f, "{} (user {})", self.name, self.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_whoever_is_not_there_are_refused() {
        for nobody in ["root", "0", "4294967295", "no-such-user-here", "", "-1", "nobody\0"] {
            assert!(find(nobody).is_err(), "{nobody}");
        }
        let user = ServiceUser { name: "u".into(), uid: 5.into(), gid: 0.into(), groups: Vec::new() };
        assert!(sound(user.clone()).is_err());
        let member = ServiceUser { gid: 5.into(), groups: vec![0.into(), 5.into()], ..user };
        assert_eq!(sound(member).unwrap().groups, [Gid::from_raw(5)]);
    }

    #[test]
    fn a_number_without_a_name_is_alone_in_its_group() {
        let user = find("54321").unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (54321.into(), 54321.into(), vec![Gid::from_raw(54321)]));
    }
}
