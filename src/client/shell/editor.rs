//! The shell at a terminal: a prompt, a line editor, history, completion.

use super::complete;
use super::{Then, below_root, execute};
use crate::client::console::Console;
use crate::client::display::escape::escape;
use crate::client::failure::{Exit, Failure};
use crate::client::local;
use crate::net::Address;
use nix::sys::signal::Signal;
use rustyline::completion::{Completer, Pair};
use rustyline::config::{CompletionType, Config};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper};
use std::cell::RefCell;
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Lines that are remembered.
const HISTORY: usize = 2000;

/// Runs the lines that a person types.
pub(super) fn run(console: Console) -> Exit {
    match talk(&Rc::new(RefCell::new(console))) {
        Ok(exit) => exit,
        Err(failure) => {
            eprintln!("dfos-client: {failure}");
            failure.exit
        }
    }
}

fn talk(console: &Rc<RefCell<Console>>) -> Result<Exit, Failure> {
    let mut editor = editor(console).map_err(|error| no_editor(&error))?;
    let history = history_file();
    if let Some(file) = &history {
        let _ = editor.load_history(file); // an unreadable history only costs the history
    }
    let at_prompt = ends_at_prompt();
    loop {
        let prompt = prompt(&console.borrow());
        at_prompt.store(true, Ordering::SeqCst);
        let line = editor.readline(&prompt);
        at_prompt.store(false, Ordering::SeqCst);
        match line {
            Ok(line) => {
                if let Some(file) = &history {
                    let _ = editor.append_history(file);
                }
                if let Then::End = execute(&mut console.borrow_mut(), line.as_bytes()) {
                    break;
                }
            }
            Err(ReadlineError::Interrupted) => continue, // Ctrl+C clears the line
            Err(ReadlineError::Eof) => break,            // Ctrl+D
            Err(error) => return Err(no_editor(&error)),
        }
    }
    console.borrow_mut().finish();
    Ok(Exit::Ok)
}

fn editor(console: &Rc<RefCell<Console>>) -> rustyline::Result<Editor<Names, FileHistory>> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .auto_add_history(true)
        .history_ignore_space(true)
        .max_history_size(HISTORY)?
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Names(console.clone())));
    Ok(editor)
}

fn no_editor(error: &ReadlineError) -> Failure {
    Failure::new(Exit::Local, format!("the terminal failed: {error}"))
}

/// SIGTERM is caught for the sake of transfers; while the prompt waits, where nothing looks for it, it ends the program as
/// if it were not.
fn ends_at_prompt() -> Arc<AtomicBool> {
    let at_prompt = Arc::new(AtomicBool::new(false));
    // Without it a SIGTERM is heeded at the next command.
    let _ = signal_hook::flag::register_conditional_default(Signal::SIGTERM as i32, at_prompt.clone());
    at_prompt
}

/// `alice@host:/where> `
fn prompt(console: &Console) -> String {
    let host = match &console.target.address {
        Address::Tls(at) | Address::Tcp(at) => at.host.clone(),
        Address::Unix(path) => path.display().to_string(),
    };
    let here = escape(below_root(&console.here));
    format!("{}@{}:/{here}> ", console.target.user, escape(host.as_bytes()))
}

/// Where history is kept: a file of the user's own in the XDG state directory. `None` if there can be none.
fn history_file() -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).and_then(absolute);
    let state = state.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))?;
    let directory = state.join("dfos-client");
    DirBuilder::new().recursive(true).mode(0o700).create(&directory).ok()?;
    let file = directory.join("history");
    // Made here, so that nobody else can ever read it.
    OpenOptions::new().append(true).create(true).mode(0o600).open(&file).ok()?;
    Some(file)
}

/// Completes names from where the console stands.
struct Names(Rc<RefCell<Console>>);

impl Completer for Names {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let remote = |directory: &[u8]| match self.0.try_borrow_mut() {
            Ok(mut console) => console.names_if_at_hand(directory),
            Err(_) => Vec::new(),
        };
        let local = |directory: &[u8]| local::names_in(directory).unwrap_or_default();
        let (start, choices) = complete::complete(line.get(..at).unwrap_or(line), local, remote);
        Ok((
            start,
            choices.into_iter().map(|choice| Pair { display: choice.shown, replacement: choice.text }).collect(),
        ))
    }
}

impl Helper for Names {}
impl Highlighter for Names {}
impl Validator for Names {}
impl Hinter for Names {
    type Hint = String;
}
