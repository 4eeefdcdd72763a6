//! Where the client speaks: data on standard output, messages on standard error; escaped for a terminal, raw for a pipe,
//! objects for a program.

use super::escape::escape;
use super::json::Object;
use crate::client::failure::{Exit, Failure};
use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volume {
    /// Errors only.
    Quiet,
    /// What a user expects.
    Normal,
    /// What helps to find a fault.
    Verbose,
}

/// Both outputs, and how to use them. Threads may share it.
pub struct Output {
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
    /// Whether standard output is a terminal: names are escaped, sizes rounded.
    pub out_is_terminal: bool,
    /// Whether standard error is a terminal that can draw: bars may be drawn.
    pub err_is_terminal: bool,
    /// Objects instead of text.
    pub json: bool,
    /// How much is said.
    pub volume: Volume,
    /// Whether standard output carries a file, so that everything else goes to standard error.
    out_is_data: AtomicBool,
}

impl Output {
    /// The outputs of this process.
    pub fn of_process(json: bool, volume: Volume) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Output {
            out: Mutex::new(Box::new(BufWriter::with_capacity(1 << 16, io::stdout()))),
            err: Mutex::new(Box::new(io::stderr())),
            out_is_terminal: io::stdout().is_terminal(),
            err_is_terminal: io::stderr().is_terminal() && !dumb,
            json,
            volume,
            out_is_data: AtomicBool::new(false),
        }
    }

    /// Outputs into something else, which is no terminal.
    pub fn into_writers(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, json: bool, volume: Volume) -> Self {
        Output {
            out: Mutex::new(out),
            err: Mutex::new(err),
            out_is_terminal: false,
            err_is_terminal: false,
            json,
            volume,
            out_is_data: AtomicBool::new(false),
        }
    }

    /// Data, as it is.
    pub fn data(&self, bytes: &[u8]) -> Result<(), Failure> {
        lock(&self.out).write_all(bytes).map_err(|error| cannot_write(&error))
    }

    /// One line of data.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        self.data(format!("{text}\n").as_bytes())
    }

    /// Says for the command that begins whether its data on standard output is a file.
    pub fn out_carries_a_file(&self, yes: bool) {
        self.out_is_data.store(yes, Ordering::Relaxed);
    }

    /// Whether standard output carries a file.
    pub fn out_is_data(&self) -> bool {
        self.out_is_data.load(Ordering::Relaxed)
    }

    /// One object, if objects are asked for; on standard error where standard output carries a file.
    pub fn object(&self, object: &Object) -> Result<(), Failure> {
        match self.json {
            false => Ok(()),
            true if self.out_is_data() => {
                self.say_plain(object.line().trim_end());
                Ok(())
            }
            true => self.data(object.line().as_bytes()),
        }
    }

    /// Whatever is still held back; after every command.
    pub fn flush(&self) -> Result<(), Failure> {
        lock(&self.out).flush().map_err(|error| cannot_write(&error))
    }

    /// A name as standard output may have it: escaped for a terminal, its own bytes for a pipe. A name that holds a newline
    /// makes two lines in a pipe; `--json` keeps names apart.
    pub fn name<'a>(&self, name: &'a [u8]) -> Cow<'a, [u8]> {
        if self.out_is_terminal { Cow::Owned(escape(name).into_bytes()) } else { Cow::Borrowed(name) }
    }

    /// A message that `--quiet` and `--json` leave out.
    pub fn note(&self, text: &str) {
        if self.volume > Volume::Quiet && !self.json {
            self.say(text);
        }
    }

    /// A message for `--verbose` alone.
    pub fn detail(&self, text: &str) {
        if self.volume == Volume::Verbose {
            self.say(text);
        }
    }

    /// An error: an object on standard output, or a sentence on standard error. One without words is silent.
    pub fn error(&self, failure: &Failure) {
        if failure.text.is_empty() {
            return;
        }
        match self.json {
            // If nobody reads the objects, nobody misses this one.
            true => drop(self.object(&Object::new("error").failure(failure))),
            false => self.say(&failure.text),
        }
    }

    /// A line on standard error, with the program's name before it.
    pub fn say(&self, text: &str) {
        let _ = self.flush(); // what was printed before stands before
        let _ = lock(&self.err).write_all(format!("dfos-client: {text}\n").as_bytes()); // nowhere left to complain
    }

    /// A line on standard error as it is.
    pub fn say_plain(&self, text: &str) {
        let _ = lock(&self.err).write_all(format!("{text}\n").as_bytes());
    }
}

/// A lock that a thread died with still guards a writer that works.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A reader that has gone (`| head`) has what it wanted: no words, only the exit status.
pub fn cannot_write(error: &io::Error) -> Failure {
    let text = match error.kind() {
        io::ErrorKind::BrokenPipe => String::new(),
        _ => format!("cannot write to standard output: {error}"),
    };
    Failure::new(Exit::Local, text)
}

#[cfg(test)]
/// Outputs into memory, for the tests of whoever prints.
pub mod tests {
    use super::*;
    use std::sync::Arc;

    /// A writer that keeps what is written.
    #[derive(Clone, Default)]
    pub struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        /// What was written so far.
        pub fn text(&self) -> String {
            String::from_utf8(lock(&self.0).clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An output into memory.
    pub fn kept(json: bool, volume: Volume) -> (Output, Kept, Kept) {
        let (out, err) = (Kept::default(), Kept::default());
        (Output::into_writers(Box::new(out.clone()), Box::new(err.clone()), json, volume), out, err)
    }

    #[test]
    fn a_reader_that_has_gone_is_no_news() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Output::into_writers(Box::new(full), Box::new(io::sink()), false, Volume::Normal);
        assert!(output.line("x").unwrap_err().text.contains("No space"));
        assert_eq!(cannot_write(&io::ErrorKind::BrokenPipe.into()), Failure::new(Exit::Local, ""));
    }

    #[test]
    fn names_are_escaped_for_a_terminal_and_raw_in_a_pipe() {
        let (mut output, ..) = kept(false, Volume::Normal);
        assert_eq!(&*output.name(b"a\x1b\xff"), b"a\x1b\xff");
        output.out_is_terminal = true;
        assert_eq!(&*output.name(b"a\x1b\xff"), br"a\x1b\xff");
    }

    #[test]
    fn quiet_prints_errors_only_and_json_prints_them_as_objects() {
        let failure = Failure::new(Exit::Other, "broken");
        let (output, out, err) = kept(false, Volume::Quiet);
        output.note("hello");
        output.error(&failure);
        assert_eq!((out.text().as_str(), err.text().as_str()), ("", "dfos-client: broken\n"));
        let (output, out, err) = kept(true, Volume::Normal);
        output.note("hello");
        output.error(&failure);
        assert!(out.text().starts_with("{\"v\":1,\"event\":\"error\"") && err.text().is_empty());
    }
}
