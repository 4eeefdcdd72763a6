//! x
use super::account::Account;
/// x
pub fn page(_: &Account) -> String {
    String::new()
}
