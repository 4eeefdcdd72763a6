//! The fence: every `unsafe` block and every raw system call of DFOS, each with its contract. What `nix` already offers
//! safely is used where it is needed; what stands here is what nix lacks, and what must not be got wrong twice.

pub mod accept;
pub mod allocator;
pub mod clock;
pub mod credentials;
pub mod deaths;
pub mod descriptors;
pub mod dirent;
pub mod environment;
pub mod exec;
pub mod fork;
pub mod heap;
#[cfg(feature = "hostile")]
pub mod hostile;
pub mod landlock;
pub mod notice;
pub mod ofd;
pub mod page;
pub mod peek;
pub mod sealed;
pub mod shared;
pub mod signals;
pub mod stack;
pub mod statx;
pub mod title;
pub mod unforked;
pub mod window;
pub mod writeback;
pub mod xattr;
pub mod zone;
