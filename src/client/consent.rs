//! What cannot be taken back is done when somebody has agreed: the user at the terminal, or `--yes`.

use super::console::{Console, Named};
use super::failure::{Exit, Failure};
use std::io::IsTerminal;

/// What is removed where nobody can be asked must have been agreed to before.
pub fn may_ask(console: &Console, yes: bool, command: &str) -> Result<(), Failure> {
    if yes || !nobody_to_ask(console) {
        return Ok(());
    }
    let text =
        format!("{command} deletes directories with all that is in them, and nobody is here to be asked: say --yes");
    Err(Failure::new(Exit::Usage, text))
}

/// Whether there is nobody to answer a question.
pub fn nobody_to_ask(console: &Console) -> bool {
    console.unattended || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal()
}

/// Asks whether a directory shall go.
pub fn agree(name: &Named, yes: bool) -> Result<(), Failure> {
    let shown = name.escaped();
    if yes || agreed(&format!("delete the directory {shown} with all that is in it? [y/N] "))? {
        return Ok(());
    }
    Err(Failure::new(Exit::Other, format!("{shown} stays")))
}

/// Whether the user agrees.
pub fn agreed(question: &str) -> Result<bool, Failure> {
    // The line editor also hears Ctrl+C at the question, and finds the terminal where standard output goes elsewhere.
    let config = rustyline::Config::builder().behavior(rustyline::Behavior::PreferTerm).build();
    let editor = rustyline::DefaultEditor::with_config(config);
    let answer = editor.and_then(|mut editor| editor.readline(question));
    match answer {
        Ok(answer) => Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")),
        Err(rustyline::error::ReadlineError::Interrupted) => Err(Failure::new(Exit::Interrupted, "interrupted")),
        Err(_) => Ok(false),
    }
}
