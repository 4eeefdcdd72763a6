//! x
use super::account::Account;
/// x
pub fn table(_: &Account, _: bool) -> String {
    String::new()
}
