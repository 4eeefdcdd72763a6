//! A command that names several things: each of them is tried.

use super::console::Console;
use super::failure::{Exit, Failure};

/// Does `work` for each of several things. One that fails does not keep the others from being done, unless the connection or
/// the user has had enough.
pub fn each<T>(
    console: &mut Console,
    things: Vec<T>,
    mut work: impl FnMut(&mut Console, T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let count = things.len();
    let mut exits: Vec<Exit> = Vec::new();
    for thing in things {
        match work(console, thing) {
            Ok(()) => {}
            Err(failure) if count == 1 || failure.retry || failure.exit == Exit::Interrupted => return Err(failure),
            Err(failure) if failure.text.is_empty() => return Err(failure), // nobody reads on
            Err(failure) => {
                console.output.error(&failure);
                exits.push(failure.exit);
            }
        }
    }
    let Some(&first) = exits.first() else { return Ok(()) };
    let common = exits.len() == count && exits.iter().all(|exit| *exit == first);
    let exit = if common { first } else { Exit::Partial };
    Err(Failure::new(exit, format!("{} of {count} failed", exits.len())))
}
