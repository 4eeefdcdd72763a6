//! Who is who: user names, passwords and what is kept of them, the users file, the login itself (SCRAM).
//!
//! A password becomes a [`Verifier`] as early as possible; from a verifier nobody can log in. The file is opened with
//! care in [`trust`], read in [`users_file`], changed in [`edit`], and handed to the sessions as a [`table`] without path
//! or password. A login is a [`UserName`] that comes out of [`table::Found::check`] or [`scram::Awaiting::finish`].
#![forbid(unsafe_code)]

pub mod change;
pub mod edit;
mod hashed;
pub mod keep;
mod keys;
pub mod limits;
pub mod limits_file;
pub mod name;
pub mod own_password;
pub mod password;
pub mod rules;
pub mod scram;
pub mod table;
pub mod trust;
pub mod users_file;
pub mod verifier;
mod warm_up;

pub use change::Change;
pub use limits::Limits;
pub use name::UserName;
pub use own_password::OwnPassword;
pub use password::Password;
pub use scram::{Binding, ClientExchange, ScramError, ServerExchange};
pub use users_file::ParsedUsers;
pub use verifier::Verifier;
pub use warm_up::warm_up;
