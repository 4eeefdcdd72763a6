//! What can go wrong in the store, and the one place where an errno becomes a code of the protocol.

use crate::proto::Code;
use nix::errno::Errno;
use std::io;
use thiserror::Error;

/// Why an operation did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Trouble {
    /// It is refused, or the file system failed it. Nothing was changed unless the code is `uncertain`.
    #[error("{text}")]
    Refused {
        /// What the client is told.
        code: Code,
        /// One sentence for people.
        text: String,
    },
    /// Whoever waits for it has gone, or the server is ending.
    #[error("interrupted")]
    Interrupted,
}

impl Trouble {
    /// A refusal in words of its own.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Trouble::Refused { code, text: text.into() }
    }

    /// A refusal that its code explains.
    pub fn of(code: Code) -> Self {
        Self::new(code, code.meaning())
    }

    /// A change was made, and nobody knows whether it will last.
    pub fn uncertain() -> Self {
        let text = "the change was made but its flush failed: look what is there, old or new, and tell the operator";
        Self::new(Code::Uncertain, text)
    }

    /// The code that a client is told.
    pub fn code(&self) -> Code {
        match self {
            Trouble::Refused { code, .. } => *code,
            Trouble::Interrupted => Code::ShuttingDown,
        }
    }
}

/// The code of an errno.
pub fn code_of(errno: Errno) -> Code {
    use Errno::*;
    match errno {
        ENOENT => Code::NotFound,
        EEXIST => Code::Exists,
        EACCES | EPERM => Code::Denied,
        ELOOP | EINVAL | ENXIO => Code::BadPath,
        ENAMETOOLONG => Code::NameTooLong,
        EISDIR => Code::IsDirectory,
        ENOTDIR => Code::NotDirectory,
        ENOTEMPTY => Code::NotEmpty,
        ENOSPC => Code::NoSpace,
        EDQUOT => Code::OverQuota,
        EFBIG => Code::TooLarge,
        ESTALE => Code::Changed,
        EXDEV => Code::CrossDevice,
        EROFS => Code::ReadOnly,
        EMFILE | ENFILE | ENOMEM | EBUSY | ETXTBSY => Code::Busy,
        _ => Code::IoError,
    }
}

/// The sentence of an errno, where it can say more than its code's meaning.
fn text_of(errno: Errno) -> String {
    use Errno::*;
    match errno {
        ELOOP => "a symbolic link stands in the path; links are never followed".into(),
        EACCES | EPERM => "the file's owner or mode on the server does not allow it".into(),
        ENOSPC => "the server's disk is full; delete something, or tell the operator".into(),
        EDQUOT => "the server's disk quota is used up; delete something, or tell the operator".into(),
        EMFILE | ENFILE => "the server has too many files open; try again".into(),
        ENOMEM => "the server is short of memory; try again".into(),
        EBUSY | ETXTBSY => "it is in use on the server".into(),
        EROFS => "the server's file system is read-only; tell the operator".into(),
        EIO => "the server's disk reported an input/output error; tell the operator".into(),
        // So ext4, XFS and Btrfs name a structure that cannot be right: EFSCORRUPTED and EFSBADCRC.
        EUCLEAN | EBADMSG => "the server's file system is damaged; tell the operator".into(),
        _ => match code_of(errno) {
            Code::IoError => format!("the server's file system failed: {}; tell the operator", errno.desc()),
            code => code.meaning().into(),
        },
    }
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        Trouble::new(code_of(errno), text_of(errno))
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Trouble::new(Code::Changed, "the file became shorter while it was read");
        }
        Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errors_that_people_meet_have_codes_and_sentences_of_their_own() {
        use Errno::*;
        let met = [ENOSPC, EDQUOT, EACCES, EROFS, EIO, ENAMETOOLONG, EMFILE];
        for (at, a) in met.iter().enumerate() {
            for b in &met[at + 1..] {
                assert_ne!(code_of(*a), code_of(*b), "{a} {b}");
                assert_ne!(text_of(*a), text_of(*b), "{a} {b}");
            }
        }
    }

    #[test]
    fn what_a_user_can_do_about_a_disk_is_told() {
        use Errno::*;
        for errno in [ENOSPC, EDQUOT, EROFS, EIO, EUCLEAN, EBADMSG, ENODEV] {
            assert!(text_of(errno).contains("tell the operator"), "{errno}");
        }
        assert!(Trouble::uncertain().to_string().contains("look"));
    }
}
