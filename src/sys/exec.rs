//! execve(2) with descriptors that are handed over: this process goes on as another program, under its own process id.

use nix::unistd::execve;
use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A program, and how it was started.
#[derive(Debug, Clone)]
pub struct Program {
    /// Where it lies: as it was named at the start, so that a new version under that name is found.
    pub path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Program {
    /// This one, with its arguments and what is in the environment now.
    pub fn this() -> io::Result<Self> {
        let arguments: Vec<_> = std::env::args_os().collect();
        let named = arguments.first().map(Path::new).filter(|name| name.as_os_str().as_bytes().contains(&b'/'));
        let path = named.map_or_else(std::env::current_exe, std::path::absolute)?;
        Ok(Program { path, arguments, environment: std::env::vars_os().collect() })
    }

    /// Goes on as this program, with one variable more, and with the descriptors in `keep` beside the standard ones. The signal mask
    /// stays; handlers do not. Returns only where that fails, with everything as it was.
    pub fn execute(&self, variable: (&str, &str), keep: &[RawFd]) -> io::Error {
        let Err(why) = self.try_to(variable, keep);
        for number in keep {
            let _ = set_close_on_exec(*number, true);
        }
        why
    }

    fn try_to(&self, (name, value): (&str, &str), keep: &[RawFd]) -> io::Result<Infallible> {
        let path = c_string(self.path.as_os_str())?;
        let arguments = self.arguments.iter().map(|word| c_string(word)).collect::<io::Result<Vec<_>>>()?;
        let kept = self.environment.iter().filter(|(of, _)| of != name);
        let mut environment = kept
            .map(|(name, value)| c_string(OsStr::from_bytes(&[name.as_bytes(), b"=", value.as_bytes()].concat())))
            .collect::<io::Result<Vec<_>>>()?;
        environment.push(c_string(OsStr::new(&format!("{name}={value}")))?);
        for number in keep {
            set_close_on_exec(*number, false)?;
        }
        Ok(execve(&path, &arguments, &environment)?)
    }
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(io::Error::other)
}

fn set_close_on_exec(number: RawFd, it: bool) -> io::Result<()> {
    // SAFETY: fcntl(2) with F_SETFD touches no memory and closes nothing: a number that is not open is an error.
    match unsafe { libc::fcntl(number, libc::F_SETFD, if it { libc::FD_CLOEXEC } else { 0 }) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn what_cannot_be_executed_leaves_everything_as_it_was() {
        let file = tempfile::tempfile().unwrap();
        let program = Program { path: "/nonexistent".into(), arguments: Vec::new(), environment: Vec::new() };
        let why = program.execute(("A", "b"), &[file.as_raw_fd()]);
        assert_eq!(why.kind(), io::ErrorKind::NotFound);
        let flags = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }
}
