//! Addresses, listening and dialling, and the wire: buffered, interruptible reading and writing of one connection.
#![forbid(unsafe_code)]

pub mod activation;
pub mod address;
pub mod dial;
pub mod inbox;
pub mod intake;
pub mod listen;
pub mod networks;
pub mod pace;
pub mod peer;
pub mod pipe;
pub mod tls;
pub mod wait;
pub mod wire;

pub use address::Address;
pub use intake::{Intake, Portion};
pub use networks::Network;
pub use pace::Pace;
pub use peer::Peer;
pub use pipe::Pipe;
pub use wait::{Cut, Until, Waiter};
pub use wire::{Side, Wire};
