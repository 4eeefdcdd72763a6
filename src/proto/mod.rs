//! What travels on the wire: lines, paths, verbs, answers, pieces. `docs/PROTOCOL.md` in code.
//!
//! Nothing here opens a socket or a file: text in, values out, and back. Both binaries use it, so that the two
//! ends cannot disagree.
#![forbid(unsafe_code)]

pub mod access;
pub mod answer;
pub mod code;
pub mod incoming;
pub mod limits;
pub mod line;
pub mod path;
pub mod trash;
pub mod unseen;
pub mod value;
pub mod verb;

pub use access::Access;
pub use answer::{Answer, EntryKind, Fields};
pub use code::Code;
pub use incoming::{Incoming, Refusal, Request};
pub use path::RemotePath;
pub use trash::{TrashId, Trashed};
pub use value::{Digest, Mtime};
pub use verb::Verb;
