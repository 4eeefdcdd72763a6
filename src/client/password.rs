//! Where the password comes from: a command, a file, the environment, or a person. Never an argument, which every user of
//! the machine could read in `ps`.

use super::cli::Options;
use super::display::escape::escape;
use super::failure::{Exit, Failure};
use crate::proto::limits;
use nix::sys::signal::Signal;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

/// Bytes that are overwritten when dropped.
pub type Secret = Zeroizing<Vec<u8>>;

/// The environment's password.
const VARIABLE: &str = "DFOS_PASSWORD";

/// The longest first line that is looked at: a password and its line ending.
const LONGEST: usize = limits::PASSWORD + 2;

/// Finds the password for `who` (for the prompt), asking each source in its order.
pub fn find(options: &Options, who: &str) -> Result<Secret, Failure> {
    match without_asking(options)? {
        Some(secret) => Ok(secret),
        None => {
            let hint = format!("no password for {who}: use --password-command, --password-file or {VARIABLE}");
            ask(&format!("Password of {who}: "), &hint)
        }
    }
}

/// Finds the password where nobody needs to be asked; `None` where somebody would.
pub fn without_asking(options: &Options) -> Result<Option<Secret>, Failure> {
    if let Some(command) = &options.password_command {
        return from_shell(command).map(Some);
    }
    if let Some(path) = &options.password_file {
        return from_named_file(path).map(Some);
    }
    Ok(std::env::var_os(VARIABLE).map(|value| Zeroizing::new(value.into_vec())))
}

/// Where the password comes from, in words.
pub fn source(options: &Options) -> String {
    match (&options.password_command, &options.password_file) {
        (None, Some(path)) if path.as_os_str() == "-" => "standard input".into(),
        _ => kept_in(options).unwrap_or_else(|| "a question on the terminal".into()),
    }
}

/// Where the password is kept for the next login too, in words.
pub fn kept_in(options: &Options) -> Option<String> {
    match (&options.password_command, &options.password_file) {
        (Some(_), _) => Some("a command".into()),
        (None, Some(path)) if path.as_os_str() == "-" => None,
        (None, Some(path)) => Some(escape(path.as_os_str().as_bytes())),
        (None, None) => std::env::var_os(VARIABLE).map(|_| VARIABLE.into()),
    }
}

/// The first line that a command line of the shell prints.
pub fn from_shell(command: &OsStr) -> Result<Secret, Failure> {
    from_command(Command::new("/bin/sh").arg("-c").arg(command))
}

/// The first line of a file that nobody else can read; `-` is standard input.
pub fn from_named_file(path: &Path) -> Result<Secret, Failure> {
    if path.as_os_str() == "-" {
        return first_line(StandardInput, |error| format!("cannot read the password from standard input: {error}"));
    }
    from_file(path)
}

fn from_command(command: &mut Command) -> Result<Secret, Failure> {
    let say = |error: io::Error| Failure::new(Exit::Local, format!("the password command could not be run: {error}"));
    // Standard input may be a file to upload; and what the command starts need not know a password that it does not use.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).env_remove(VARIABLE);
    let mut child = command.spawn().map_err(say)?;
    let line = match child.stdout.take() {
        Some(output) => first_line(output, |error| format!("cannot read from the password command: {error}")),
        None => Ok(Secret::default()),
    };
    // Its output is closed by now: a command that prints on after its first line ends by SIGPIPE, which is no fault.
    let status = child.wait().map_err(say)?;
    match line? {
        line if status.success() || status.signal() == Some(Signal::SIGPIPE as i32) => Ok(line),
        _ => Err(Failure::new(Exit::Login, format!("the password command failed ({status})"))),
    }
}

fn from_file(path: &Path) -> Result<Secret, Failure> {
    let name = escape(path.as_os_str().as_bytes());
    let say = |error: io::Error| format!("cannot read the password file {name}: {error}");
    let file = File::open(path).map_err(|error| Failure::new(Exit::Local, say(error)))?;
    let mode = file.metadata().map_err(|error| Failure::new(Exit::Local, say(error)))?.mode();
    if mode & 0o044 != 0 {
        let text = format!("others can read the password file {name}; run `chmod 600 {name}`, and change the password");
        return Err(Failure::new(Exit::Local, text));
    }
    first_line(file, say)
}

/// Asks a person. `hint` says what to do where there is none.
pub fn ask(prompt: &str, hint: &str) -> Result<Secret, Failure> {
    if File::options().read(true).write(true).open("/dev/tty").is_err() {
        return Err(Failure::new(Exit::Login, format!("{hint}; there is no terminal to ask on")));
    }
    match rpassword::prompt_password(prompt) {
        Ok(password) => Ok(Zeroizing::new(password.into_bytes())),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            Err(Failure::new(Exit::Interrupted, "interrupted at the password prompt"))
        }
        Err(error) => Err(Failure::new(Exit::Login, format!("cannot ask for a password: {error}"))),
    }
}

/// The first line of `from`, its ending removed. Reads nothing beyond it, so that what follows on standard input is
/// left for a transfer.
fn first_line(mut from: impl Read, say: impl Fn(io::Error) -> String) -> Result<Secret, Failure> {
    let mut line: Secret = Zeroizing::new(Vec::with_capacity(LONGEST)); // never grows: growing would leave a copy behind
    let mut byte = [0];
    while line.len() < LONGEST {
        match from.read(&mut byte) {
            Ok(0) => break,
            Ok(_) if byte == [b'\n'] => break,
            Ok(_) => line.extend_from_slice(&byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::new(Exit::Local, say(error))),
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// Standard input without the buffer of `std`, which would swallow more than the line.
pub struct StandardInput;

impl Read for StandardInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(nix::unistd::read(io::stdin().as_fd(), buffer)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn shell(script: &str) -> Result<Secret, Failure> {
        from_command(Command::new("/bin/sh").arg("-c").arg(script).stdin(Stdio::null()).stderr(Stdio::null()))
    }

    #[test]
    fn a_command_gives_its_first_line() {
        assert_eq!(*shell("printf 'two words \\nmore\\n'").unwrap(), b"two words ");
        assert_eq!(*shell("printf secret").unwrap(), b"secret");
        assert_eq!(*shell("echo secret; exec yes").unwrap(), b"secret", "one that prints for ever is not waited for");
        assert_eq!(shell("echo secret; exit 3").unwrap_err().exit, Exit::Login);
        assert!(shell("exit 3").unwrap_err().text.contains('3'));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_its_repair() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "hush\r\nnot this\n").unwrap();
        for mode in [0o644, 0o640, 0o604] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let failure = from_file(&path).unwrap_err();
            assert_eq!(failure.exit, Exit::Local);
            assert!(failure.text.contains(&format!("chmod 600 {}", path.display())), "{failure}");
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(*from_file(&path).unwrap(), b"hush");
        assert!(from_file(&dir.path().join("none")).unwrap_err().text.contains("No such file"));
    }

    #[test]
    fn an_endless_line_is_cut() {
        assert_eq!(first_line(io::repeat(b'a'), |e| e.to_string()).unwrap().len(), LONGEST);
    }
}
