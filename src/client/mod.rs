//! The client: what `dfos-client` does, on top of the protocol.
#![forbid(unsafe_code)]

pub mod failure;
pub mod report;
