//! DFOS: a multi-user file server for Linux and its client. This is the map of the house.
//!
//! An arrow goes downward only; [`server`] and [`client`] never import each other. `docs/ARCHITECTURE.md` tells how the
//! processes live, `docs/PROTOCOL.md` what travels between them.

pub mod auth;
pub mod client;
pub mod completion;
pub mod hash;
pub mod net;
pub mod paper;
pub mod proto;
pub mod server;
pub mod store;
pub mod sys;
